"""What is shown while there is no camera: its last frame, dim and grey, and how long it has been gone."""
from __future__ import annotations

import numpy as np

from streamderain.frame import Frame
from streamderain.labels import label, limits

_LIGHT = 0.4  # of the last frame's contrast above black


def stand_in(last: Frame | None, seconds_lost: float) -> Frame | None:
    """Mark the last frame so that nobody takes it for a live one.

    Args:
        last: as it was shown; None before the first.
        seconds_lost: since then.

    Returns:
        A frame of the same size and format without colour, at 40 % of the light, with "camera lost 1:05" on it where
        it is large enough for letters; None before the first frame.
    """
    if last is None:
        return None
    planes = tuple(_dimmed(last, index) for index in range(len(last.planes)))
    return label(last.with_planes(planes), f"camera lost {_clock(seconds_lost)}")


def _dimmed(frame: Frame, index: int) -> np.ndarray:
    plane, format = frame.planes[index], frame.format
    if format.family == "yuv" and index > 0:
        return np.full_like(plane, 1 << (format.bit_depth - 1))
    if format.family == "rgb":
        plane = np.mean(frame.planes, axis=0)
    black = limits(format, 0)[0]
    return (black + (plane.astype(np.float32) - black).clip(0) * _LIGHT).astype(frame.planes[0].dtype)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
