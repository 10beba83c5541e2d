"""Consecutive frames without rain: a window of a clip, or what a camera sees on its path over a photo."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional


def video_crop(frames: np.ndarray, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """The same window of consecutive frames, forwards or backwards, flipped at random.

    Args:
        frames: (T, H, W, 3) uint8 RGB, at least count of them, sides at least size.
        size: side of the window, pixels.
        count: frames wanted.
        rng: the only source of chance.

    Returns:
        (count, 3, size, size) float32 0..1.
    """
    step = int(rng.integers(1, 3)) if len(frames) >= 2 * count else 1
    start = int(rng.integers(len(frames) - step * (count - 1)))
    y, x = (int(rng.integers(extent - size + 1)) for extent in frames.shape[1:3])
    window = frames[start : start + step * (count - 1) + 1 : step, y : y + size, x : x + size]
    window = window[:: -1 if rng.random() < 0.5 else 1, :, :: -1 if rng.random() < 0.5 else 1]
    return _planes(window)


def _planes(pictures: np.ndarray) -> np.ndarray:
    """(T, 3, H, W) float32 0..1 of (T, H, W, 3) uint8."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)) * np.float32(1 / 255)


def moved_photo(
    photo: np.ndarray, size: int, count: int, speed: float, rng: np.random.Generator,
    drawn: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None,
) -> np.ndarray:  # fmt: skip
    """A camera path over a photo: whole pixels (no resampling), or with turn and zoom.

    Args:
        photo: (H, W, 3) uint8 RGB, sides at least size.
        size, count, rng: as in video_crop.
        speed: pixels a frame, about; 0 stands still.
        drawn: what is done to the part of the photo that will be seen, None for nothing.

    Returns:
        (count, 3, size, size) float32 0..1.
    """
    heading = rng.uniform(0, 2 * np.pi)
    step = speed * np.array([np.sin(heading), np.cos(heading)])
    path = np.cumsum(step + rng.normal(0, 0.1 * speed, (count, 2)), axis=0)
    path -= path[count // 2]
    smooth = rng.random() < 0.5 and speed > 0
    zoom = float(np.exp(rng.uniform(np.log(0.75), np.log(1.5)))) if smooth else 1.0
    reach = int(np.ceil(np.abs(path).max())) + (4 if smooth else 0)
    need = [min(int(size * max(zoom, 1) * 1.03) + 2 * reach, extent) for extent in photo.shape[:2]]
    y, x = (int(rng.integers(extent - n + 1)) for extent, n in zip(photo.shape[:2], need, strict=True))
    part = photo[y : y + need[0], x : x + need[1]]
    part = part[:, ::-1] if rng.random() < 0.5 else part
    part = drawn(part, rng) if drawn else part
    if smooth:
        return _resampled(part, size, path, zoom, rng)
    centre = [(n - size) // 2 for n in need]
    corners = np.rint(path).astype(int) + centre
    corners = np.clip(corners, 0, [n - size for n in need])
    crops = [part[cy : cy + size, cx : cx + size] for cy, cx in corners]
    return _planes(np.stack(crops))


def _resampled(part: np.ndarray, size: int, path: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """Bilinear samples of a part along path, turning and zooming slightly from frame to frame."""
    count = len(path)
    turn = np.cumsum(np.full(count, rng.normal(0, 0.006)))
    scale = zoom * np.cumprod(np.full(count, 1 + rng.normal(0, 0.006)))
    tall, wide = part.shape[:2]
    theta = np.empty((count, 2, 3), np.float32)
    for t in range(count):
        cosine, sine = scale[t] * np.cos(turn[t]), scale[t] * np.sin(turn[t])
        theta[t] = [
            [cosine * size / wide, -sine * size / wide, 2 * path[t, 1] / wide],
            [sine * size / tall, cosine * size / tall, 2 * path[t, 0] / tall],
        ]
    grid = functional.affine_grid(torch.from_numpy(theta), [count, 3, size, size], align_corners=False)
    source = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1))).float().div_(255)
    moved = functional.grid_sample(
        source.expand(count, -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )
    return moved.numpy()
