"""How near a real clip from a standing camera comes to its own temporal median, which rain hardly touches.

    python benchmarks/median.py CLIP [--frames FIRST:LAST] [--live] [--profile P]... [MODEL]...

CLIP is a video or a folder of numbered pictures; the camera must stand still from frame FIRST to before LAST. PSNR in
dB of the mean of R, G and B against its median over these frames, for the frames as they come and as each network
derains them, looking one frame ahead unless --live. "taken" is the mean of what was taken off, "wrongly" the mean of
what was taken where the frame was no brighter than the median: both in grey levels. Leaves in the wind and the noise of
the sensor stay, and keep the score low; only differences between networks say something.
"""
from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import numpy as np
from quality import clip, networks

from streamderain.core.metrics import psnr
from streamderain.derainer import Derainer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--profile", action="append", default=[], dest="profiles")
    parser.add_argument("--frames", default="0:", type=span, help="FIRST:LAST")
    parser.add_argument("--live", action="store_true")
    given = parser.parse_intermixed_args()
    first, last = given.frames
    frames = clip(given.clip, last, first)
    if len(frames) < 5:
        parser.error(f"{given.clip} has {len(frames)} such frames; a median needs 5 or more")
    median = np.median([grey(frame) for frame in frames], axis=0)
    print("| network | PSNR against the median | taken | wrongly |\n|---|---|---|---|")
    print(f"| none | {score(frames, median):.2f} | | |", flush=True)
    for model in networks(given.models, given.profiles):
        outputs = derained(model, frames, ahead=not given.live)
        taken = [grey(before) - grey(after) for before, after in zip(frames, outputs, strict=True)]
        wrongly = [np.where(grey(before) <= median, layer, 0) for before, layer in zip(frames, taken, strict=True)]
        row = f"{score(outputs, median):.2f} | {np.mean(taken):.3f} | {np.mean(wrongly):.3f}"
        print(f"| {model.stem} | {row} |", flush=True)


def span(text: str) -> tuple[int, int | None]:
    """FIRST:LAST, where LAST may be empty."""
    first, _, last = text.partition(":")
    return int(first), int(last) if last else None


def grey(frame: np.ndarray) -> np.ndarray:
    """(H, W) float32 mean of an (H, W, 3) uint8 frame's colours, 0..255."""
    return frame.mean(axis=2, dtype=np.float32)


def score(frames: list[np.ndarray], median: np.ndarray) -> float:
    """Mean PSNR in dB."""
    return fmean(psnr(grey(frame), median) for frame in frames)


def derained(model: Path, frames: list[np.ndarray], *, ahead: bool) -> list[np.ndarray]:
    """Every frame through one network, as a video's are."""
    derainer = Derainer(model=model, device="cpu", precision="bf16")
    following = [*frames[1:], None] if ahead else [None] * len(frames)
    return [derainer(frame, after) for frame, after in zip(frames, following, strict=True)]


if __name__ == "__main__":
    main()
