"""What looking for rain in a smaller picture costs and saves: PSNR on paired pictures, milliseconds on a large frame.

    python benchmarks/scale.py RAINY CLEAN [--every N] [--profile NAME]

RAINY and CLEAN are folders as for `streamderain eval`; each picture is a stream of one frame. "plain" is without the
rule of scaling.lightened. A table goes to stdout.
"""
from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import fmean, median

import cv2
import numpy as np

from streamderain import Derainer, stages
from streamderain.core import metrics
from streamderain.pairs import pair_pictures
from streamderain.scene import draw

SCALES = (1, 2, 4)
SIZE = (1920, 1080)


def read(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return np.ascontiguousarray(picture[..., ::-1])


def score(profile: str, scale: int, pairs: list[tuple[Path, Path]], *, plain: bool = False) -> float:
    """Mean PSNR in dB; scale 0 leaves the pictures as they are."""
    made = Derainer(profile=profile, scale=max(1, scale))
    rule = stages.lightened
    if plain:
        stages.lightened = lambda before, after, reach: after  # type: ignore[assignment]
    found = []
    for rainy_path, clean_path in pairs:
        rainy = read(rainy_path)
        made.reset()
        found.append(_score(made(rainy) if scale else rainy, read(clean_path)))
    stages.lightened = rule
    return fmean(found)


def _score(picture: np.ndarray, truth: np.ndarray) -> float:
    y, y_truth = (metrics.luma(rgb.transpose(2, 0, 1)) for rgb in (picture, truth))
    return metrics.psnr(y, y_truth)


def milliseconds(profile: str, scale: int, frames: list[np.ndarray]) -> float:
    """Median of a frame with two neighbours."""
    made, took = Derainer(profile=profile, scale=scale), []
    for frame in frames:
        begun = time.perf_counter()
        made(frame)
        took.append(1000 * (time.perf_counter() - begun))
    return median(took[3:])


def main() -> None:
    """Score and time each scale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rainy", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--profile", default="tiny")
    asked = parser.parse_args()
    pairs = pair_pictures(asked.rainy, asked.clean)[:: asked.every]
    frames = [np.ascontiguousarray(rainy.transpose(1, 2, 0)) for rainy, _ in draw(*SIZE, 12)]
    print(f"{len(pairs)} pictures, untouched {score(asked.profile, 0, pairs):.2f} dB\n")
    print(f"| {asked.profile} | PSNR, Y | plain | {SIZE[0]}x{SIZE[1]} |\n| --- | --- | --- | --- |")
    for scale in SCALES:
        after, plain = score(asked.profile, scale, pairs), score(asked.profile, scale, pairs, plain=True)
        print(f"| 1/{scale} | {after:.2f} dB | {plain:.2f} dB | {milliseconds(asked.profile, scale, frames):.0f} ms |")


if __name__ == "__main__":
    main()
