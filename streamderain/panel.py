"""The pictures that a training is watched by: before, the rain that was taken, and after, side by side."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from streamderain.outputs import write_whole

TALLEST, WIDEST = 320, 480
LIFT = 4  # rain is a few grey levels; times four it can be seen


def draw(derain: Callable[[np.ndarray], np.ndarray], pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Derain pictures and lay them out, one in each row.

    Args:
        derain: from (H, W, 3) uint8 RGB to the same.
        pictures: (H, W, 3) uint8 RGB of any sizes; the middle of a large one is shown.

    Returns:
        (rows, 3 columns, 3) uint8 RGB: before, what was taken away times four (grey is nothing), after.
    """
    rows = []
    for picture in pictures:
        after = derain(picture)
        taken = np.clip(128 + LIFT * (picture.astype(np.int16) - after), 0, 255).astype(np.uint8)
        rows.append(np.concatenate([_middle(each) for each in (picture, taken, after)], 1))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])


def write(path: Path, rgb: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG."""
    _, packed = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    write_whole(path, packed.tobytes())


def _middle(picture: np.ndarray) -> np.ndarray:
    y, x = (max((side - most) // 2, 0) for side, most in zip(picture.shape, (TALLEST, WIDEST), strict=False))
    return picture[y : y + TALLEST, x : x + WIDEST]
