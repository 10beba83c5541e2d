"""What a changing exposure costs, and what it costs where neighbours are shown in the frame's light (core/exposure.py).

    python benchmarks/flicker.py [--model FILE] [--deviation 0.04] [--frames 10] CLEAN...

Rendered rain over each clip (see quality.py), each frame exposed a little differently, looking ahead and live.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from quality import clip, rained, score

from streamderain.core import exposure
from streamderain.derainer import Derainer


def exposed(frames: list[np.ndarray], deviation: float) -> list[np.ndarray]:
    """Frames (H, W, 3) uint8, each brighter or darker by chance; the same chance at every call."""
    gains = np.exp(deviation * np.random.default_rng(0).standard_normal(len(frames)))
    return [np.clip(np.rint(frame * gain), 0, 255).astype(np.uint8) for frame, gain in zip(frames, gains, strict=True)]


def derained(derainer: Derainer, frames: list[np.ndarray], *, ahead: bool) -> list[np.ndarray]:
    derainer.reset()
    following = [*frames[1:], None] if ahead else [None] * len(frames)
    return [derainer(frame, after) for frame, after in zip(frames, following, strict=True)]


@contextmanager
def as_it_is(told: bool) -> Iterator[None]:
    """Within it, no light is taken for changed unless told."""
    before = exposure.BETTER
    exposure.BETTER = before if told else 0
    yield
    exposure.BETTER = before


def main() -> None:
    """Print PSNR in dB of rainy, and of derained, with the neighbours as they came and in the frame's light."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--deviation", type=float, default=0.04, help="of the logarithm of the exposure")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--frames", type=int, default=10)
    given = parser.parse_args()
    derainer = Derainer(model=given.model, profile="realtime", device="cpu")
    print(f"{'clip':20} {'rainy':>6}  ahead: as they came, in its light   live: as they came, in its light")
    for path in given.clips:
        clean = clip(path, given.frames)
        rainy, truth = exposed(rained(clean, 0), given.deviation), exposed(clean, given.deviation)
        found = []
        for ahead in (True, False):
            for told in (False, True):
                with as_it_is(told):
                    found.append(score(derained(derainer, rainy, ahead=ahead), truth))
        print(f"{path.stem:20} {score(rainy, truth):6.2f}  " + "  ".join(f"{each:6.2f}" for each in found), flush=True)


if __name__ == "__main__":
    main()
