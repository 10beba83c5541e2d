"""How much of fine faint rain comes off, the kind that fills real photos of downpours and is easily left as texture.

    python benchmarks/fine_rain.py CLEAN [--grain] [--profile P]... [MODEL]...

CLEAN is a folder of rain-free pictures, best of some that no network was trained on. Streaks of three sizes at three
brightnesses are laid over each, and every network derains it looked at once: the share of the rain's energy that it
takes, the mean over the pictures. Over 1 would be more than there is. With --grain the pictures are made
smaller, and the rain is the soft marbled grain that a downpour becomes there.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from quality import networks

from streamderain import photos
from streamderain.core import colour, rain
from streamderain.core.rain import RainStyle
from streamderain.derainer import Derainer
from streamderain.pairs import list_pictures

SIZES = ((0.45, 10.0), (0.6, 20.0), (1.0, 26.0))  # deviation across and length of a streak, pixels
BRIGHTNESSES = (0.03, 0.06, 0.12)  # of a typical streak's peak
COVERAGE = 0.5  # the sum of what all streaks cover
REDUCED = 0.65  # of height and width, with --grain
GRAINS = (  # deviation across and length, pixels; coverage, crowd, and peak of the brightest bands
    (1.1, 6.0, 4.0, -0.5, 0.15), (1.1, 6.0, 4.0, 0.5, 0.15), (1.1, 9.0, 4.0, -1.0, 0.25), (0.9, 5.0, 3.0, 0.0, 0.1),
)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--grain", action="store_true")
    parser.add_argument("--profile", action="append", default=[], dest="profiles")
    given = parser.parse_intermixed_args()
    pictures = [read(path) for path in list_pictures(given.clean)]
    if given.grain:
        pictures = [reduced(picture) for picture in pictures]
        rains = {f"{width:g} x {length:g} px, crowd {crowd:g}": grain(width, length, coverage, crowd, light)
                 for width, length, coverage, crowd, light in GRAINS}  # fmt: skip
    else:
        rains = {f"{width:g} x {length:g} px, {light:g}": style(width, length, light)
                 for width, length in SIZES for light in BRIGHTNESSES}  # fmt: skip
    print(f"| network | mean | {' | '.join(rains)} |\n{'|---' * (len(rains) + 2)}|")
    for model in networks(given.models, given.profiles):
        derainer, rng = Derainer(model=model, device="cpu", precision="bf16"), np.random.default_rng(1)
        row = [np.mean([share(derainer, picture, falling, rng) for picture in pictures]) for falling in rains.values()]
        print(f"| {model.stem} | {np.mean(row):.2f} | {' | '.join(f'{value:.2f}' for value in row)} |", flush=True)


def read(path: Path) -> np.ndarray:
    """(3, H, W) float32 RGB, 0..1."""
    frame = photos.read(path)
    return colour.to_rgb(frame.planes, frame.format).astype(np.float32) / 255


def reduced(picture: np.ndarray) -> np.ndarray:
    """A picture (3, H, W) made smaller, each pixel the mean of its area."""
    pixels = cv2.resize(picture.transpose(1, 2, 0), None, fx=REDUCED, fy=REDUCED, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def grain(width: float, length: float, coverage: float, crowd: float, light: float) -> RainStyle:
    """Soft short streaks that merge, brighter over dark ground."""
    return RainStyle(
        density=coverage * 1e4 / (length * width * 2.5), length=length, width=width, slope=0.15, slope_spread=0.2,
        brightness=light, brightness_spread=0.6, depth_spread=0.3, fall=0.0, defocus=0.0, blend="light",
        airlight=(0.9, 0.9, 0.95), veil=0.0, taper=0.6, crowd=crowd,
    )  # fmt: skip


def style(width: float, length: float, light: float) -> RainStyle:
    """Fine rain, nearly upright, each drop for itself."""
    return RainStyle(
        density=COVERAGE * 1e4 / (length * width * 2.5), length=length, width=width, slope=0.08, slope_spread=0.04,
        brightness=light, brightness_spread=0.5, depth_spread=0.2, fall=0.0, defocus=0.0, blend="cover",
        airlight=(0.9, 0.9, 0.9), veil=0.0, taper=0.6, longest_taper=50.0, oscillation=0.4,
    )  # fmt: skip


def share(derainer: Derainer, clean: np.ndarray, falling: RainStyle, rng: np.random.Generator) -> float:
    """How much of the layer the network's estimate holds: its projection onto it."""
    _, height, width = clean.shape
    opacity = rain.render(falling, frames=1, height=height, width=width, rng=rng)
    rainy = np.rint(rain.compose(clean[None], opacity, falling)[0] * 255).astype(np.uint8)
    derainer.reset()
    derained = derainer(np.ascontiguousarray(rainy.transpose(1, 2, 0))).transpose(2, 0, 1)
    layer, taken = rainy - 255 * clean, rainy.astype(np.float32) - derained
    return float((taken * layer).sum() / (layer * layer).sum())


if __name__ == "__main__":
    main()
