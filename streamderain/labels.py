"""Words drawn into a frame's own planes, and how a plane's numbers and axes are to be understood for that."""
from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame

GRID = 4  # luma pixels per chroma sample at most (4:1:1), so that drawn things cover whole chroma samples


def label(frame: Frame, text: str, *, right: bool = False, middle: bool = False) -> Frame:
    """The frame with white letters on a black box in its upper left or right corner, without where none fits.

    Args:
        frame: any frame; corners and letters follow its rotation, so that they stand upright when displayed.
        text: a word or two in ASCII.
        right: the upper right corner instead of the left one.
        middle: the middle of the picture instead of a corner.

    Returns:
        A frame with planes of its own, or the same frame where it is too small for legible letters.
    """
    box = _text_box(text, *_shown_size(frame))
    if box is None:
        return frame
    top, left = _corner(frame, box.shape, right, middle)
    coded = np.rot90(box, -quarter_turns(frame.rotation))
    planes = []
    for index, plane in enumerate(frame.planes):
        row_shift, column_shift = shifts(frame.format, index)
        patch = coded[:: 1 << row_shift, :: 1 << column_shift]
        y, x = top >> row_shift, left >> column_shift
        drawn = plane.copy()
        drawn[y : y + patch.shape[0], x : x + patch.shape[1]] = _ramp(frame.format, index)[patch]
        planes.append(drawn)
    return frame.with_planes(tuple(planes))


def quarter_turns(rotation: int) -> int:
    """Counterclockwise quarter turns that bring the coded picture upright."""
    return round(rotation / 90) % 4


def across(rotation: int) -> tuple[int, bool]:
    """Axis of the planes that is displayed from left to right, and whether it runs backwards."""
    turns = quarter_turns(rotation)
    return 1 - turns % 2, turns in (2, 3)


def down(rotation: int) -> tuple[int, bool]:
    """Axis of the planes that is displayed from top to bottom, and whether it runs backwards."""
    turns = quarter_turns(rotation)
    return turns % 2, turns in (1, 2)


def shifts(format: PixelFormat, index: int) -> tuple[int, int]:
    """log2 of this plane's reduction, (vertical, horizontal): in the order of its axes."""
    if format.family != "yuv" or index == 0:
        return 0, 0
    horizontal, vertical = format.subsampling
    return vertical, horizontal


def limits(format: PixelFormat, index: int) -> tuple[int, int]:
    """Smallest and largest number that this plane may hold."""
    if format.full_range:
        return 0, (1 << format.bit_depth) - 1
    chroma = format.family == "yuv" and index > 0
    return 16 << (format.bit_depth - 8), (240 if chroma else 235) << (format.bit_depth - 8)


def tone(format: PixelFormat, index: int, brightness: float) -> int:
    """The number in this plane of a grey between black (0) and white (1)."""
    if format.family == "yuv" and index > 0:
        return 1 << (format.bit_depth - 1)
    black, white = limits(format, index)
    return round(black + (white - black) * brightness)


def _shown_size(frame: Frame) -> tuple[int, int]:
    """Width and height as displayed."""
    size = frame.width, frame.height
    return size if quarter_turns(frame.rotation) % 2 == 0 else size[::-1]


def _corner(frame: Frame, box_shape: tuple[int, ...], right: bool, middle: bool) -> tuple[int, int]:
    """First row and column in the coded picture of a box of this (height, width), on the chroma grid."""
    height, width = box_shape
    shown_width, shown_height = _shown_size(frame)
    x = y = height // 2
    if middle:
        x, y = (shown_width - width) // 2, (shown_height - height) // 2
    elif right:
        x = shown_width - x - width
    first = [0, 0]
    for (axis, reverse), offset, length in ((across(frame.rotation), x, width), (down(frame.rotation), y, height)):
        start = frame.planes[0].shape[axis] - offset - length if reverse else offset
        first[axis] = start // GRID * GRID
    return first[0], first[1]


@lru_cache(maxsize=16)
def _ramp(format: PixelFormat, index: int) -> np.ndarray:
    """Numbers for this plane by coverage of white on black, (256,)."""
    return np.array([tone(format, index, coverage / 255) for coverage in range(256)], np.uint16)


@lru_cache(maxsize=16)
def _text_box(text: str, width: int, height: int) -> np.ndarray | None:
    """Coverage of the letters in a box for a picture of this size, (h, w) uint8, None where it is too small for any."""
    face, cap_px = cv2.FONT_HERSHEY_SIMPLEX, 22  # height of a capital at scale 1
    for letter_px in range(min(max(min(width, height) // 26, 8), 96), 6, -1):
        scale, stroke = letter_px / cap_px, max(1, letter_px // 9)
        (text_width, text_height), below = cv2.getTextSize(text, face, scale, stroke)
        pad = letter_px // 2
        box_width, box_height = (-(-(n + 2 * pad) // GRID) * GRID for n in (text_width, text_height + below))
        if 2 * box_height <= height and box_width + box_height <= width:
            box = np.zeros((box_height, box_width), np.uint8)
            return cv2.putText(box, text, (pad, pad + text_height), face, scale, 255, stroke, cv2.LINE_AA)
    return None
