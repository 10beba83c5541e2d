"""What an encoder gives: packets as plain values that any thread may hold, and the tracks they belong to."""
from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from streamderain.live.timing import LIVE_UNIT


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """What one encoder's packets are; another object means that a decoder has to begin anew.

    Attributes:
        video, sound: encoded streams that an output's streams are modelled on, sound None without; read only.
        facts: all that a decoder is told of them; tracks with equal facts go on in one stream.
        container: keeps the streams alive.
    """

    video: Any
    sound: Any | None
    facts: tuple[Any, ...]
    container: Any = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """One packet.

    Attributes:
        data: the encoded picture or piece of sound.
        tracks: where it belongs.
        is_video: a picture, or sound.
        key: decoding can begin here; always so for sound.
        pts, dts, duration: in units of `unit`, on the run's line of time.
        unit: seconds per tick.
    """

    data: bytes
    tracks: Tracks
    is_video: bool
    key: bool
    pts: int
    dts: int
    duration: int
    unit: Fraction = LIVE_UNIT

    @property
    def begins(self) -> bool:
        """Whether an output can begin with it."""
        return self.is_video and self.key

    @property
    def seconds(self) -> Fraction:
        """When it is decoded, on the run's line of time."""
        return self.dts * self.unit
