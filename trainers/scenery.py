"""More scenes out of few photos: turned, seen from further away, without colour."""
from __future__ import annotations

import cv2
import numpy as np

TURNED = 0.3  # share of photos whose upright things lie, and whose lying things stand as rain does
REDUCED = 0.3  # share of photos whose things become finer
FURTHEST = 0.4
GREY = 0.1  # share of photos as a black-and-white or infrared camera sees them


def vary(photo: np.ndarray, smallest: int, rng: np.random.Generator) -> np.ndarray:
    """Another scene of a photo.

    Args:
        photo: (H, W, 3) uint8 RGB, sides at least smallest.
        smallest: pixels that the shorter side of the result has at least.

    Returns:
        (H, W, 3) uint8 RGB of another size, sides at least smallest.
    """
    if rng.random() < REDUCED:
        nearest = smallest / min(photo.shape[:2])
        photo = _reduced(photo, float(rng.uniform(min(max(FURTHEST, nearest), 1), 1)), smallest)
    if rng.random() < TURNED:
        photo = np.ascontiguousarray(photo.transpose(1, 0, 2))
        photo = photo[::-1] if rng.random() < 0.5 else photo
    if rng.random() < GREY:
        photo = np.repeat(np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))[:, :, None], 3, axis=2)
    return photo


def _reduced(photo: np.ndarray, scale: float, smallest: int) -> np.ndarray:
    height, width = (max(round(extent * scale), smallest) for extent in photo.shape[:2])
    return np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA))
