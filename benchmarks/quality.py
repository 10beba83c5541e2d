"""Measure what companions are worth: PSNR on rendered rain over moving clean material, three ways.

    python benchmarks/quality.py [--model FILE | --profile P] [--frames N] CLEAN...

CLEAN are rain-free videos, folders of numbered pictures, or single pictures, which a smooth camera path moves over.
Ways: "file" looks one frame ahead, "live" looks back only, "alone" is the same network with empty companion slots,
as a photo has them. The table goes to stdout as Markdown, with how much the clip flickers as Derainer looks ahead
(its warped error's excess over the clean clip's own, in percent); a second one shows the clean
frames against themselves (nothing may be removed where nothing falls).
"""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np

from streamderain import photos, weights
from streamderain.core import colour, rain
from streamderain.core.metrics import luma, psnr, warped_error
from streamderain.core.stream import PROFILES
from streamderain.derainer import Derainer
from streamderain.evaluation import clean_motion
from streamderain.video import open_video

STYLES = 3  # kinds of rain laid over every clip
Frames = list[np.ndarray]  # (H, W, 3) uint8 RGB


def main() -> None:
    """Score one model on the given material."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", nargs="+", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--profile", default="realtime")
    parser.add_argument("--frames", type=int, default=8)
    given = parser.parse_args()
    model = given.model or weights.find(given.profile)
    ways = all_ways(model)
    columns = ["clip", "rain", "input", *ways, "flicker of the input over the clean clip's", "of the output"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    sums: list[list[float]] = []
    unharmed: list[tuple[str, list[float]]] = []
    for path in given.clean:
        still = path.is_file() and path.suffix in (".png", ".jpg")
        clean = moved_photo(path, given.frames) if still else clip(path, given.frames)
        steady = flicker(clean, clean)
        for kind in range(STYLES):
            rainy = rained(clean, kind)
            derained = {name: way(rainy) for name, way in ways.items()}
            row = [score(rainy, clean), *(score(frames, clean) for frames in derained.values())]
            row += [100 * (flicker(frames, clean) / steady - 1) for frames in (rainy, derained["file"])]
            sums.append(row)
            print(f"| {path.name} | {kind} | {' | '.join(f'{value:.2f}' for value in row)} |", flush=True)
        unharmed.append((path.name, [score(way(clean), clean) for way in ways.values()]))
    print(f"| mean | | {' | '.join(f'{fmean(column):.2f}' for column in zip(*sums, strict=True))} |")
    print(f"\n| rain-free | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    for name, row in unharmed:
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in row)} |")


def networks(files: Sequence[Path], profiles: Sequence[str]) -> list[Path]:
    """The weight files to measure: those named, or the shipped ones of every profile where none is."""
    return [*files, *(weights.find(profile) for profile in profiles or (() if files else PROFILES))]


def all_ways(model: Path) -> dict[str, Callable[[Frames], Frames]]:
    """The ways to derain a clip."""
    derainer = Derainer(model=model, device="cpu")

    def stream(frames: Frames, ahead: bool) -> Frames:
        derainer.reset()
        following: list[np.ndarray | None] = [*frames[1:], None] if ahead else [None] * len(frames)
        return [derainer(frame, after) for frame, after in zip(frames, following, strict=True)]

    def alone(frames: Frames) -> Frames:
        derained = []
        for frame in frames:
            derainer.reset()
            derained.append(derainer(frame))
        return derained

    return {
        "file": lambda frames: stream(frames, True),
        "live": lambda frames: stream(frames, False),
        "alone": alone,
    }


def rained(clean: Frames, kind: int) -> Frames:
    """Rain of a fixed kind over a clip: light and long, dense and short, near and blurred."""
    seed, look = (
        (3, {"density": 14, "length": 30, "width": 0.7, "brightness": 0.35, "veil": 0.0}),
        (4, {"density": 60, "length": 12, "width": 0.6, "brightness": 0.3, "veil": 0.0}),
        (5, {"density": 4, "length": 45, "width": 1.8, "brightness": 0.3, "veil": 0.0}),
    )[kind]
    style = replace(rain.random_style(np.random.default_rng(seed)), **look)  # type: ignore[arg-type]
    height, width = clean[0].shape[:2]
    opacity = rain.render(style, frames=len(clean), height=height, width=width, rng=np.random.default_rng(kind))
    planes = np.stack(clean).transpose(0, 3, 1, 2).astype(np.float32) / 255
    rainy = np.rint(rain.compose(planes, opacity, style) * 255).astype(np.uint8)
    return list(np.ascontiguousarray(rainy.transpose(0, 2, 3, 1)))


def moved_photo(path: Path, frames: int) -> Frames:
    """A hand-held camera over a photo: pan of 2.5 pixels, slight turn and zoom from frame to frame."""
    photo = photos.read(path)
    picture = colour.to_rgb(photo.planes, photo.format).transpose(1, 2, 0)
    height, width = picture.shape[:2]
    moved = []
    for t in range(frames):
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 0.4 * np.sin(t), 1.06 + 0.004 * t)
        turn[:, 2] += np.array([2.5 * (t - frames / 2), 0.8 * t])
        moved.append(cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_CUBIC)[24:-24, 24:-24])
    return [np.ascontiguousarray(frame) for frame in moved]


def clip(path: Path, last: int | None, first: int = 0) -> Frames:
    """The frames from the first to before the last of a video or of a folder of numbered pictures."""
    frames = islice(open_video(path), first, last)
    return [np.ascontiguousarray(colour.to_rgb(each.planes, each.format).transpose(1, 2, 0)) for each in frames]


def score(frames: Frames, clean: Frames) -> float:
    """Mean PSNR on Y in dB over all frames but the first and last, 100 where nothing differs."""
    planes = [(luma(a.transpose(2, 0, 1)), luma(b.transpose(2, 0, 1))) for a, b in zip(frames, clean, strict=True)]
    return fmean(min(psnr(a, b), 100.0) for a, b in planes[1:-1])


def flicker(frames: Frames, clean: Frames) -> float:
    """Mean warped error of neighbouring frames in grey levels, along the clean clip's motion."""
    errors = []
    planes = [(frame.transpose(2, 0, 1), truth.transpose(2, 0, 1)) for frame, truth in zip(frames, clean, strict=True)]
    for (before, true_before), (now, true_now) in pairwise(planes):
        flow, seen = clean_motion(true_before, true_now)
        errors.append(warped_error(luma(before), luma(now), flow, seen))
    return fmean(errors)


if __name__ == "__main__":
    main()
