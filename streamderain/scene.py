"""A drawn street in drawn rain: moving, textured, the same on every machine; what `bench` runs on by default."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from streamderain import pipeline
from streamderain.core import rain
from streamderain.sinks import VideoSink
from streamderain.video import open_video

_PAN_PX = (1.3, 0.4)  # camera, x and y for each frame
_WALK_PX = 3.2  # what crosses the scene, against the pan
_NOISE = 0.006  # sensor noise, standard deviation of 0..1
_RAIN_FRAMES = 8  # rendered at once; streaks fall so far in a frame that nobody can follow one
_RAIN = rain.RainStyle(
    density=14, length=26, width=0.8, slope=0.15, slope_spread=0.02, brightness=0.35, brightness_spread=0.4,
    depth_spread=0.3, fall=40, defocus=0.0, blend="add", airlight=(0.95, 0.97, 1.0), veil=0.0,
)  # fmt: skip


def draw(width: int, height: int, frames: int, *, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw the scene with and without rain.

    Args:
        width, height: pixels.
        frames: how many.
        seed: another seed is another street.

    Yields:
        (rainy, clean), each (3, height, width) uint8 RGB.
    """
    rng = np.random.default_rng(seed)
    reach_x, reach_y = (int(np.ceil(pan * frames)) + 2 for pan in _PAN_PX)
    background = _houses(rng, width + reach_x, height + reach_y)
    walker = _texture(rng, height // 3, height // 4)
    for number in range(frames):
        if number % _RAIN_FRAMES == 0:
            layers = rain.render(_RAIN, frames=_RAIN_FRAMES, height=height, width=width, rng=rng)
        shift = np.array([[1, 0, _PAN_PX[0] * number], [0, 1, _PAN_PX[1] * number]])
        moved = cv2.warpAffine(background, shift, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        scene: np.ndarray = np.asarray(moved, np.float32)
        _place(scene, walker, int(_WALK_PX * number) % width, height // 2)
        scene += _NOISE * rng.standard_normal(scene.shape, dtype=np.float32)
        clean = np.clip(scene.transpose(2, 0, 1), 0, 1)
        rainy = rain.compose(clean[None], layers[number % _RAIN_FRAMES][None], _RAIN)[0]
        yield _to_bytes(rainy), _to_bytes(clean)


def write_clip(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Encode frames as a video of 25 frames per second, 4:2:0 in 8 bits, as cameras make them.

    Args:
        path: the container goes by its suffix; an existing file is replaced.
        frames: (3, H, W) uint8 RGB, H and W even.
    """
    raw = path.with_suffix(".y4m")
    with open(raw, "wb") as file:
        for number, rgb in enumerate(frames):
            if number == 0:
                file.write(f"YUV4MPEG2 W{rgb.shape[2]} H{rgb.shape[1]} F25:1 Ip A1:1 C420\n".encode())
            planes = cv2.cvtColor(np.ascontiguousarray(rgb.transpose(1, 2, 0)), cv2.COLOR_RGB2YUV_I420)
            file.write(b"FRAME\n" + planes.tobytes())
    source = open_video(raw)
    pipeline.run(source, lambda frame, _: frame, VideoSink(path, source, overwrite=True))
    raw.unlink()


def _houses(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Textured ground and sky with flat-coloured walls and windows on it; (height, width, 3) float32, 0..1."""
    picture = _texture(rng, height, width)
    for _ in range(12):
        x, y = int(rng.integers(width)), int(rng.integers(height // 3, height))
        w, h = (int(rng.integers(height // 12 + 2, height // 3 + 3)) for _ in range(2))
        wall = picture[max(0, y - h) : y, x : x + w]
        wall *= 0.4
        wall += rng.uniform(0.05, 0.5, 3).astype(np.float32)
        wall[4::16, 4:-4] *= 0.6
        wall[:, 4::12] *= 0.7
    return picture


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise whose amplitude falls with frequency, as in photographs; (height, width, 3) float32 around 0.4."""
    shape = (max(height, 1), max(width, 1))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    spectrum = np.fft.fft2(rng.normal(size=shape)) / (frequency + 2 / max(shape)) ** 1.7
    grey = np.fft.ifft2(spectrum).real
    grey = 0.4 + 0.14 * (grey - grey.mean()) / (grey.std() + 1e-9)
    tint = rng.uniform(0.8, 1.2, 3)
    return np.clip(grey[..., None] * tint, 0, 1).astype(np.float32)


def _place(scene: np.ndarray, thing: np.ndarray, x: int, y: int) -> None:
    """Lay the thing over the scene, cut off at its edges."""
    spot = scene[y : y + thing.shape[0], x : x + thing.shape[1]]
    spot[:] = thing[: spot.shape[0], : spot.shape[1]]


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    return np.round(picture * 255).astype(np.uint8)
