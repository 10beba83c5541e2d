"""Pixels between FFmpeg's buffers and plain arrays, line by line; the objects come from the doors to PyAV."""
from __future__ import annotations

from typing import Any

import numpy as np

_RGB_FROM_GBR = (2, 0, 1)


def read(picture: Any, *, bit_depth: int) -> list[np.ndarray]:
    """Copy a decoded picture's planes, without the padding at the end of their lines.

    Args:
        picture: an av.VideoFrame in a planar format, or in "ya8" / "ya16le" (grey and alpha in turn).
        bit_depth: bits per sample; above 8 a sample takes two bytes.

    Returns:
        One array per plane, (h, w) uint8 or uint16, C-contiguous, in our order (R, G, B for RGB), alpha last.
    """
    dtype = np.dtype("u1" if bit_depth == 8 else "<u2")
    if picture.format.name.startswith("ya"):
        both = lines(picture.planes[0], dtype, 2 * picture.width).reshape(picture.height, picture.width, 2)
        return [both[..., 0].copy(), both[..., 1].copy()]
    planes = [lines(plane, dtype, plane.width).copy() for plane in picture.planes]
    return _reorder(planes, _RGB_FROM_GBR) if picture.format.name.startswith("gbr") else planes


def write(picture: Any, planes: list[np.ndarray]) -> None:
    """Fill a picture with planes; the inverse of `read`.

    Args:
        picture: a writable av.VideoFrame of the planes' size and format.
        planes: as `read` returns them.
    """
    dtype = planes[0].dtype
    if picture.format.name.startswith("ya"):
        both = lines(picture.planes[0], dtype, 2 * picture.width).reshape(picture.height, picture.width, 2)
        both[..., 0], both[..., 1] = planes
        return
    if picture.format.name.startswith("gbr"):
        planes = _reorder(planes, (1, 2, 0))
    for target, plane in zip(picture.planes, planes, strict=True):
        lines(target, dtype, target.width)[:] = plane


def lines(plane: Any, dtype: np.dtype, width: int) -> np.ndarray:
    """The first `width` samples of each line of a buffer, writable; a bottom-up picture is turned over."""
    stride = abs(plane.line_size) // dtype.itemsize
    rows = np.frombuffer(plane, dtype)[: plane.height * stride].reshape(plane.height, stride)[:, :width]
    return rows if plane.line_size > 0 else rows[::-1]


def extended(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A plane (h, w) grown to `shape` by repeating its last row and column."""
    return np.pad(plane, [(0, large - small) for small, large in zip(plane.shape, shape, strict=True)], mode="edge")


def _reorder(planes: list[np.ndarray], order: tuple[int, ...]) -> list[np.ndarray]:
    return [planes[i] for i in order] + planes[3:]
