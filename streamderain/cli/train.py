"""streamderain train METHOD: make weights; training code is imported here and nowhere else in the command line."""
from __future__ import annotations

import dataclasses
import difflib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamderain.cli.interrupt import Interruptions
from streamderain.cli.progress import clock_time
from streamderain.errors import DerainError

if TYPE_CHECKING:
    from streamderain.trainers.loop import Progress

FOLDER = click.Path(path_type=Path, file_okay=False)
SAY_SECONDS = 5.0
PREVIEWS = 4


@click.group()
def command() -> None:
    """Make weights."""


@command.command()
@click.option("--clean", type=FOLDER, required=True, help="Clean photos, picture sequences and videos, searched below.")
@click.option("--rainy", type=FOLDER, help="Real rainy photos; four of them are derained into OUT/preview to look at.")
@click.option("--out", type=FOLDER, required=True, help="Weights, state and log; starting again on it resumes.")
@click.option("--profile", type=click.Choice(("tiny", "realtime", "quality")), default="realtime", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=16_000, show_default=True, help="Optimiser steps in all.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Samples for each step.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda or cuda:N.")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that make samples.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Any field of LoopConfig, RenderedConfig or StreamTrainingConfig, such as crop_size=96 or lr=5e-4.")
def stream(clean: Path, rainy: Path | None, out: Path, settings: tuple[str, ...], **options: Any) -> None:
    """Train the stream generator on rendered rain over clean material; no paired data is needed."""
    from streamderain.core.checkpoint import CheckpointError
    from streamderain.trainers.clips import INDEX, read_clips
    from streamderain.trainers.loop import LoopConfig, train
    from streamderain.trainers.rendered import RenderedConfig, RenderedRain
    from streamderain.trainers.stream import StreamTraining, StreamTrainingConfig

    given = options | dict(_parsed(setting) for setting in settings)
    try:
        configs = [_configured(kind, given) for kind in (LoopConfig, RenderedConfig, StreamTrainingConfig)]
    except (TypeError, ValueError) as error:
        raise DerainError(f"{error}; see `streamderain train stream --help`") from None
    _refuse_unknown(given, configs)
    loop, rendered, method = configs
    previews = _first_pictures(rainy)
    with Interruptions() as interruptions:
        shots = out / "clips"
        if not (shots / INDEX).exists():
            _gather(clean, shots)
        clips = read_clips(shots)
        training = StreamTraining(method, clips, rendered, seed=loop.seed)
        samples = RenderedRain(training.clips, rendered, seed=loop.seed, length=loop.steps * loop.batch)
        click.echo(f"{method.profile} for {loop.steps} steps of {loop.batch} samples on {loop.device}, into {out}")
        report = _Report(out, previews)
        try:
            with interruptions.orderly():
                best = train(training, samples, loop, out, on_step=report.step, stop=interruptions.stop.is_set)
        except (CheckpointError, ValueError) as error:
            raise DerainError(f"{error}; give another --out to begin anew") from None
        if interruptions.exit_code is not None:
            click.echo(f"Interrupted; the state is in {out}: the same command goes on from there.", err=True)
            raise SystemExit(interruptions.exit_code)
    click.echo(f"Best {best:.2f} dB. Use it: streamderain video in.mp4 out.mp4 --model {out / 'best.safetensors'}")


class _Report:
    """A line every few seconds, one at every evaluation, and the preview pictures."""

    def __init__(self, out: Path, previews: list[Path]) -> None:
        self._out, self._previews, self._said = out, previews, -math.inf

    def step(self, progress: Progress) -> None:
        """Tell one step's figures, if it is time."""
        if progress.score is None and time.monotonic() - self._said < SAY_SECONDS:
            return
        self._said = time.monotonic()
        losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
        left = clock_time((progress.steps - progress.step) / max(progress.steps_per_second, 1e-9))
        score = "" if progress.score is None else f"  score {progress.score:.2f} dB"
        click.echo(f"{progress.step}/{progress.steps}  {progress.steps_per_second:.1f}/s  {left} left  {losses}{score}")
        if progress.score is not None:
            self._preview()

    def _preview(self) -> None:
        """Before and after of the first real pictures, with the weights as they are now."""
        if not self._previews:
            return
        from streamderain import photo_output, photos
        from streamderain.compare import overlay
        from streamderain.derainer import Derainer

        derainer = Derainer(device="cpu", model=self._out / "last.safetensors")
        (self._out / "preview").mkdir(exist_ok=True)
        for path in self._previews:
            frame = photos.read(path)
            derainer.reset()
            photo_output.write(overlay("side", frame, derainer(frame)), self._out / "preview" / f"{path.stem}.png")


def _gather(clean: Path, shots: Path) -> None:
    """Turn the clean material into shots and say what was found."""
    from streamderain.material import gather

    click.echo(f"Reading {clean} ...")
    found = gather(clean, shots, say=lambda line: click.echo(line, err=True))
    click.echo(f"{found.photos} photos and {found.shots} shots, {found.frames} frames; {len(found.skipped)} skipped")


def _first_pictures(folder: Path | None) -> list[Path]:
    """What the previews are made from."""
    from streamderain.pairs import list_pictures

    return list_pictures(folder)[:PREVIEWS] if folder else []


def _parsed(setting: str) -> tuple[str, Any]:
    """KEY=VALUE with the value as a number, boolean or text; the last part of a dotted key counts."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise DerainError(f"--set {setting} has no value; write KEY=VALUE")
    values: dict[str, Any] = {"true": True, "false": False}
    for kind in (int, float):
        try:
            return key.rpartition(".")[2], values.get(text.lower(), kind(text))
        except ValueError:
            continue
    return key.rpartition(".")[2], values.get(text.lower(), text)


def _configured(kind: Any, given: dict[str, Any]) -> Any:
    """A config from the given values that are its own, each of its default's type."""
    own = {f.name: f.default for f in dataclasses.fields(kind) if f.name in given}
    for name, default in own.items():
        if isinstance(default, tuple) or isinstance(default, bool) != isinstance(given[name], bool) or (
            isinstance(default, int | float) and not isinstance(given[name], int | float)
        ):
            raise TypeError(f"{name}={given[name]} is not of the kind of its default {default}")
    return kind(**{name: given[name] for name in own})


def _refuse_unknown(given: dict[str, Any], configs: list[Any]) -> None:
    known = {f.name for config in configs for f in dataclasses.fields(config)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise DerainError(f"there is no setting {name}" + (f"; did you mean {near[0]}?" if near else ""))
