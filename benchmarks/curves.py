"""Plot the logs of trainings: losses and score over the steps.

    python benchmarks/curves.py --out FILE.svg RUN...

RUN is the --out of a training. Lines are running means over 200 steps; the score is the validation's PSNR less that
of the untouched input. Needs matplotlib.
"""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from streamderain.trainers.log import read

matplotlib.use("svg")
from matplotlib import pyplot as plt  # the backend comes first

SMOOTHED = 20  # lines of a log, each ten steps


def main() -> None:
    """Draw one row for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    matplotlib.rcParams["svg.hashsalt"] = "streamderain"  # the same curves give the same file
    figure, axes = plt.subplots(len(given.runs), 2, figsize=(9, 2.4 * len(given.runs)), squeeze=False)
    for run, (left, right) in zip(given.runs, axes, strict=True):
        lines = read(run)
        for name in sorted({key for line in lines for key in line if key.startswith("loss/")}):
            x, y = series(lines, name)
            left.plot(x, smoothed(y), label=name.removeprefix("loss/"), linewidth=0.9)
        left.set_yscale("log")
        left.set_ylabel(run.name)
        left.legend(fontsize=6, ncols=2)
        x, y = series(lines, "score/score")
        right.plot(x, y - series(lines, "score/input")[1], marker=".", linewidth=0.9)
        right.axhline(0, color="grey", linewidth=0.6)
        right.set_ylabel("dB over the input")
    figure.tight_layout()
    figure.savefig(given.out, metadata={"Date": None})


def series(lines: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one figure."""
    found = [(line["step"], line[name]) for line in lines if name in line]
    steps, values = zip(*found, strict=True) if found else ((), ())
    return np.array(steps), np.array(values)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean over the last SMOOTHED values."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - SMOOTHED, 0)
    return (sums[ends] - sums[begins]) / (ends - begins)


if __name__ == "__main__":
    main()
