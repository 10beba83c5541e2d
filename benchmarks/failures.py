"""Where a network fails on pairs: rain that stays, scene that goes, and whether our own rain would have come off.

    python benchmarks/failures.py [--model FILE | --profile P] RAINY CLEAN

RAINY and CLEAN are folders of pictures that match one to one. A line a picture, the least gain first: PSNR of the
rainy and of the derained picture on Y in dB, the rain's slope in degrees from the vertical, how much of the rain
brighter than a tenth of white is taken, and the shares of the error that are rain left and scene taken where none
fell. Beside each, the share taken of one fixed kind of rain of core/rain.py over the same clean picture, of the same
slope and about as bright: where that is much more, the training lacks a kind of rain, not the network.
"""
from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import cv2
import numpy as np

from streamderain import photos, weights
from streamderain.core import colour, rain
from streamderain.core.metrics import luma, psnr
from streamderain.core.rain import RainStyle
from streamderain.derainer import Derainer
from streamderain.pairs import pair_pictures

FELL = 2.0  # grey levels from which on rain counts as fallen
BRIGHT = 25.5
VERTICAL = 2.0  # degrees
OWN = RainStyle(
    density=70, length=20, width=0.7, slope=0.0, slope_spread=0.02, brightness=0.2, brightness_spread=0.5,
    depth_spread=0.25, fall=0.0, defocus=0.0, blend="add", airlight=(1.0, 1.0, 1.0), veil=0.0, taper=0.8,
    longest_taper=1e3,
)  # fmt: skip


class Line(NamedTuple):
    """What is said of one picture; see the module's docstring."""

    name: str
    before: float
    after: float
    slope: float
    taken: float
    left: float
    scene: float
    own: float


def main() -> None:
    """Print a line for each pair, then the means of vertical and of slanting rain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rainy", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--profile", default="realtime")
    given = parser.parse_args()
    derainer = Derainer(model=given.model or weights.find(given.profile, "cpu"), device="cpu")
    lines = [line_of(derainer, *pair) for pair in pair_pictures(given.rainy, given.clean)]
    print(f"{'picture':20s} before  after  slope  taken   left  scene  own taken")
    for line in sorted(lines, key=lambda line: line.after - line.before):
        print_line(line)
    upright = [line for line in lines if abs(line.slope) < VERTICAL]
    slanting = [line for line in lines if abs(line.slope) >= VERTICAL]
    for name, group in (("all", lines), ("vertical", upright), ("slanting", slanting)):
        if group:
            print_line(Line(f"{name}, {len(group)}", *(fmean(column) for column in list(zip(*group, strict=True))[1:])))


def line_of(derainer: Derainer, rainy: Path, clean: Path) -> Line:
    """Derain one picture, and the same one in our own rain."""
    seen, truth = picture(rainy), picture(clean)
    fell, slope = grey(seen) - grey(truth), slope_of(grey(seen) - grey(truth))
    derained = alone(derainer, seen)
    error = grey(derained) - grey(truth)
    total = max(float((error**2).sum()), 1e-9)
    left, scene = ((fell > FELL) & (error > 0)), fell <= FELL
    own = in_own_rain(truth, slope, brightness=float(np.percentile(fell, 99)) / 255)
    y = [luma(each.transpose(2, 0, 1)) for each in (seen, derained, truth)]
    return Line(
        rainy.name, psnr(y[0], y[2]), psnr(y[1], y[2]), slope, taken(fell, grey(seen) - grey(derained)),
        float((error[left] ** 2).sum()) / total, float((error[scene] ** 2).sum()) / total,
        taken(grey(own) - grey(truth), grey(own) - grey(alone(derainer, own))),
    )  # fmt: skip


def grey(rgb: np.ndarray) -> np.ndarray:
    """Brightness of (H, W, 3), 0..255."""
    return luma(rgb.transpose(2, 0, 1), full_range=True)


def picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    photo = photos.read(path)
    return np.ascontiguousarray(colour.to_rgb(photo.planes, photo.format).transpose(1, 2, 0))


def alone(derainer: Derainer, rgb: np.ndarray) -> np.ndarray:
    """Derained without neighbours."""
    derainer.reset()
    return derainer(rgb)


def slope_of(fell: np.ndarray) -> float:
    """Degrees from the vertical that streaks lean, by the structure tensor of the layer."""
    across, down = (cv2.Sobel(fell, cv2.CV_64F, *order) for order in ((1, 0), (0, 1)))
    tensor = float((across**2).sum()), float((across * down).sum()), float((down**2).sum())
    return float(np.degrees(0.5 * np.arctan2(2 * tensor[1], tensor[0] - tensor[2])))


def taken(fell: np.ndarray, removed: np.ndarray) -> float:
    """The share of bright rain that was removed."""
    bright = fell > BRIGHT
    return float(removed[bright].sum() / fell[bright].sum()) if bright.any() else float("nan")


def in_own_rain(clean: np.ndarray, slope: float, brightness: float) -> np.ndarray:
    """The clean picture in rain of one fixed kind that leans by so many degrees and is about as bright."""
    style = replace(OWN, slope=float(np.tan(np.radians(-slope))), brightness=min(max(brightness, 0.05), 1.0))
    height, width = clean.shape[:2]
    opacity = rain.render(style, frames=1, height=height, width=width, rng=np.random.default_rng(0))
    rained = rain.compose(clean.transpose(2, 0, 1)[None].astype(np.float32) / 255, opacity, style)[0]
    return np.ascontiguousarray(np.rint(rained * 255).astype(np.uint8).transpose(1, 2, 0))


def print_line(line: Line) -> None:
    """One line of the table."""
    figures = f"{line.before:6.2f} {line.after:6.2f} {line.slope:6.1f} {line.taken:6.2f} {line.left:6.2f}"
    print(f"{line.name:20s} {figures} {line.scene:6.2f} {line.own:6.2f}")


if __name__ == "__main__":
    main()
