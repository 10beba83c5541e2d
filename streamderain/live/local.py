"""Cameras of this machine through OpenCV, which has a backend on every platform."""
from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame
from streamderain.live.connection import CameraError, Heard, Picture, Wish
from streamderain.live.moments import SessionInfo

_FORMAT = PixelFormat("rgb", 8, full_range=True)
_BUSY = "unplug it and plug it in again, or end the program that uses it"


def open_local(index: int, wish: Wish) -> LocalCamera:
    """Open a camera by its number.

    Raises:
        CameraError: it does not open, or gives no picture.
    """
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        raise CameraError(f"camera {index} does not open; {_BUSY}", "absent")
    if wish.pixel_format:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wish.pixel_format.upper().ljust(4)[:4]))
    for setting, value in (
        (cv2.CAP_PROP_FRAME_WIDTH, wish.width), (cv2.CAP_PROP_FRAME_HEIGHT, wish.height),
        (cv2.CAP_PROP_FPS, wish.rate), (cv2.CAP_PROP_BUFFERSIZE, 1),
    ):  # fmt: skip
        if value:
            capture.set(setting, float(value))
    return LocalCamera(index, capture)


class LocalCamera:
    """See open_local; frames have no time of their own, so they are taken to be captured when they arrive."""

    def __init__(self, index: int, capture: cv2.VideoCapture) -> None:
        self._index, self._capture = index, capture
        self.damaged = self.skipped = 0
        found, self._first = capture.read()
        if not found:
            capture.release()
            raise CameraError(f"camera {index} opens but gives no picture; {_BUSY}", "absent")
        height, width = self._first.shape[:2]
        self.info = SessionInfo(0, width, height, None, capture.getBackendName().lower(), "gbrp")

    def __iter__(self) -> Iterator[Picture | Heard]:
        picture = self._first
        while True:
            planes = tuple(np.ascontiguousarray(picture[..., channel]) for channel in (2, 1, 0))
            yield Picture(Frame(planes, _FORMAT), None)
            found, picture = self._capture.read()
            if not found:
                raise CameraError(f"camera {self._index} is gone; {_BUSY}", "ended")

    def hurry(self, hurried: bool) -> None:
        """OpenCV decodes what it reads."""

    def close(self) -> None:
        """See Connection."""
        self._capture.release()
