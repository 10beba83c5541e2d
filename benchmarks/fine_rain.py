"""How much of fine faint rain comes off, the kind that fills real photos of downpours and is easily left as texture.

    python benchmarks/fine_rain.py CLEAN [--profile P]... [MODEL]...

CLEAN is a folder of rain-free pictures, best of some that no network was trained on. Streaks of three sizes at three
brightnesses are laid over each, and every network derains it looked at once: the share of the rain's energy that it
takes, the mean over the pictures. Over 1 would be more than there is.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from streamderain import photos, weights
from streamderain.core import colour, rain
from streamderain.core.rain import RainStyle
from streamderain.derainer import Derainer
from streamderain.pairs import list_pictures

SIZES = ((0.45, 10.0), (0.6, 20.0), (1.0, 26.0))  # deviation across and length of a streak, pixels
BRIGHTNESSES = (0.03, 0.06, 0.12)  # of a typical streak's peak
COVERAGE = 0.5  # the sum of what all streaks cover


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--profile", action="append", default=[], dest="profiles")
    given = parser.parse_intermixed_args()
    pictures = [read(path) for path in list_pictures(given.clean)]
    columns = [f"{width:g} x {length:g} px, {light:g}" for width, length in SIZES for light in BRIGHTNESSES]
    print(f"| network | mean | {' | '.join(columns)} |\n{'|---' * (len(columns) + 2)}|")
    for model in [*given.models, *(weights.find(profile) for profile in given.profiles)]:
        derainer, rng = Derainer(model=model, device="cpu", precision="bf16"), np.random.default_rng(1)
        row = [
            np.mean([share(derainer, picture, style(width, length, light), rng) for picture in pictures])
            for width, length in SIZES for light in BRIGHTNESSES
        ]  # fmt: skip
        print(f"| {model.stem} | {np.mean(row):.2f} | {' | '.join(f'{value:.2f}' for value in row)} |", flush=True)


def read(path: Path) -> np.ndarray:
    """(3, H, W) float32 RGB, 0..1."""
    frame = photos.read(path)
    return colour.to_rgb(frame.planes, frame.format).astype(np.float32) / 255


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
