"""Thin things of the scene that look like rain: wires, railings, posts, grass, text. They must stay."""
from __future__ import annotations

import cv2
import numpy as np

_FINE = 4  # fractional bits of the coordinates that OpenCV draws by


def draw(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one kind of thin structure into the scene, lighter or darker than what it stands before.

    Args:
        picture: (H, W, 3) uint8 RGB.

    Returns:
        A changed copy.
    """
    mask: np.ndarray = np.zeros(picture.shape[:2], np.uint8)
    (_wires, _railing, _posts, _grass, _text)[int(rng.integers(5))](mask, rng)
    sigma = float(rng.uniform(0, 1.0))
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma)) if sigma > 0.3 else mask
    bright = rng.random() < 0.75  # rain is bright
    colour = (rng.uniform(150, 255) if bright else rng.uniform(0, 80)) * rng.uniform(0.85, 1.0, 3)
    cover = mask[:, :, None] * np.float32(rng.uniform(0.3, 1.0) / 255)
    return np.rint(picture * (1 - cover) + colour.astype(np.float32) * cover).astype(np.uint8)


def _line(mask: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> None:
    one, other = (tuple(round(c * 2**_FINE) for c in point) for point in (start, end))
    cv2.line(mask, one, other, 255, max(round(width), 1), cv2.LINE_AA, _FINE)


def _wires(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    sag = rng.uniform(0, 0.2) * height
    for _ in range(int(rng.integers(1, 5))):
        left, right = rng.uniform(-0.2, 1.2, 2) * height
        x = np.linspace(0, width, 12)
        y = left + (right - left) * x / width + sag * 4 * (x / width) * (1 - x / width)
        points = np.rint(np.column_stack([x, y]) * 2**_FINE).astype(np.int32)
        upright = points[:, ::-1] if rng.random() < 0.4 else points
        cv2.polylines(mask, [upright], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA, _FINE)


def _railing(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    gap, thick, lean = rng.uniform(5, 28), rng.uniform(1, 4), rng.normal(0, 0.08)
    top, tall = rng.uniform(-0.3, 0.7) * height, rng.uniform(0.15, 0.9) * height
    for x in np.arange(rng.uniform(0, gap), width, gap):
        _line(mask, np.array([x, top]), np.array([x + lean * tall, top + tall]), thick)
    for y in (top, top + tall) if rng.random() < 0.6 else ():
        _line(mask, np.array([0, y]), np.array([width, y]), thick)


def _posts(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    for _ in range(int(rng.integers(1, 4))):
        x, lean, end = rng.uniform(0, width), rng.normal(0, 0.03) * height, rng.uniform(0.2, 1.1) * height
        start = rng.uniform(-0.2, 0.5) * height
        _line(mask, np.array([x, start]), np.array([x + lean, start + end]), rng.uniform(1, 8))


def _grass(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    foot, tall = rng.uniform(0.4, 1.1) * height, rng.uniform(6, 50)
    for _ in range(int(rng.integers(10, 120))):
        x, lean, tip = rng.uniform(0, width), rng.normal(0, 0.35), tall * rng.uniform(0.4, 1.2)
        y = foot + rng.uniform(-0.1, 0.3) * height
        middle = np.array([x + 0.4 * lean * tip, y - 0.5 * tip])
        _line(mask, np.array([x, y]), middle, 1)
        _line(mask, middle, np.array([x + lean * tip * 1.2, y - tip]), 1)


def _text(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    signs = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789il|/:-. ", np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        words = bytes(rng.choice(signs, int(rng.integers(3, 16)))).decode()
        place = (int(rng.uniform(-0.2, 0.7) * width), int(rng.uniform(0.1, 1.0) * height))
        size, thick = float(rng.uniform(0.35, 1.4)), int(rng.integers(1, 3))
        cv2.putText(mask, words, place, int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX])), size, 255,
                    thick, cv2.LINE_AA)  # fmt: skip
