"""`streamderain bench`: what this machine reaches, part by part and from file to file."""
from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamderain.cli.common import BACKENDS, PRECISIONS, PROFILES, PathType, check_model_file
from streamderain.cli.interrupt import Interruptions
from streamderain.cli.text import one_line
from streamderain.errors import DerainError
from streamderain.outputs import Unfinished

if TYPE_CHECKING:
    from streamderain.bench.cases import Scene, Subject

Size = tuple[int, int]
NAMED_SIZES: dict[str, Size] = {"480p": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
EVERY_SIZE = tuple(NAMED_SIZES[name] for name in ("480p", "1080p", "4k"))


class SizeType(click.ParamType):
    """Width and height in pixels, written as 1280x720 or 720p; both even, as 4:2:0 needs."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """(width, height) from its text."""
        text = str(value).lower()
        if text in NAMED_SIZES:
            return NAMED_SIZES[text]
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
        if not found:
            self.fail(f"{value!r} is no size; write 1280x720 or one of {', '.join(NAMED_SIZES)}.", param, ctx)
        width, height = int(found[1]), int(found[2])
        if width % 2 or height % 2 or not (32 <= width <= 8192 and 32 <= height <= 8192):
            self.fail(f"{value!r} has a side that is odd, below 32 or above 8192.", param, ctx)
        return width, height


@click.command(name="bench")
@click.option("--profile", "profiles", type=click.Choice(PROFILES), multiple=True, help="May be given several times.")
@click.option("--backend", "backends", type=click.Choice(BACKENDS), multiple=True,
              help="What runs the network; may be given several times.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
              help="Numbers that our network computes with.")
@click.option("--size", "sizes", type=SizeType(), multiple=True, metavar="WxH",
              help="Of the drawn scene, 640x480 if not given; 480p, 720p, 1080p and 4k are known by name. May be given "
                   "several times.")
@click.option("--everything", is_flag=True, help="All profiles, backends and sizes, where none are given.")
@click.option("--source", type=PathType(), metavar="FILE", help="Measure on this video instead.")
@click.option("--frames", type=click.IntRange(3, 10_000), default=60, show_default=True,
              help="Length of the runs; slow networks are given fewer.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--model", type=PathType(), metavar="FILE", help="Weights of your own.")
@click.option("--out", type=PathType(file_okay=False), metavar="DIR",
              help="Write bench.json, bench.svg and bench.md there too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(
    profiles: tuple[str, ...], backends: tuple[str, ...], precision: str, sizes: tuple[Size, ...], everything: bool,
    source: Path | None, frames: int, device: str, model: Path | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure speed on this machine.

    For each profile, backend and size: the network alone, against the published NLCL generator and against the least
    time that its work can take here; whole frames in memory; and the whole from file to file, against FFmpeg's plain
    copy of the same file. What is compared is measured in turns.
    """
    if source is not None and sizes:
        raise click.UsageError("--source has its own size; leave --size out.")
    if model is not None and profiles:
        raise click.UsageError("--model has its own profile; leave --profile out.")
    check_model_file(model)
    from streamderain.engine import resolve_device

    device = resolve_device(device)
    sizes = sizes or (EVERY_SIZE if everything else EVERY_SIZE[:1])
    profiles = profiles or (PROFILES[1:] if everything else PROFILES[:1])
    lenient = everything and not backends
    backends = backends or (BACKENDS[1:] if everything else BACKENDS[:1])
    if out is not None:
        _make(out)
    runs: list[dict[str, Any]] = []
    # killed, it takes its videos off the disk as well
    with Interruptions(), tempfile.TemporaryDirectory(prefix="streamderain-bench-") as name:
        folder = Path(name)
        subjects = _subjects(model, profiles, device, folder)
        for scene in _scenes(source, sizes, frames, folder):
            how = {"device": device, "backends": backends, "precision": precision, "lenient": lenient}
            runs += _measured(scene(), subjects, folder, how)
            if out is not None:  # after each size: all of them can take an hour
                _write({"command": _as_given(click.get_current_context()), "runs": runs}, out)
    if out is not None:
        _say(f"{out} has bench.json, bench.svg and bench.md.")
    if as_json:
        click.echo(_json(runs[0] if len(runs) == 1 else {"runs": runs}))
    else:
        _print(runs)


def _subjects(model: Path | None, profiles: Sequence[str], device: str, folder: Path) -> list[Subject]:
    from streamderain.bench.cases import Subject

    return [Subject(model)] if model else [_weights(profile, device, folder) for profile in profiles]


def _weights(profile: str, device: str, folder: Path) -> Subject:
    """The profile's weights, or fresh ones where there are none yet: they take the same time."""
    from streamderain import weights
    from streamderain.bench.cases import Subject
    from streamderain.core.checkpoint import save_generator
    from streamderain.core.stream import PROFILES, StreamGenerator

    if profile == "auto":
        profile = "realtime" if device.startswith("cuda") else "tiny"
    try:
        return Subject(weights.find(profile, device))
    except DerainError:
        _say(f"Profile {profile} has no trained weights yet; measuring with untrained ones.")
        path = folder / f"{profile}.safetensors"
        save_generator(path, StreamGenerator(PROFILES[profile]), profile=profile, card={})  # type: ignore[index]
        return Subject(path, "fresh")


def _scenes(source: Path | None, sizes: Sequence[Size], frames: int, folder: Path) -> list[Callable[[], Scene]]:
    """What makes each scene when its turn comes: all of them at once could fill the memory."""
    from streamderain.bench import cases

    def drawn(size: Size) -> Scene:
        _say(f"Drawing {frames} frames of {size[0]}x{size[1]}.")
        return cases.drawn_scene(size, frames, folder)

    if source is not None:
        return [lambda: cases.opened_scene(source, frames)]
    return [lambda size=size: drawn(size) for size in sizes]  # type: ignore[misc]


def _measured(scene: Scene, subjects: list[Subject], folder: Path, how: dict[str, Any]) -> list[dict[str, Any]]:
    from streamderain.bench import cases

    found: list[dict[str, Any]] = _rounded(cases.measure(scene, subjects, folder=folder, tell=_say, **how))
    return found


def _make(folder: Path) -> None:
    """The folder for what is written, tried before the work begins.

    Raises:
        DerainError: it cannot be made, or no file in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DerainError(f"{folder} cannot be made ({error.strerror}); give another --out") from None
    Unfinished(folder / "bench.json")


def _as_given(context: click.Context) -> str:
    """The command as it was given, without what only says where its figures go."""
    words = ["streamderain", "bench"]
    for option in context.command.params:
        name = option.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE or name in ("out", "as_json"):
            continue
        value = context.params[name]
        if value is True:
            words.append(option.opts[0])
            continue
        for each in value if option.multiple else (value,):
            words += [option.opts[0], "x".join(map(str, each)) if isinstance(each, tuple) else str(each)]
    return shlex.join(words)


def _write(document: dict[str, Any], folder: Path) -> None:
    from streamderain.bench import tables
    from streamderain.bench.plot import plot

    pages = {"bench.svg": plot(document["runs"]), "bench.md": tables.report(document)}
    texts = {"bench.json": _json(document) + "\n", **pages}
    try:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        reason = f"{folder} cannot be written to ({error.strerror}); give another --out"
        raise DerainError(reason, exit_code=4) from None


def _say(line: str) -> None:
    click.echo(one_line(line), err=True)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False)


def _rounded(value: Any) -> Any:
    """The same JSON value with floats to four decimals: more would be noise."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def _print(runs: list[dict[str, Any]]) -> None:
    from streamderain.bench import tables

    console = Console()
    if not console.is_terminal:
        console.width = 160  # a log has no edge to keep to
    for table in tables.all_tables(runs):
        shown = Table(title=table.title, title_justify="left")
        for name in table.head:
            words = name in ("profile", "backend")
            shown.add_column(name, justify="left" if words else "right", no_wrap=True)
        for row in table.rows:
            shown.add_row(*map(escape, row))
        console.print(shown)
    console.print(tables.machine_line(runs[0]["machine"]), style="dim", markup=False)
