"""`streamderain bench`: what this machine reaches, part by part and from file to file."""
from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from streamderain.cli.common import PROFILES, check_model_file
from streamderain.cli.text import one_line
from streamderain.errors import DerainError

if TYPE_CHECKING:
    import numpy as np

Size = tuple[int, int]
Model = tuple[Path, str]  # a weight file, and whether it is "trained" or "fresh"
PART_FRAMES = 16  # kept as RGB for the parts that are timed alone


class SizeType(click.ParamType):
    """Width and height in pixels, written as 1280x720; both even, as 4:2:0 needs."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """(width, height) from its text."""
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(value))
        if not found:
            self.fail(f"{value!r} is no size; write 1280x720.", param, ctx)
        width, height = int(found[1]), int(found[2])
        if width % 2 or height % 2 or not (32 <= width <= 8192 and 32 <= height <= 8192):
            self.fail(f"{value!r} has a side that is odd, below 32 or above 8192.", param, ctx)
        return width, height


@dataclass(frozen=True, slots=True)
class Scene:
    """What is measured on.

    Attributes:
        name: for the report.
        clip: the video for the run from file to file.
        seconds: how much of it is used; None is all.
        frames: its first frames, (3, H, W) uint8 RGB.
    """

    name: str
    clip: Path
    seconds: float | None
    frames: list[np.ndarray]

    @property
    def size(self) -> Size:
        """(width, height)."""
        return self.frames[0].shape[2], self.frames[0].shape[1]


@click.command(name="bench")
@click.option("--profile", "profiles", type=click.Choice(PROFILES), multiple=True, help="May be given several times.")
@click.option("--size", "sizes", type=SizeType(), multiple=True, metavar="WxH",
              help="Of the drawn scene, 640x480 if not given. May be given several times.")
@click.option("--source", type=click.Path(path_type=Path), metavar="FILE", help="Measure on this video instead.")
@click.option("--frames", type=click.IntRange(3, 10_000), default=60, show_default=True,
              help="Length of the run from file to file.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--model", type=click.Path(path_type=Path), metavar="FILE", help="Weights of your own.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(
    profiles: tuple[str, ...], sizes: tuple[Size, ...], source: Path | None, frames: int, device: str,
    model: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure speed on this machine.

    For each profile and size: the network alone, the search alone (against an exact one), the published NLCL
    generator on the same frame, and the whole from file to file. All figures are medians.
    """
    if source is not None and sizes:
        raise click.UsageError("--source has its own size; leave --size out.")
    if model is not None and profiles:
        raise click.UsageError("--model has its own profile; leave --profile out.")
    check_model_file(model)
    from streamderain.engine import resolve_device

    device, runs = resolve_device(device), []
    with tempfile.TemporaryDirectory(prefix="streamderain-bench-") as name:
        folder = Path(name)
        models = [(model, "trained")] if model else [_weights(each, device, folder) for each in profiles or ("auto",)]
        for size in sizes or ((640, 480),):
            scene = _opened(source, frames) if source else _drawn(size, frames, folder)
            runs += _measure(scene, models, device, folder)
    if as_json:
        document = _rounded(runs[0] if len(runs) == 1 else {"runs": runs})
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        _print_tables(runs)


def _weights(profile: str, device: str, folder: Path) -> Model:
    """The profile's weights, or fresh ones where there are none yet: they take the same time."""
    from streamderain import weights
    from streamderain.core.checkpoint import save_generator
    from streamderain.core.stream import PROFILES, StreamGenerator

    if profile == "auto":
        profile = "realtime" if device.startswith("cuda") else "tiny"
    try:
        return weights.find(profile, device), "trained"
    except DerainError:
        _say(f"Profile {profile} has no trained weights yet; measuring with untrained ones.")
        path = folder / f"{profile}.safetensors"
        save_generator(path, StreamGenerator(PROFILES[profile]), profile=profile, card={})  # type: ignore[index]
        return path, "fresh"


def _drawn(size: Size, count: int, folder: Path) -> Scene:
    from streamderain import scene

    _say(f"Drawing {count} frames of {size[0]}x{size[1]}.")
    kept: list[np.ndarray] = []

    def frames() -> Any:
        for rainy, _ in scene.draw(*size, count):
            if len(kept) < PART_FRAMES:
                kept.append(rainy)
            yield rainy

    clip = folder / f"scene{size[0]}x{size[1]}.mp4"
    scene.write_clip(clip, frames())
    return Scene("drawn", clip, None, kept)


def _opened(path: Path, count: int) -> Scene:
    from streamderain.core.colour import to_rgb
    from streamderain.video import open_video

    kept: list[np.ndarray] = []
    times: list[float] = []
    source = open_video(path)
    try:
        for frame in source:
            if len(kept) < PART_FRAMES:
                kept.append(to_rgb(frame.planes, frame.format))
            times.append(float((frame.pts or 0) * frame.time_base))
            if len(times) > count:
                break
    finally:
        source.close()
    if len(kept) < 3:
        raise DerainError(f"{path} has {len(kept)} frames; give a video of at least 3.")
    # to the middle of the last interval, so that rounding neither adds nor takes a frame
    seconds = (times[-1] + times[-2]) / 2 - times[0] if len(times) > count else None
    return Scene(str(path), path, seconds, kept)


def _measure(scene: Scene, models: list[Model], device: str, folder: Path) -> list[dict[str, Any]]:
    """One report for each model; what does not depend on it is measured once."""
    from streamderain import benchmark

    width, height = scene.size
    _say(f"{width}x{height}: search")
    search = benchmark.measure_search(scene.frames).as_dict()
    _say(f"{width}x{height}: published NLCL generator")
    published = benchmark.measure_published(scene.frames[0], device)
    runs = []
    for model, kind in models:
        _say(f"{width}x{height}: {model.stem}, alone and from file to file")
        network = benchmark.measure_network(model, scene.frames, device) | {"weights": kind}
        ratios = {name: published["ms"] / network[ms] for name, ms in (("slower", "ms"), ("slower_fp32", "ms_fp32"))}
        end_to_end = benchmark.measure_file(model, scene.clip, folder, device, seconds=scene.seconds)
        runs.append({
            "size": [width, height], "source": scene.name, "device": device, "network": network,
            "published_nlcl": published | ratios, "search": search, "end_to_end": end_to_end,
            "machine": benchmark.machine(),
        })  # fmt: skip
    return runs


def _say(line: str) -> None:
    click.echo(one_line(line), err=True)


def _rounded(value: Any) -> Any:
    """The same JSON value with floats to four decimals: more would be noise."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def _print_tables(runs: list[dict[str, Any]]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log has no edge to keep to
    table = Table(title="Milliseconds for one frame", title_justify="left")
    for name in ("size", "profile", "precision", "network", "fp32", "NLCL", "times slower", "file to file"):
        table.add_column(name, justify="left" if name in ("profile", "precision") else "right", no_wrap=True)
    for run in runs:
        network, published = run["network"], run["published_nlcl"]
        table.add_row(
            _size(run), network["profile"], f"{network['backend']} {network['precision']}", f"{network['ms']:.1f}",
            f"{network['ms_fp32']:.1f}", f"{published['ms']:.0f}",
            f"{published['slower']:.0f}x ({published['slower_fp32']:.0f}x in fp32)",
            f"[bold]{run['end_to_end']['fps']:.1f} fps[/bold]",
        )  # fmt: skip
    console.print(table, _search_table(runs), _stage_table(runs))
    machine = runs[0]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    hardware = f"{machine['processor']}, {machine['cores']} cores" + (f", {machine['gpu']}" if machine["gpu"] else "")
    console.print(f"{hardware}; {machine['system']}, Python {machine['python']}, {versions}", style="dim", markup=False)


def _search_table(runs: list[dict[str, Any]]) -> Table:
    table = Table(title="Search, 8 best of a 49x49 window", title_justify="left")
    for name in ("size", "search ms", "exact ms", "speedup", "recall at 8", "distance ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for size, found in {_size(run): run["search"] for run in runs}.items():
        table.add_row(
            size, f"{found['ms']:.1f}", f"{found['exact_ms']:.1f}", f"{found['speedup']:.1f}x",
            f"{found['recall_at_8']:.3f}", f"{found['distance_ratio']:.3f}",
        )  # fmt: skip
    return table


def _stage_table(runs: list[dict[str, Any]]) -> Table:
    stages = list(runs[0]["end_to_end"]["ms_per_stage"])
    table = Table(title="File to file, busy milliseconds for one frame (stages overlap)", title_justify="left")
    for name in ("size", "profile", *stages):
        table.add_column(name, justify="left" if name == "profile" else "right", no_wrap=True)
    for run in runs:
        busy = run["end_to_end"]["ms_per_stage"]
        table.add_row(_size(run), run["network"]["profile"], *(f"{busy[stage]:.1f}" for stage in stages))
    return table


def _size(run: dict[str, Any]) -> str:
    return "x".join(str(side) for side in run["size"])
