"""Before and after in one picture, put together in the frame's own planes and bit depth; nothing is resampled.

"Left", "right" and "top" mean the picture as it is displayed, so a video with rotation reads as any other.
"""
from __future__ import annotations

from dataclasses import replace
from math import cos, pi
from typing import Literal

import numpy as np

from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame, on_host
from streamderain.labels import GRID, across, down, label, limits, quarter_turns, shifts, tone

Mode = Literal["side", "wipe", "rain"]
RAIN_GAIN = 4
WIPE_SECONDS = 8.0  # there and back again

_MAX_BESIDE_PX = 8192  # what players and hardware decoders take
_MAX_BESIDE_ASPECT = 3.0


def side(before: Frame, after: Frame) -> Frame:
    """Before on the left, after on the right; one above the other where the picture would be too wide.

    Args:
        before: the frame as it came.
        after: the same frame without rain: same size and format.

    Returns:
        A frame of `side_size`; where a half would end inside a chroma sample its last column or row is repeated.

    Raises:
        ValueError: the two differ in size or format.
    """
    before, after = _comparable(before, after)
    axis, reverse = _side_layout(before.width, before.height, before.rotation)
    halves = [label(before, "before"), label(after, "after")]
    halves = halves[::-1] if reverse else halves
    planes = []
    for index in range(len(before.planes)):
        step = 1 << shifts(before.format, index)[axis]
        length = _padded_length(before.planes[0].shape[axis], before.format, axis) // step
        planes.append(np.concatenate([_extend(half.planes[index], axis, length) for half in halves], axis))
    alpha = before.alpha
    if alpha is not None:
        padded = _extend(alpha, axis, _padded_length(alpha.shape[axis], before.format, axis))
        alpha = np.concatenate([padded, padded], axis)
    return replace(before, planes=tuple(planes), alpha=alpha)


def side_size(width: int, height: int, format: PixelFormat, *, rotation: int = 0) -> tuple[int, int]:
    """Width and height in pixels of what `side` makes of frames of this size, format and rotation (degrees)."""
    axis, _ = _side_layout(width, height, rotation)
    length = 2 * _padded_length((height, width)[axis], format, axis)
    return (width, length) if axis == 0 else (length, height)


def wipe(before: Frame, after: Frame, position: float) -> Frame:
    """Before on the left of a vertical line, after on its right.

    Args:
        before: the frame as it came.
        after: the same frame without rain: same size and format.
        position: where the line stands, 0 at the left edge, 1 at the right one.

    Raises:
        ValueError: the two differ in size or format, or position is outside 0..1.
    """
    before, after = _comparable(before, after)
    if not 0 <= position <= 1:
        raise ValueError(f"position is a share of the width in 0..1, got {position}")
    axis, reverse = across(before.rotation)
    length = before.planes[0].shape[axis]
    cut = int((1 - position if reverse else position) * length) // GRID * GRID
    half_line = min(max(1, length // 960), length // 16) * GRID // 2  # none on a picture under 16 pixels
    first, second = label(before, "before"), label(after, "after", right=True)
    first, second = (second, first) if reverse else (first, second)
    planes = []
    for index in range(len(before.planes)):
        shift = shifts(before.format, index)[axis]
        plane = np.concatenate(
            [_part(first.planes[index], axis, 0, cut >> shift), _part(second.planes[index], axis, cut >> shift, None)],
            axis,
        )
        start, stop = max(cut - half_line, 0) >> shift, (cut + half_line) >> shift
        _part(plane, axis, start, stop)[...] = tone(before.format, index, 1.0)
        planes.append(plane)
    return before.with_planes(tuple(planes))


def wipe_position(seconds: float) -> float:
    """Where the moving line stands at this time of the video: from a tenth of the width to nine tenths and back."""
    return 0.5 - 0.4 * cos(2 * pi * seconds / WIPE_SECONDS)


def rain(before: Frame, after: Frame) -> Frame:
    """What was taken away, four times as strong, on mid-grey: lighter was removed, darker was added.

    Args:
        before: the frame as it came.
        after: the same frame without rain: same size and format.

    Raises:
        ValueError: the two differ in size or format.
    """
    before, after = _comparable(before, after)
    middle = 1 << (before.format.bit_depth - 1)
    planes = []
    for index, (old, new) in enumerate(zip(before.planes, after.planes, strict=True)):
        layer = (old.astype(np.int32) - new) * RAIN_GAIN + middle
        planes.append(np.clip(layer, *limits(before.format, index)).astype(old.dtype))
    return label(before.with_planes(tuple(planes)), f"rain x{RAIN_GAIN}")


def overlay(mode: Mode, before: Frame, after: Frame) -> Frame:
    """The picture of this mode; the wipe moves with the frame's own time."""
    if mode == "side":
        return side(before, after)
    if mode == "rain":
        return rain(before, after)
    return wipe(before, after, wipe_position(float((before.pts or 0) * before.time_base)))


def _comparable(before: Frame, after: Frame) -> tuple[Frame, Frame]:
    """Both on the host; ValueError where they differ."""
    before, after = on_host(before), on_host(after)
    shapes = [[plane.shape for plane in frame.planes] for frame in (before, after)]
    if before.format != after.format or shapes[0] != shapes[1]:
        raise ValueError(
            f"before and after differ: {shapes[0]} of {before.format} against {shapes[1]} of {after.format}"
        )
    return before, after


def _side_layout(width: int, height: int, rotation: int) -> tuple[int, bool]:
    """Axis along which the halves are joined, and whether "after" comes first on it."""
    shown_width, shown_height = (width, height) if quarter_turns(rotation) % 2 == 0 else (height, width)
    too_wide = 2 * shown_width > _MAX_BESIDE_PX or shown_width > _MAX_BESIDE_ASPECT * shown_height
    return down(rotation) if too_wide else across(rotation)


def _padded_length(length: int, format: PixelFormat, axis: int) -> int:
    """Pixels of one half, a whole number of chroma samples."""
    step = 1 << shifts(format, 1)[axis]
    return -(-length // step) * step


def _extend(plane: np.ndarray, axis: int, length: int) -> np.ndarray:
    missing = length - plane.shape[axis]
    return np.pad(plane, [(0, missing if axis == a else 0) for a in (0, 1)], mode="edge") if missing else plane


def _part(plane: np.ndarray, axis: int, start: int, stop: int | None) -> np.ndarray:
    return plane[start:stop] if axis == 0 else plane[:, start:stop]
