"""What a camera does to a rainy scene before anybody derains it: exposure, noise, a coarser sensor, compression."""
from __future__ import annotations

import cv2
import numpy as np

FACTORS = (0.4, 0.85)
QUALITIES = (25, 92)  # of JPEG
FLICKERS = (0.004, 0.06)  # standard deviations of the logarithm of the exposure
NOISES = (0.5 / 255, 6 / 255)  # standard deviations
SOFT = (0.3, 0.8)  # deviations in pixels by which interpolated colours and denoising soften half of the noise
SHARPENED = (0.3, 1.5)  # how much of the detail a camera adds once more


def noisy(stacks: tuple[np.ndarray, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The same frames with the same noise of a sensor in all stacks, new in every frame, mostly alike in all channels.

    Noise belongs to the scene: what tells fine rain from it is that rain has a direction.

    Args:
        stacks: each (T, 3, H, W) float32.
    """
    frames, channels, height, width = stacks[0].shape
    deviation = np.float32(np.exp(rng.uniform(*np.log(NOISES))))
    common = rng.standard_normal((frames, 1, height, width), np.float32)
    noise = common + np.float32(0.4) * rng.standard_normal((frames, channels, height, width), np.float32)
    noise = deviation * (_softened(noise, float(rng.uniform(*SOFT))) if rng.random() < 0.5 else noise)
    return tuple(np.clip(stack + noise, 0, 1) for stack in stacks)


def sharpened(stacks: tuple[np.ndarray, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The same frames as a camera sharpens them, which draws dark lines beside bright streaks.

    Args:
        stacks: each (T, 3, H, W) float32.
    """
    amount, deviation = np.float32(rng.uniform(*SHARPENED)), float(rng.uniform(0.6, 1.4))
    return tuple(np.clip(stack + amount * (stack - _blurred(stack, deviation)), 0, 1) for stack in stacks)


def flickering(stacks: tuple[np.ndarray, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The same frames, each exposed a little differently, alike in all stacks.

    Args:
        stacks: each (T, 3, H, W) float32.
    """
    deviation = np.exp(rng.uniform(*np.log(FLICKERS)))
    exposures = np.exp(deviation * rng.standard_normal((len(stacks[0]), 1, 1, 1))).astype(np.float32)
    gammas = np.exp(deviation * rng.standard_normal((len(stacks[0]), 1, 1, 1))).astype(np.float32)
    return tuple(np.clip(exposures * stack**gammas, 0, 1) for stack in stacks)


def _blurred(stack: np.ndarray, deviation: float) -> np.ndarray:
    """Every plane of (T, C, H, W) float32 under a Gaussian."""
    planes = stack.reshape(-1, *stack.shape[2:])
    return np.stack([cv2.GaussianBlur(plane, (0, 0), deviation) for plane in planes]).reshape(stack.shape)


def _softened(noise: np.ndarray, deviation: float) -> np.ndarray:
    """Noise under a Gaussian, as strong as before."""
    soft = _blurred(noise, deviation)
    return soft * np.float32(noise.std() / soft.std())


def resampled(stacks: tuple[np.ndarray, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The same frames from a coarser sensor, enlarged again; linear, so that differences stay differences.

    Args:
        stacks: each (T, 3, H, W) float32.
    """
    factor = float(rng.uniform(*FACTORS))
    enlarged = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR

    def one(frame: np.ndarray) -> np.ndarray:
        picture = np.ascontiguousarray(frame.transpose(1, 2, 0))
        small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, picture.shape[1::-1], interpolation=enlarged).transpose(2, 0, 1)

    return tuple(np.clip(np.stack([one(frame) for frame in stack]), 0, 1) for stack in stacks)


def compressed(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, 3, H, W) uint8 RGB as JPEG gives it back, all of one quality."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*QUALITIES))]
    back = []
    for frame in frames:
        _, data = cv2.imencode(".jpg", cv2.cvtColor(frame.transpose(1, 2, 0), cv2.COLOR_RGB2BGR), quality)
        seen = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert seen is not None  # it was written the line before
        back.append(cv2.cvtColor(seen, cv2.COLOR_BGR2RGB).transpose(2, 0, 1))
    return np.stack(back)
