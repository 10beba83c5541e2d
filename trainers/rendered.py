"""Samples for the stream generator: clean sequences under rendered rain, with companions from the real search."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from streamderain.core import exposure, matching, shower
from streamderain.core.companions import Companion, network_input
from streamderain.core.kernels import INDEX_MASK
from streamderain.core.matching import CELL, MatchField, SearchSettings

from . import camera, motion, scenery, structures
from .clips import Clip
from .config import at_least, share

CASES = ("file", "live", "photo")
SHARES = (
    "rain_free", "video_share", "standing", "structures", "passing", "lit", "flickering", "noisy", "sharpened",
    "resampled", "compressed",
)  # fmt: skip
SLOWEST = 0.3  # pixels that what moves goes in one frame at least


@dataclass(frozen=True, slots=True)
class RenderedConfig:
    """What the samples are made of.

    Attributes:
        crop_size: side of a sample, pixels; a multiple of 8.
        rain_free: share of samples without rain, so that nothing is removed where nothing falls.
        video_share: share of samples from clips; the rest are photos, still or moved along a smooth path.
        frames: frames of a sample.
        case_shares: how often they are derained looking one ahead, looking back only, and as so many single photos.
        standing: share of photos that are seen by a camera that stands.
        max_motion: pixels a photo moves in one frame at most before the others; standing = 1 lets none move.
        search_radius: window of the search, pixels.
        structures: share of photos with thin things drawn into the scene that could be taken for rain.
        passing: share of samples in which such things pass before the scene.
        scales: range of the rain's size; 1 suits a picture 480 lines high.
        lit: share of showers that are seen near light only, as at night.
        flickering: share of samples whose exposure changes from frame to frame.
        noisy: share of samples with the noise of a sensor.
        sharpened: share of samples that a camera sharpens.
        resampled: share of samples from a coarser sensor, enlarged.
        compressed: share of samples that went through a camera's compression.
    """

    crop_size: int = 192
    rain_free: float = 0.33
    video_share: float = 0.25
    frames: int = 5
    case_shares: tuple[float, float, float] = (0.40, 0.25, 0.35)
    standing: float = 0.25
    max_motion: float = 8.0
    search_radius: int = 9
    structures: float = 0.3
    passing: float = 0.15
    scales: tuple[float, float] = (0.7, 1.8)
    lit: float = 0.1
    flickering: float = 0.2
    noisy: float = 0.3
    sharpened: float = 0.15
    resampled: float = 0.15
    compressed: float = 0.25

    def __post_init__(self) -> None:
        if self.crop_size % 8 or self.crop_size < 32:
            raise ValueError(f"crop_size is {self.crop_size}; it must be a multiple of 8, at least 32")
        at_least("frames", self.frames, 1)
        at_least("max_motion", self.max_motion, SLOWEST)
        for name in SHARES:
            share(name, getattr(self, name))
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(f"scales is {self.scales}; it must be two rising numbers above 0")
        right = len(self.case_shares) == len(CASES) and min(self.case_shares) >= 0
        if not right or abs(sum(self.case_shares) - 1) > 1e-6:
            raise ValueError(f"case_shares is {self.case_shares}; it must be {len(CASES)} shares that add up to 1")


class RenderedRain(Dataset[dict[str, Tensor]]):
    """An endless set: sample n depends on the seed and n alone, whoever makes it and in whatever order.

    A sample is {"input": (T, 12, C, C) float32, "rain": (T, 3, C, C) float32, "before": (T, C, C) int64, "tones":
    (T, 3, 256) uint8, "case": () int64} of T consecutive frames, or of T photos. Where a frame's first companion is the
    frame before it, "before" says which of that frame's C * C pixels it shows, "tones" what becomes of their codes in
    the light of the frame (exposure.py), and the network is to see there what it made of them (unrolled.py); elsewhere
    "before" is -1.

    Args:
        clips: photos and videos, from which nothing else is used.
        config: what to make of them.
        seed: of all chance.
    """

    def __init__(self, clips: list[Clip], config: RenderedConfig, *, seed: int) -> None:
        smallest = config.crop_size
        usable = [clip for clip in clips if min(clip.frames.shape[1:3]) >= smallest]
        if not usable:
            raise ValueError(f"no clean picture is at least {smallest} pixels on its shorter side")
        needed = config.frames + 1  # one ahead of the last
        self.photos = [clip for clip in usable if len(clip.frames) < needed]
        self.videos = [clip for clip in usable if len(clip.frames) >= needed]
        self.config, self.seed, self.epoch_length = config, seed, len(usable)

    def __len__(self) -> int:
        return 2**40  # the loop decides when to end

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        case = int(rng.choice(len(CASES), p=self.config.case_shares))
        count = self.config.frames
        if CASES[case] == "photo":
            scenes = [self._scene(1, rng) for _ in range(count)]
            pixels, rain = (np.concatenate(each) for each in zip(*scenes, strict=True))
            seen = [network_input(picture, (None, None)) for picture in pixels]
            before, tones = _nothing_before(count, pixels)
        else:
            ahead = CASES[case] == "file"
            pixels, rain = self._scene(count + ahead, rng)
            seen, before, tones = self._beside_companions(pixels, count)
        return {
            "input": torch.stack(seen), "rain": torch.from_numpy(rain[:count]), "before": torch.from_numpy(before),
            "tones": torch.from_numpy(tones), "case": torch.tensor(case),
        }  # fmt: skip

    def _scene(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Consecutive frames in the rain as a camera delivers them, (T, 3, C, C) uint8, and the rain, float32."""
        clean = self._clean_frames(count, rng)
        clean = structures.passing(clean, rng) if rng.random() < self.config.passing else clean
        clean = _vary_light(clean, rng)
        rainy = self._rain_over(clean, rng)
        if rng.random() < self.config.flickering:
            clean, rainy = camera.flickering((clean, rainy), rng)
        if rng.random() < self.config.noisy:
            clean, rainy = camera.noisy((clean, rainy), rng)
        if rng.random() < self.config.sharpened:
            clean, rainy = camera.sharpened((clean, rainy), rng)
        if rng.random() < self.config.resampled:
            clean, rainy = camera.resampled((clean, rainy), rng)
        pixels = np.rint(rainy * 255).astype(np.uint8)
        if rng.random() < self.config.compressed:
            pixels = camera.compressed(pixels, rng)
        return pixels, rainy - clean

    def _clean_frames(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Consecutive frames of a crop, (T, 3, C, C) float32 0..1 in steps of 1/255 or finer."""
        if self.videos and (not self.photos or rng.random() < self.config.video_share):
            video = self.videos[rng.integers(len(self.videos))]
            return motion.video_crop(video.frames, self.config.crop_size, count, rng)
        photo = scenery.vary(self.photos[rng.integers(len(self.photos))].frames[0], self.config.crop_size, rng)
        drawn = structures.draw if rng.random() < self.config.structures else None
        stands = rng.random() < self.config.standing
        speed = 0.0 if stands else float(np.exp(rng.uniform(np.log(SLOWEST), np.log(self.config.max_motion))))
        return motion.moved_photo(photo, self.config.crop_size, count, speed, rng, drawn)

    def _rain_over(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The frames in a shower, or as they are."""
        if rng.random() < self.config.rain_free:
            return clean
        falling = shower.random_shower(rng, float(np.exp(rng.uniform(*np.log(self.config.scales)))))
        count, _, height, width = clean.shape
        opacity = shower.render(falling, frames=count, height=height, width=width, rng=rng)
        opacity = opacity * _glow(clean) if rng.random() < self.config.lit else opacity
        return shower.compose(clean, opacity, falling)

    def _beside_companions(self, pixels: np.ndarray, count: int) -> tuple[list[Tensor], np.ndarray, np.ndarray]:
        """What the network sees of the first frames, through the search of inference, "before" and "tones"."""
        ahead = len(pixels) > count
        settings = SearchSettings(radius=self.config.search_radius)
        views = [_View(frame) for frame in pixels]
        before, tones = _nothing_before(count, pixels)
        seen = []
        for t in range(count):
            first, second = (
                views[r].beside(views[t], settings) if 0 <= r < len(pixels) else None
                for r in (t - 1, t + 1 if ahead else -1)
            )
            if first is not None:
                before[t] = _pixels_of(first.field, *pixels.shape[2:])
                tones[t] = views[t - 1].tones(views[t])[1:]
                second = second or first  # what it shows where the first is replaced
            else:  # a first frame, as Derainer sees it
                first, second = second, None
            seen.append(network_input(pixels[t], (first, second)))
        return seen, before, tones


class _View:
    """A frame as the search and the network see it: what stages.HostStages does at inference.

    Args:
        rgb: (3, C, C) uint8.
    """

    def __init__(self, rgb: np.ndarray) -> None:
        self._rgb, self._guide = rgb, matching.make_guide(luma(rgb))
        codes = (self._guide.padded, self._guide.coarse, rgb)
        self._light = exposure.light(*(torch.from_numpy(each) for each in codes))

    def tones(self, here: _View) -> np.ndarray:
        """What becomes of this frame's codes in the light of another: uint8 (4, 256)."""
        return exposure.tones(self._light, here._light).numpy()

    def beside(self, here: _View, settings: SearchSettings) -> Companion:
        """This frame as a companion of another, in its light."""
        tones = self.tones(here)
        found = matching.search(here._guide, exposure.guide_in_light(self._guide, tones), settings)
        return Companion(exposure.colours_in_light(self._rgb, tones), found)


def _nothing_before(count: int, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """"before" and "tones" of so many frames (3, C, C) of which none is seen beside the one before."""
    return np.full((count, *pixels.shape[2:]), -1), np.tile(exposure.UNCHANGED[1:], (count, 1, 1))


def _pixels_of(field: MatchField, height: int, width: int) -> np.ndarray:
    """Which pixel of the reference each pixel's best match shows: (H, W) int64, counted row by row."""
    index = (field.keys[0] & INDEX_MASK).astype(np.int64).repeat(CELL, axis=0).repeat(CELL, axis=1)[:height, :width]
    side = 2 * field.radius + 1
    y = np.clip(np.arange(height)[:, None] + index // side - field.radius, 0, height - 1)
    x = np.clip(np.arange(width) + index % side - field.radius, 0, width - 1)
    return y * width + x


def luma(rgb: np.ndarray) -> np.ndarray:
    """BT.601 luma of (3, H, W) uint8 RGB as (H, W) uint8, in the integers that FFmpeg uses."""
    wide = rgb.astype(np.uint16)
    return ((77 * wide[0] + 150 * wide[1] + 29 * wide[2] + 128) >> 8).astype(np.uint8)


def _vary_light(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma, so that dusk is seen too, and a sensor's noise; both belong to the scene, not to the rain."""
    if rng.random() < 0.5:
        clean = clean ** np.float32(np.exp(rng.uniform(np.log(0.75), np.log(1.7))))
    if rng.random() < 0.3:
        sigma = np.float32(rng.uniform(0.5, 5) / 255)
        clean = clean + sigma * rng.standard_normal(clean.shape, np.float32)
    return np.clip(clean, 0, 1)


def _glow(clean: np.ndarray) -> np.ndarray:
    """Where drops are lit: the surroundings' brightness, (T, H, W) float32 0..1, 1 beside the brightest."""
    light = np.stack([cv2.blur(frame.max(axis=0), (41, 41)) for frame in clean])
    light = np.maximum(light, 0)  # over black, its running sums end a little below
    return light / max(float(light.max()), 1e-3)
