"""What every kind of camera gives once it is open, and what can be asked of it before."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np

from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.live.moments import SessionInfo

Trouble = Literal["absent", "refused", "unreachable", "ended"]
MAX_PIXELS = 8192 * 4320


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wished of a camera; None and "auto" leave it to the camera.

    Attributes:
        width, height: pixels, of local cameras and testsrc.
        rate: frames per second, of local cameras and testsrc.
        pixel_format: the camera's own name for one, such as "yuyv422" or "mjpeg".
        transport: of RTSP; auto is TCP, which loses nothing.
        pace: play a file at its own pace, as if it were a camera.
        loop: begin a paced file again when it ends.
        sound: take the sound along.
        growing: the source was a growing playlist; one that has ended would show the past as if it were now.
        max_pixels: larger frames are refused.
        cuda: number of the CUDA device that pictures may stay on, None for none.
        tell: called with why a camera's pictures do not stay there.
        connect_seconds, read_seconds: how long a network camera may take to answer, and be silent.
    """

    width: int | None = None
    height: int | None = None
    rate: Fraction | None = None
    pixel_format: str | None = None
    transport: Literal["auto", "tcp", "udp"] = "auto"
    pace: bool = False
    loop: bool = True
    sound: bool = True
    growing: bool = False
    max_pixels: int = MAX_PIXELS
    cuda: int | None = None
    tell: Callable[[str], None] = lambda reason: None
    connect_seconds: float = 2.0
    read_seconds: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        frame: its pts is not yet of the run's line of time.
        own: its timestamp on the connection's clock, seconds; None where it has none.
    """

    frame: Frame
    own: Fraction | None


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A piece of decoded sound: (C, N) float32 in -1..1, samples per second, own time of its first sample, seconds."""

    samples: np.ndarray
    rate: int
    own: Fraction


class CameraError(DerainError):
    """A camera that cannot be opened or read.

    Args:
        message: one line, passwords masked, with what to do.
        trouble: "absent" (a local camera or file that is not there), "refused" (a password), "unreachable", "ended".
    """

    def __init__(self, message: str, trouble: Trouble) -> None:
        super().__init__(message)
        self.trouble: Trouble = trouble


class Connection(Protocol):
    """An open camera.

    Attributes:
        info: what it brings; its number is set by the receiver.
        damaged: packets that gave no picture, so far.
        skipped: pictures that were not decoded because of `hurry`, so far.
    """

    info: SessionInfo

    @property
    def damaged(self) -> int: ...

    @property
    def skipped(self) -> int: ...

    def __iter__(self) -> Iterator[Picture | Heard | None]:
        """What comes, in the order of arrival, None for what gave no picture; ends with the camera.

        Raises:
            CameraError: the camera is gone; the line says how.
        """

    def hurry(self, hurried: bool) -> None:
        """Decode only what others need (or everything again): the decoder has fallen behind."""

    def close(self) -> None:
        """Release it."""
