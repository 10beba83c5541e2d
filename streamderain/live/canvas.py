"""Frames of any format and size as pictures of the one size and format that a live encoder takes. A door to PyAV."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation

from streamderain import containers, planes
from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame, on_host

PIXELS = "yuv420p"  # what every receiver, player and encoder takes
_MATRICES = {"bt709": 1, "fcc": 4, "bt601": 6, "smpte240m": 7, "bt2020": 9}  # ITU-T H.273
_PRIMARIES = {"bt2020": 9}
_TRANSFERS = {"pq": 16, "hlg": 18}
_UNSPECIFIED = 2
_HOW = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
_BLACK = (16, 128, 128)


class Canvas:
    """Eight bits, 4:2:0, limited range, even size, turned upright; the colour matrix stays the first frame's.

    Args:
        first: the frame that settles size and matrix.

    Attributes:
        width, height: pixels.
    """

    def __init__(self, first: Frame) -> None:
        width, height = upright(first)
        self.width, self.height = width + width % 2, height + height % 2
        self._matrix = first.format.matrix
        self._transfer = first.format.transfer

    @property
    def tags(self) -> dict[str, int]:
        """Colour as H.273 numbers it, for the encoder."""
        return {
            "colorspace": _MATRICES[self._matrix], "color_range": containers.RANGE_LIMITED,
            "color_primaries": _PRIMARIES.get(self._matrix, _UNSPECIFIED),
            "color_trc": _TRANSFERS.get(self._transfer, _UNSPECIFIED),
        }  # fmt: skip

    def holds(self, frame: Frame) -> bool:
        """Whether a frame fills the canvas without bars or scaling."""
        width, height = upright(frame)
        return (width + width % 2, height + height % 2) == (self.width, self.height)

    def draw(self, frame: Frame) -> Any:
        """The frame as an av.VideoFrame of the canvas' size; one of another size is scaled to fit, with black bars."""
        picture = self._converted(frame)
        if frame.rotation % 360:
            picture = _turned(picture, frame.rotation)
        if not self.holds(frame):
            picture = self._scaled(picture)
        if (picture.width, picture.height) != (self.width, self.height):
            picture = self._grown(picture, edge=self.holds(frame))
        for name, value in self.tags.items():
            setattr(picture, name, value)
        return picture

    def _converted(self, frame: Frame) -> Any:
        made, format = _as_it_is(frame)
        if made.format.name == PIXELS and not format.full_range and format.matrix == self._matrix:
            return made
        return made.reformat(
            format=PIXELS, interpolation=_HOW, src_colorspace=_scaler(format.matrix),
            dst_colorspace=_scaler(self._matrix), src_color_range=2 if format.full_range else 1, dst_color_range=1,
        )  # fmt: skip

    def _scaled(self, picture: Any) -> Any:
        factor = min(self.width / picture.width, self.height / picture.height)
        width, height = (max(2, round(side * factor / 2) * 2) for side in (picture.width, picture.height))
        return picture.reformat(width=min(width, self.width), height=min(height, self.height), interpolation=_HOW)

    def _grown(self, picture: Any, *, edge: bool) -> Any:
        """On the canvas: an odd size by its last row and column once more, a scaled picture in the middle of black."""
        target = av.VideoFrame(self.width, self.height, PIXELS)
        few, many = (planes.read(each, bit_depth=8) for each in (picture, target))
        if edge:
            few = [planes.extended(small, large.shape) for small, large in zip(few, many, strict=True)]
        for small, large, black in zip(few, many, _BLACK, strict=True):
            large[:] = black
            top, left = ((big - size) // 2 for big, size in zip(large.shape, small.shape, strict=True))
            large[top : top + small.shape[0], left : left + small.shape[1]] = small
        planes.write(target, many)
        return target


def upright(frame: Frame) -> tuple[int, int]:
    """Width and height as the frame is looked at."""
    return (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)


def _as_it_is(frame: Frame) -> tuple[Any, PixelFormat]:
    """A frame's planes in a picture, without alpha; grey gets chroma, because the scaler takes grey for full range."""
    arrays, format = list(on_host(frame).planes), frame.format
    if format.family == "grey":
        neutral = np.full([-(-side // 2) for side in arrays[0].shape], 1 << format.bit_depth - 1, arrays[0].dtype)
        arrays, format = [arrays[0], neutral, neutral], replace(format, family="yuv", subsampling=(1, 1))
    made = av.VideoFrame(frame.width, frame.height, containers.planar_name(format))
    planes.write(made, arrays)
    return made, format


def _turned(picture: Any, rotation: int) -> Any:
    """Turned counterclockwise: RTSP, RTMP and MPEG-TS have no word for a rotation."""
    turned = [np.rot90(plane, rotation // 90) for plane in planes.read(picture, bit_depth=8)]
    target = av.VideoFrame(turned[0].shape[1], turned[0].shape[0], PIXELS)
    planes.write(target, turned)
    return target


def _scaler(matrix: str) -> int:
    """The number under which the scaler knows a matrix."""
    number = _MATRICES[matrix]
    return 5 if number == 6 else number
