"""`streamderain image`: photos without rain, one or a folder of them."""
from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from streamderain.cli.common import PathType, check_model_file, network_options, once_option, photo_profile
from streamderain.cli.interrupt import Interruptions
from streamderain.cli.text import one_line, sentence
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.photo_jobs import Job, jobs_for, passed_over
from streamderain.photo_output import FORMATS, check_holds, check_target, format_of, lost, write
from streamderain.photos import MAX_PIXELS, PILLOW_MAX_PIXELS, Description, read

if TYPE_CHECKING:
    from streamderain.derainer import Derainer


@click.command("image")
@click.argument("source", metavar="IN", type=PathType())
@click.argument("target", metavar="OUT", type=PathType())
@network_options
@once_option
@click.option("--format", "kind", type=click.Choice(FORMATS), metavar="|".join(FORMATS),
              help="What a folder's pictures become (png); a single OUT says it by its name.")
@click.option("--quality", type=click.IntRange(1, 100),
              help="For JPEG (95 unless given) and WebP (without loss unless given).")
@click.option("--compare", type=click.Choice(["side", "rain"]),
              help="Write before and after side by side, or the rain that was taken away.")
@click.option("--max-pixels", type=click.IntRange(1, PILLOW_MAX_PIXELS), default=MAX_PIXELS, show_default=True,
              help="Refuse larger pictures.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
def command(
    source: Path, target: Path, profile: str, device: str, model: Path | None, strength: float, backend: str,
    precision: str, cache_dir: Path | None, once: bool, **options: Any,
) -> None:
    """Take the rain out of a photo IN, or of every picture in a folder IN.

    EXIF, ICC profile, transparency and 16 bits are kept; the pixels are not turned.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # it would explain broken files beside our one line
    check_model_file(model)
    jobs = jobs_for(source, target, options["kind"])
    _check_quality(jobs, options["quality"])
    if unread := passed_over(source):
        more = f", and so are {len(unread) - 1} more" if unread[1:] else ""
        reason = "JPEG XL, JPEG 2000 and raw files are not read; convert them first"
        click.echo(one_line(f"{unread[0]} is passed over{more}: {reason}"), err=True)

    def load() -> Derainer:
        from streamderain.derainer import Derainer  # torch takes seconds: after everything that can be refused

        loaded = Derainer(
            profile=photo_profile(profile), device=device, model=model, strength=strength, backend=backend,
            precision=precision, cache_dir=cache_dir, twice=not once,
            tell=lambda line: click.echo(one_line(line), err=True),
        )  # fmt: skip
        click.echo(f"profile {loaded.profile} on {loaded.device}, {loaded.backend} in {loaded.precision}", err=True)
        return loaded

    with Interruptions() as interruptions, interruptions.orderly():
        failures = _derain_all(jobs, load, options, interruptions.stop)
    if failures and len(jobs) == 1:
        raise failures[0]
    if failures:
        raise DerainError(f"{len(failures)} of {len(jobs)} pictures failed, see above; the others are done.",
                          exit_code=max(failure.exit_code for failure in failures))


def _check_quality(jobs: list[Job], quality: int | None) -> None:
    if quality is not None and all(format_of(target) in ("png", "tiff") for _, target in jobs):
        raise click.UsageError("--quality is for JPEG and WebP; PNG and TIFF lose nothing.")


def _derain_all(
    jobs: list[Job], load: Callable[[], Derainer], options: dict[str, Any], stop: Event
) -> list[DerainError]:
    """Work through the jobs; one that fails is told and does not stop the rest.

    Raises:
        KeyboardInterrupt: `stop` was set while jobs were left; the one under way is done.
    """
    failures: list[DerainError] = []
    derainer = None
    for source, target in jobs:
        if stop.is_set():
            raise KeyboardInterrupt
        try:
            check_target(source, target, overwrite=options["overwrite"])
            frame = read(source, max_pixels=options["max_pixels"])
            check_holds(frame, target)
        except DerainError as failure:
            _collect(failure, failures, len(jobs))
            continue
        derainer = derainer or load()  # outside: without a network no job can be done
        try:
            write(_derained(frame, derainer, options["compare"]), target, quality=options["quality"])
        except DerainError as failure:
            _collect(failure, failures, len(jobs))
            continue
        description: Description = frame.side["description"]
        notes = [*description.notes, *lost(frame, target)]
        click.echo(one_line("; ".join([f"{source} -> {target}, {frame.width}x{frame.height}", *notes])), err=True)
    return failures


def _derained(frame: Frame, derainer: Derainer, compare: str | None) -> Frame:
    derainer.reset()
    after = derainer(frame)
    if compare is None:
        return after
    from streamderain import compare as pictures  # draws letters with OpenCV, which most runs do not need

    return pictures.side(frame, after) if compare == "side" else pictures.rain(frame, after)


def _collect(failure: DerainError, failures: list[DerainError], jobs: int) -> None:
    failures.append(failure)
    if jobs > 1:
        click.echo(f"Error: {sentence(str(failure))}", err=True)
