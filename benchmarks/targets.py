"""What was aimed at beside what a benchmark measured.

    python benchmarks/targets.py bench.json

bench.json is what `streamderain bench --everything --out DIR` writes. A Markdown table goes to stdout; of several
backends the one that came nearest counts, by its name.
"""
from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from streamderain.bench.tables import Table, how, number

HD, UHD, VGA = [1920, 1080], [3840, 2160], [640, 480]


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that was aimed at.

    Attributes:
        what: in words.
        gpu: whether it is meant for a GPU or for a CPU.
        profile, size: of the run that answers.
        key: where the figure stands in that run, parts joined by dots.
        target, goal: what to reach, and what would be better still; None where nothing more is asked.
        unit: written behind the figures.
        most: whether the figure shall be at most that, or at least.
    """

    what: str
    gpu: bool
    profile: str
    size: list[int]
    key: str
    target: float | None
    goal: float | None
    unit: str
    most: bool


TARGETS = (
    Target("network alone, 1080p", True, "realtime", HD, "network.ms", 1.5, 0.7, " ms", True),
    Target("NLCL through the same, 1080p", True, "realtime", HD, "published_nlcl.same.slower", 8, 20, "x", False),
    Target("network over its floor, 1080p", True, "realtime", HD, "floor.times_floor", None, 2, "x", True),
    Target("whole path without codecs, 1080p", True, "realtime", HD, "path.fps", 250, 400, " fps", False),
    Target("whole path without codecs, 4K", True, "realtime", UHD, "path.fps", None, 100, " fps", False),
    Target("search, 1080p, k 8", True, "realtime", HD, "search.gpu.ms", 1, 0.4, " ms", True),
    Target("compiled against eager, 1080p", True, "realtime", HD, "network.faster_than_eager", 3, None, "x", False),
    Target("file to file, 640x480", False, "tiny", VGA, "end_to_end.fps", 40, 60, " fps", False),
    Target("file to file, 640x480", False, "realtime", VGA, "end_to_end.fps", 20, 30, " fps", False),
    Target("published NLCL as published, 640x480", False, "tiny", VGA, "published_nlcl.slower", 150, 300, "x", False),
    Target("all but the network over FFmpeg's copy, 1080p", False, "tiny", HD,
           "copies.ratios.without_network_over_pyav.median", 2, 1.4, "x", True),
)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path, metavar="bench.json")
    runs = json.loads(parser.parse_args().document.read_text(encoding="utf-8"))["runs"]
    sys.stdout.write(table(runs).markdown())


def table(runs: list[dict[str, Any]]) -> Table:
    """The targets of the device that was measured.

    Args:
        runs: of one benchmark.
    """
    gpu = runs[0]["device"].startswith("cuda")
    rows = []
    for aim in TARGETS:
        if aim.gpu == gpu:
            shown = ["-" if each is None else f"{each:g}{aim.unit}" for each in (aim.target, aim.goal)]
            rows.append((aim.what, aim.profile, *shown, *measured(aim, runs)))
    return Table("Targets", ("what", "profile", "target", "goal", "measured", "backend", "reached"), rows)


def _value(run: Any, key: str) -> float | None:
    """A figure of a run by its dotted name."""
    value: float | None = reduce(lambda part, name: part[name], key.split("."), run)
    return value


def measured(aim: Target, runs: list[dict[str, Any]]) -> tuple[str, str, str]:
    """The best figure of any backend, that backend, and what is reached."""
    found = [
        (value, how(run))
        for run in runs
        if run["network"]["profile"] == aim.profile and run["size"] == aim.size
        and (value := _value(run, aim.key)) is not None
    ]  # fmt: skip
    if not found:
        return "not measured", "-", "-"
    value, backend = (min if aim.most else max)(found)

    def reached(bound: float | None) -> bool:
        return bound is not None and (value <= bound if aim.most else value >= bound)

    word = "goal" if reached(aim.goal) else "target" if reached(aim.target) else "no"
    return f"{number(value)}{aim.unit}", backend, word


if __name__ == "__main__":
    main()
