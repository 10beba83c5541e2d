"""Samples for the published methods: crops of unpaired pictures, of pairs, and of clean pictures under drawn rain."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from streamderain.core import rain

from .clips import Clip
from .config import at_least

Sample = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """data.*: which crops a network sees.

    Attributes:
        pairing: "unpaired" rainy and clean pictures; "paired" ones of one scene; "rendered" rain over clean pictures.
        range: of the values, -1,1 or 0,1.
        crop_size: side of a sample, pixels.
        preprocess: "crop" takes a random window, and enlarges a picture that is smaller; "grid" takes the windows of a
            fixed grid in random order; "resize_crop" first scales the picture to load_size x load_size.
        grid_stride: pixels between windows of the grid.
        load_size: see resize_crop.
        flip: mirror every second sample.
        rendered_share: share of the unpaired rainy samples that are clean pictures under drawn rain, 0..1; 0 as
            published.
        rain_brightness: range of drawn rain, 0..1: the peak of a kind's typical streak.
    """

    pairing: Literal["unpaired", "paired", "rendered"] = "unpaired"
    range: tuple[int, int] = (-1, 1)
    crop_size: int = 256
    preprocess: Literal["crop", "grid", "resize_crop"] = "crop"
    grid_stride: int = 80
    load_size: int = 286
    flip: bool = False
    rendered_share: float = 0.0
    rain_brightness: tuple[float, float] = (0.06, 0.8)

    def __post_init__(self) -> None:
        at_least("crop_size", self.crop_size, 32)
        at_least("grid_stride", self.grid_stride, 1)
        if self.range not in ((-1, 1), (0, 1)):
            raise ValueError(f"range is {self.range}; it must be -1,1 or 0,1")
        if self.preprocess == "resize_crop" and self.load_size < self.crop_size:
            raise ValueError(f"load_size is {self.load_size}; it must be at least crop_size, {self.crop_size}")
        if not 0 <= self.rendered_share <= 1:
            raise ValueError(f"rendered_share is {self.rendered_share}; it must be 0 to 1")
        if not 0 < self.rain_brightness[0] <= self.rain_brightness[1] <= 1:
            raise ValueError(f"rain_brightness is {self.rain_brightness}; it must be two rising numbers up to 1")

    def scaled(self, picture: Tensor) -> Tensor:
        """A picture of 0..1 in the range of the network."""
        low = self.range[0]
        return picture * (1 - low) + low


class Pictures(Dataset[Sample]):
    """An endless set: sample n depends on the seed and n alone, whoever makes it and in whatever order.

    A sample is {"rainy": (3, C, C), "clean": (3, C, C), "seed": () int64}: float32 in the range of the config; whether
    the two show one scene is up to data.pairing. "seed" is where a method takes the sample's chance from. An epoch
    shows each picture (each window of the grid) once, in an order of its own.

    Args:
        rainy: rainy pictures; pairs are clips of two frames, the rainy one first; unused for "rendered".
        clean: clean pictures; unused for "paired".
        config: what to make of them.
        seed: of all chance.
    """

    def __init__(self, rainy: list[Clip], clean: list[Clip], config: DataConfig, *, seed: int) -> None:
        self.rainy, self.clean, self.config, self.seed = rainy, clean, config, seed
        source = clean if config.pairing == "rendered" else rainy
        if not source or (config.pairing == "unpaired" and not clean):
            raise ValueError("there are no pictures to train on")
        self._windows = _grid(source, config) if config.preprocess == "grid" else None
        pictures = max(len(rainy), len(clean)) if config.pairing == "unpaired" else len(source)
        self.epoch_length = len(self._windows) if self._windows else pictures

    def __len__(self) -> int:
        return 2**40  # the loop decides when to end

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self.seed, index))
        source = self.clean if self.config.pairing == "rendered" else self.rainy
        if self._windows:
            number, y, x = self._windows[self._turn(index, len(self._windows))]
            first = _window(source[number].frames, y, x, self.config.crop_size)
            frames = first if self.config.pairing == "paired" else first[rng.integers(len(first))][None]
        else:
            frames = self._crop(source[self._turn(index, len(source))], rng, self.config.pairing == "paired")
        return self._sample(self._pair(frames, rng), rng)

    def _pair(self, frames: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(rainy, clean) of 0..1 from the first picture's crop, (1 or 2, 3, C, C)."""
        if self.config.pairing == "paired":
            return frames[0], frames[1]
        if self.config.pairing == "rendered":
            return self._rained(frames[0], rng), frames[0]
        if rng.random() < self.config.rendered_share:
            frames = self._rained(self._crop(self.clean[rng.integers(len(self.clean))], rng, False)[0], rng)[None]
        return frames[0], self._crop(self.clean[rng.integers(len(self.clean))], rng, False)[0]

    def _rained(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        return rained(clean, rng, self.config.rain_brightness)

    def _sample(self, pair: tuple[Tensor, Tensor], rng: np.random.Generator) -> Sample:
        mirrored = [self.config.flip and rng.random() < 0.5 for _ in pair]
        if self.config.pairing != "unpaired":
            mirrored[1] = mirrored[0]
        rainy, clean = (picture.flip(-1) if turn else picture for picture, turn in zip(pair, mirrored, strict=True))
        seed = torch.tensor(int(rng.integers(2**62)))
        return {"rainy": self.config.scaled(rainy), "clean": self.config.scaled(clean), "seed": seed}

    def _turn(self, index: int, count: int) -> int:
        """Whose turn it is: every picture once in each epoch, in an order of its own."""
        epoch, place = divmod(index, count)
        return int(np.random.default_rng((self.seed, 1, epoch)).permutation(count)[place])

    def _crop(self, clip: Clip, rng: np.random.Generator, whole: bool) -> Tensor:
        """A window of a random frame, or of all, (T, 3, C, C) of 0..1."""
        size, frames = self.config.crop_size, clip.frames
        frames = frames if whole else frames[rng.integers(len(frames))][None]
        if self.config.preprocess == "resize_crop":
            frames = _resized(frames, self.config.load_size, self.config.load_size)
        elif min(frames.shape[1:3]) < size:
            frames = _resized(frames, *(max(side, size) for side in frames.shape[1:3]))
        y, x = (int(rng.integers(side - size + 1)) for side in frames.shape[1:3])
        return _window(frames, y, x, size)


def rained(clean: Tensor, rng: np.random.Generator, brightness: tuple[float, float] = (0.06, 0.8)) -> Tensor:
    """Drawn rain of a random kind over a picture.

    Args:
        clean: (3, H, W) float32, 0..1.
        rng: the only source of chance.
        brightness: see DataConfig.rain_brightness.

    Returns:
        The same shape, in whole steps of 1/255, as a camera gives it.
    """
    style = rain.random_style(rng, brightness=brightness)
    opacity = rain.render(style, frames=1, height=clean.shape[1], width=clean.shape[2], rng=rng)
    rainy = rain.compose(clean.numpy()[None], opacity, style)[0]
    return torch.from_numpy(np.rint(rainy * 255) / np.float32(255))


def apart(clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on, and every tenth, kept apart for scores and pictures; all serve as both where they are few."""
    if len(clips) < 10:
        return clips, clips
    return [clip for n, clip in enumerate(clips) if n % 10], clips[::10]


def _window(frames: np.ndarray, y: int, x: int, size: int) -> Tensor:
    """(T, 3, size, size) float32 0..1 of (T, H, W, 3) uint8."""
    cut = frames[:, y : y + size, x : x + size].transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(cut)).float().div_(255)


def _resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    planes = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float()
    scaled = functional.interpolate(planes, (height, width), mode="bicubic", antialias=True)
    return scaled.round().clamp(0, 255).byte().numpy().transpose(0, 2, 3, 1)


def _grid(clips: list[Clip], config: DataConfig) -> list[tuple[int, int, int]]:
    """(clip, y, x) of every window of the grid."""
    found, size, stride = [], config.crop_size, config.grid_stride
    for number, clip in enumerate(clips):
        H, W = clip.frames.shape[1:3]
        found += [(number, y, x) for y in range(0, H - size + 1, stride) for x in range(0, W - size + 1, stride)]
    if not found:
        raise ValueError(f"no picture is at least {size} pixels on both sides, as preprocess = grid needs")
    return found
