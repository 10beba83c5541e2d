"""What travels through a live run: frames as they were captured, pictures as they are shown, and sound."""
from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from streamderain.frame import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A frame that came from a camera.

    Attributes:
        frame: its pts counts LIVE_UNIT from the beginning of the run and rises strictly, over reconnections too.
        at: when the camera took it as far as can be told, never later than its arrival; seconds on the run's clock.
        session: number of the connection it came over, from 1; another number means that the past is void.
    """

    frame: Frame
    at: float
    session: int


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture for all outputs.

    Attributes:
        before, after: same size, format and pts; the same object where nothing was taken away. `before` may be on a
            GPU, `after` never is.
        at: of the captured frame; for a stand-in, when it was made.
        live: False for a stand-in while there is no camera (the last frame, marked): it does not count as a frame out.
    """

    before: Frame
    after: Frame
    at: float
    live: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A piece of the camera's sound, decoded.

    Attributes:
        samples: (C, N) float32 in -1..1.
        rate: samples per second.
        pts: of the first sample, in LIVE_UNIT on the same line of time as the frames' pts.
        session: as in Captured.
    """

    samples: np.ndarray
    rate: int
    pts: int
    session: int


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a connection turned out to bring.

    Attributes:
        number: of the connection, from 1.
        width, height: of its first frame, pixels.
        rate: frames per second as the source says, None where it does not.
        codec: FFmpeg's name, or the name of the local camera's backend.
        pixel_format: FFmpeg's name of the planar format that the frames' planes have.
        sound: (rate, channels) of the sound that comes along, None without.
        growing: it is a playlist to which more was still to come when it was opened.
    """

    number: int
    width: int
    height: int
    rate: Fraction | None
    codec: str
    pixel_format: str
    sound: tuple[int, int] | None = None
    growing: bool = False


class Output(Protocol):
    """Where live pictures go. None of its methods may wait for a peer: the camera comes first.

    Attributes:
        name: for status and messages, passwords masked: "record garden.mkv", "push rtsp://***@host/x", "page".
    """

    name: str

    def show(self, shown: Shown) -> None:
        """Take a picture; called by one thread, in the order of pts."""

    def hear(self, sound: Sound) -> None:
        """Take a piece of sound; called by another thread than `show`."""

    def close(self) -> None:
        """Finish in bounded time (a recording is completed); nothing comes afterwards."""
