"""A camera that is drawn: the street of scene.py in its rain, at any size and rate, for trying everything out."""
from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np

from streamderain import scene
from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame
from streamderain.live.connection import CameraError, Heard, Picture, Wish
from streamderain.live.moments import SessionInfo
from streamderain.live.timing import Clock

_FORMAT = PixelFormat("yuv", 8, (1, 1))
_LAYERS = 8  # of rain, drawn ahead and laid over the street at other places each time round
_PAN_PX = 2  # sideways each frame; even, so that chroma moves along
_SPEC = re.compile(r"testsrc(?:=(?P<width>\d+)x(?P<height>\d+)(?:@(?P<rate>\d+(?:/0*[1-9]\d*|\.\d+)?))?)?")
_LARGEST = 4096 * 2304


def open_testsrc(name: str, wish: Wish, clock: Clock) -> TestSource:
    """Draw it.

    Args:
        name: "testsrc", "testsrc=640x480" or "testsrc=640x480@25".
        wish: size and rate where the name does not say them.
        clock: says when a frame is due.

    Raises:
        CameraError: the name says something else.
    """
    found = _SPEC.fullmatch(name)
    if not found:
        raise CameraError(f"{name} cannot be drawn; write testsrc, testsrc=640x480 or testsrc=640x480@25", "absent")
    width = int(found["width"] or wish.width or 640)
    height = int(found["height"] or wish.height or 480)
    rate = Fraction(found["rate"] or wish.rate or 25)
    if not min(width, height) >= 16 or width * height > _LARGEST or not 0 < rate <= 240:
        raise CameraError(f"{name} is too small, too large or too fast; write for example testsrc=640x480@25", "absent")
    return TestSource(width + width % 2, height + height % 2, rate, clock)


class TestSource:
    """See open_testsrc; frames that nobody had time for are left out, as a camera does."""

    __test__ = False  # no test of pytest's, whatever it is called

    def __init__(self, width: int, height: int, rate: Fraction, clock: Clock) -> None:
        self.info = SessionInfo(0, width, height, rate, "testsrc", "yuv420p")
        self.damaged = self.skipped = 0
        self._clock, self._closed = clock, threading.Event()
        drawn = [(_planes(rainy)[0], _planes(clean)) for rainy, clean in scene.draw(width, height, _LAYERS)]
        self._rain = [np.tile(cv2.subtract(rainy, clean[0]), 2) for rainy, clean in drawn]
        # the street, mirrored so that it goes round without a seam
        self._street = [np.concatenate([plane, plane[:, ::-1], plane], 1) for plane in drawn[0][1]]

    def __iter__(self) -> Iterator[Picture | Heard]:
        assert self.info.rate is not None
        began, number = self._clock.now(), 0
        while not self._closed.is_set():
            due = number / self.info.rate
            self._clock.wait(self._closed, began + float(due) - self._clock.now())
            yield Picture(Frame(self._draw(number), _FORMAT), due)
            number = max(number + 1, int((self._clock.now() - began) * self.info.rate))

    def _draw(self, number: int) -> tuple[np.ndarray, ...]:
        width, turn = self.info.width, number // _LAYERS
        x, there = _PAN_PX * number % (2 * width), int(np.random.default_rng(turn).integers(width))
        luma, *chroma = self._street
        luma = cv2.add(luma[:, x : x + width], self._rain[number % _LAYERS][:, there : there + width])
        return luma, *(np.ascontiguousarray(plane[:, x // 2 : (x + width) // 2]) for plane in chroma)

    def hurry(self, hurried: bool) -> None:
        """Nothing is decoded here."""

    def close(self) -> None:
        """See Connection."""
        self._closed.set()


def _planes(rgb: np.ndarray) -> tuple[np.ndarray, ...]:
    height, width = rgb.shape[1:]
    flat = cv2.cvtColor(np.ascontiguousarray(rgb.transpose(1, 2, 0)), cv2.COLOR_RGB2YUV_I420).ravel()
    luma, chroma = height * width, height * width // 4
    return (
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(height // 2, width // 2),
        flat[luma + chroma :].reshape(height // 2, width // 2),
    )
