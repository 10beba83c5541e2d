"""The reports of a benchmark as tables of text: for the terminal, for bench.md and for the README."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Run = dict[str, Any]  # one report, see docs/speed.md
NOT_READABLE = "not readable here"


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows and columns; every row is as long as the head."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The rows under their head, without the title."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def all_tables(runs: Sequence[Run]) -> list[Table]:
    """Everything that was measured."""
    makers: list[Callable[[Sequence[Run]], Table]] = [network, frames, copies, stages, search, memory]
    return [table for make in makers if (table := make(runs)).rows]


def report(document: dict[str, Any]) -> str:
    """All tables and what they hold for, as a page of Markdown."""
    runs = document["runs"]
    parts = [f"# Speed\n\n{origin(document)}\n"]
    parts += [f"\n## {table.title}\n\n{table.markdown()}" for table in all_tables(runs)]
    return "".join(parts)


def summary(runs: Sequence[Run]) -> Table:
    """The README's table: what a user wants to know first."""
    head = (
        "profile", "size", "network alone", "against NLCL as published", "same backend and precision", "in memory",
        "p50 / p99", "file to file", "all but the network / FFmpeg's copy",
    )  # fmt: skip
    rows = []
    for run in runs:
        published, path = run["published_nlcl"], run["path"]
        rows.append((
            run["network"]["profile"] + _mark(run), size(run), f"{_ms(run['network']['ms'])}, {how(run)}",
            f"{_times(published['slower'])} as fast", f"{_times(published['same']['slower'])} as fast{_fell_back(run)}",
            _fps(path["fps"]), f"{number(path['p50_ms'])} / {_ms(path['p99_ms'])}", _fps(run["end_to_end"]["fps"]),
            _times(run["copies"]["ratios"]["without_network_over_pyav"]["median"]),
        ))  # fmt: skip
    return Table("Speed", head, rows)


def network(runs: Sequence[Run]) -> Table:
    """Networks alone."""
    head = (
        "size", "profile", "backend", "ms", "eager ms", "fp32 ms", "NLCL ms", "times slower", "NLCL alike ms",
        "times slower", "floor ms", "times the floor",
    )  # fmt: skip
    rows = []
    for run in runs:
        own, published, floor = run["network"], run["published_nlcl"], run["floor"]
        rows.append((
            size(run), own["profile"] + _mark(run), how(run), number(own["ms"]), number(own["ms_eager"]),
            number(own["ms_fp32"]), number(published["ms"]),
            f"{_times(published['slower'])} ({_times(published['slower_fp32'])} in fp32)",
            number(published["same"]["ms"]) + _fell_back(run), _times(published["same"]["slower"]), number(floor["ms"]),
            _times(floor["times_floor"]),
        ))  # fmt: skip
    return Table("Network alone, milliseconds for one frame", head, rows)


def frames(runs: Sequence[Run]) -> Table:
    """Whole frames, without codecs and with them."""
    head = ("size", "profile", "backend", "in memory", "p50 ms", "p99 ms", "file to file")
    rows = [
        (size(run), run["network"]["profile"], how(run), _fps(run["path"]["fps"]), number(run["path"]["p50_ms"]),
         number(run["path"]["p99_ms"]), _fps(run["end_to_end"]["fps"]))
        for run in runs
    ]  # fmt: skip
    return Table("Whole frames: in memory without codecs, and from file to file", head, rows)


def copies(runs: Sequence[Run]) -> Table:
    """FFmpeg's copies of the same file beside our runs."""
    head = (
        "size", "profile", "frames", "PyAV", "ffmpeg", "no network", "times PyAV", "times ffmpeg", "whole",
        "times PyAV",
    )  # fmt: skip
    rows = []
    for run in runs:
        found = run["copies"]
        ms = [number(found[name]["ms"]) if name in found else "-" for name in ("pyav", "ffmpeg", "without_network")]
        ratio = {name: _times(each["median"]) for name, each in found["ratios"].items()}
        rows.append((
            size(run), run["network"]["profile"], str(found["frames"]), *ms, ratio["without_network_over_pyav"],
            ratio.get("without_network_over_ffmpeg", "-"), number(found["whole"]["ms"]), ratio["whole_over_pyav"],
        ))  # fmt: skip
    first = runs[0]["copies"]
    how_coded = " ".join([first["encoder"], *(f"{key} {value}" for key, value in first["options"].items())])
    return Table(f"Against FFmpeg's copy of the same file ({how_coded}), milliseconds for one frame", head, rows)


def stages(runs: Sequence[Run]) -> Table:
    """Where the time of a file goes."""
    names = list(dict.fromkeys(stage for run in runs for stage in run["end_to_end"]["ms_per_stage"]))
    rows = []
    for run in runs:
        busy = run["end_to_end"]["ms_per_stage"]
        rows.append((size(run), run["network"]["profile"], how(run),
                     *(number(busy[name]) if name in busy else "-" for name in names)))  # fmt: skip
    title = "File to file, busy milliseconds for one frame (stages overlap)"
    return Table(title, ("size", "profile", "backend", *names), rows)


def search(runs: Sequence[Run]) -> Table:
    """The search alone."""
    head = ("size", "search ms", "exact ms", "speedup", "recall at 8", "distance ratio", "on the GPU ms")
    rows = [
        (name, number(found["ms"]), number(found["exact_ms"]), f"{found['speedup']:.1f}x",
         f"{found['recall_at_8']:.3f}", f"{found['distance_ratio']:.3f}",
         number(found["gpu"]["ms"]) if found["gpu"] else "-")
        for name, found in {size(run): run["search"] for run in runs}.items()
    ]  # fmt: skip
    return Table("Search, 8 best of a 49x49 window", head, rows)


def memory(runs: Sequence[Run]) -> Table:
    """Memory and energy."""
    head = ("size", "profile", "backend", "in memory MB", "on the GPU", "file to file MB", "on the GPU", "J a frame")
    rows = []
    for run in runs:
        amounts = [run[part]["memory"][kind] for part in ("path", "end_to_end") for kind in ("host_mb", "device_mb")]
        energy = run["path"]["energy"]
        rows.append((
            size(run), run["network"]["profile"], how(run),
            *("-" if each is None else f"{each:.0f}" for each in amounts),
            NOT_READABLE if energy is None else ", ".join(f"{name} {used:.3g}" for name, used in energy.items()),
        ))  # fmt: skip
    return Table("The most memory of the process, and energy", head, rows)


def origin(document: dict[str, Any]) -> str:
    """By which command and on what the figures of a bench.json were measured: a sentence of Markdown."""
    return f"Measured by `{document['command']}` on {machine_line(document['runs'][0]['machine'])}."


def machine_line(about: dict[str, Any]) -> str:
    """What the figures hold for, in one line.

    Args:
        about: see machine.machine.
    """
    hardware = f"{about['processor']}, {about['cores']} cores" + (f", {about['gpu']}" if about["gpu"] else "")
    libraries = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"{hardware}; {about['system']}, Python {about['python']}, {libraries}"


def size(run: Run) -> str:
    """As 1280x720."""
    return "x".join(str(side) for side in run["size"])


def how(run: Run) -> str:
    """Backend and precision."""
    return f"{run['network']['backend']} {run['network']['precision']}"


def _fell_back(run: Run) -> str:
    """Said of the published network where it did not run as ours does."""
    ours, theirs = run["network"], run["published_nlcl"]["same"]
    other = [theirs[key] for key in ("backend", "precision") if theirs[key] != ours[key]]
    return f" ({' '.join(other)})" if other else ""


def _mark(run: Run) -> str:
    return " (untrained)" if run["network"]["weights"] == "fresh" else ""


def number(value: float) -> str:
    """Three figures, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ms(value: float) -> str:
    return f"{number(value)} ms"


def _fps(value: float) -> str:
    return f"{number(value)} fps"


def _times(value: float) -> str:
    return f"{number(value)}x"
