"""How much rain is left in a real clip, moving or not, where nobody knows the truth.

    python benchmarks/transient.py [--frames FIRST:LAST] [--rows FIRST:LAST] [--live] [--profile P]...
                                   [--model FILE]... CLIP...
    python benchmarks/transient.py --check [...] CLEAN...

Rain only brightens, and a drop is seen in one frame alone; noise, leaves and what the motion misses make a pixel
brighter than in both frames beside it about as often as darker. "brighter alone" is by how much a frame's luma exceeds
the larger one of its neighbours, moved into its place by the motion of the clip as it came; "darker alone" by how much
it falls short of the smaller one: root mean squares over the pixels seen in all three frames, in grey levels. "rain"
is the root of the difference of their squares, and "rain left" the share of that energy which is still there after a
network, or below zero where it left dark streaks behind. "the rest kept" is what became of "darker alone", as a share
of its energy: less than 100 % is a picture smoothed in time, or rain that hid both neighbours and is gone; more is new
flicker. Lamps that move, splashes and a wet road's glitter count as rain: name the rows that show none.

With --check the clips are free of rain, and it is rendered (see quality.py): "truly left" is the energy of what
is still brighter than the truth where it rained, as a share of the rain's.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from median import derained, span
from quality import STYLES, Frames, clip, networks, rained

from streamderain.core.metrics import luma, warp
from streamderain.evaluation import clean_motion

MEASURABLE = 0.1  # of "brighter alone", as energy: less rain than that is not told from chance


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", default="0:12", type=span, help="FIRST:LAST")
    parser.add_argument("--rows", default="0:", type=span, help="FIRST:LAST")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--profile", action="append", default=[], dest="profiles")
    parser.add_argument("--model", action="append", default=[], dest="models", type=Path)
    given = parser.parse_args()
    models = networks(given.models, given.profiles)
    heads = ["clip", "network", "brighter alone", "darker alone", "rain", "rain left", "the rest kept"]
    print(f"| {' | '.join([*heads, *['truly left'] * given.check])} |\n{'|---' * (len(heads) + given.check)}|")
    first, last = given.frames
    for path in given.clips:
        frames = clip(path, last, first)
        if len(frames) < 3:
            parser.error(f"{path} has {len(frames)} such frames; a frame and its neighbours are 3")
        for kind in range(STYLES if given.check else 1):
            shown = rained(frames, kind) if given.check else frames
            name = f"{path.name}, rain {kind}" if given.check else path.name
            report(name, shown, models, slice(*given.rows), ahead=not given.live, clean=frames if given.check else None)


def report(
    name: str, frames: Frames, models: Sequence[Path], rows: slice, *, ahead: bool, clean: Frames | None
) -> None:
    """The rows of one clip."""
    ways = motions(frames)
    before = alone(frames, ways, rows)
    print(f"| {name} | none | {row(before, before)} |{' |' * (clean is not None)}", flush=True)
    for model in models:
        outputs = derained(model, frames, ahead=ahead)
        truth = f" {100 * truly_left(frames, outputs, clean):.0f} % |" if clean else ""
        print(f"| {name} | {model.stem} | {row(alone(outputs, ways, rows), before)} |{truth}", flush=True)


def row(now: tuple[float, float], before: tuple[float, float]) -> str:
    """The cells of one network, from (brighter, darker) in squared grey levels."""
    rain, left = (brighter - darker for brighter, darker in (before, now))
    levels = [f"{np.sqrt(value):.2f}" for value in (*now, max(left, 0))]
    share = f"{100 * left / rain:.0f} %" if rain > MEASURABLE * before[0] else "none to see"
    return " | ".join([*levels, share, f"{100 * now[1] / before[1]:.0f} %"])


def motions(frames: Frames) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """For each frame but the ends the motion to the frame before and to the one after, and what can be seen there."""
    planes = [frame.transpose(2, 0, 1) for frame in frames]
    return [[clean_motion(planes[t + step], planes[t]) for step in (-1, 1)] for t in range(1, len(frames) - 1)]


def alone(frames: Frames, ways: list[list[tuple[np.ndarray, np.ndarray]]], rows: slice) -> tuple[float, float]:
    """Mean squares of how much a pixel is brighter, and darker, than in both frames beside it."""
    planes = [luma(frame.transpose(2, 0, 1)) for frame in frames]
    brighter, darker = [], []
    for t, both in enumerate(ways, 1):
        beside = [warp(planes[t + step], flow) for step, (flow, _) in zip((-1, 1), both, strict=True)]
        seen = both[0][1] & both[1][1]
        seen[: rows.start] = seen[seen.shape[0] if rows.stop is None else rows.stop :] = False
        brighter.append((np.maximum(planes[t] - np.maximum(*beside), 0)[seen] ** 2).mean())
        darker.append((np.maximum(np.minimum(*beside) - planes[t], 0)[seen] ** 2).mean())
    return float(np.mean(brighter)), float(np.mean(darker))


def truly_left(rainy: Frames, outputs: Frames, clean: Frames) -> float:
    """The energy of what stands out of the truth where it rains, as a share of the rain's."""
    left = rain = 0.0
    for frame, output, truth in zip(rainy[1:-1], outputs[1:-1], clean[1:-1], strict=True):
        layer, rest = (luma(each.transpose(2, 0, 1)) - luma(truth.transpose(2, 0, 1)) for each in (frame, output))
        wet = layer > 0
        left += (np.maximum(rest[wet], 0) ** 2).sum()
        rain += (layer[wet] ** 2).sum()
    return left / rain


if __name__ == "__main__":
    main()
