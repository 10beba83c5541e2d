"""What is shown while there is no camera: its last frame, dim and grey, and how long it has been gone."""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame, on_host
from streamderain.labels import label, limits, tone

_LIGHT = 0.4  # of the last frame's contrast above black


def stand_in(last: Frame | None, seconds_lost: float) -> Frame | None:
    """Mark the last frame so that nobody takes it for a live one.

    Args:
        last: as it was shown; None before the first.
        seconds_lost: since then.

    Returns:
        A frame of the same size and format without colour, at 40 % of the light, with "camera lost 01:05" in the
        middle where it is large enough for letters; None before the first frame.
    """
    if last is None:
        return None
    last = on_host(last)
    return label(last.with_planes(_dimmed(last)), f"camera lost {_clock(seconds_lost)}", middle=True)


def _dimmed(frame: Frame) -> tuple[np.ndarray, ...]:
    """Planes of its own, without colour; look-ups, because this is done five times a second."""
    format, planes = frame.format, frame.planes
    if format.family == "rgb":
        red, green, blue = (plane.astype(np.uint32) for plane in planes)
        grey = ((54 * red + 183 * green + 19 * blue + 128) >> 8).astype(planes[0].dtype)  # luma by BT.709
        dim = _table(format).take(grey)
        return dim, dim.copy(), dim.copy()
    neutral = tone(format, 1, 0.5)
    return _table(format).take(planes[0]), *(np.full_like(plane, neutral) for plane in planes[1:])


@lru_cache(maxsize=4)
def _table(format: PixelFormat) -> np.ndarray:
    """The dim number for every number a sample's type can hold; what lies below black becomes black."""
    black, white = limits(format, 0)
    dtype = np.dtype(np.uint8 if format.bit_depth == 8 else np.uint16)
    codes = np.arange(1 << (8 * dtype.itemsize))
    return np.rint(black + (codes.clip(black, white) - black) * _LIGHT).astype(dtype)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
