"""`streamderain eval`: scores of the output, and of the untouched input, against the clean truth."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from streamderain._version import __version__
from streamderain.cli.common import PathType, check_model_file, network_options, once_option, photo_profile
from streamderain.cli.progress import make_progress
from streamderain.cli.text import one_line
from streamderain.errors import DerainError
from streamderain.outputs import full, same_file, write_whole

if TYPE_CHECKING:
    from streamderain.derainer import Derainer
    from streamderain.evaluation import Row, Sample, Scores

WORST = 10  # rows on the terminal; the files have all
_PATH = PathType()


@click.command(name="eval")
@click.option("--clean", required=True, type=_PATH, metavar="PATH", help="Truth: a folder of pictures or a video.")
@click.option("--rainy", type=_PATH, metavar="PATH",
              help="The same with rain. Without it the clean side is derained and must not change.")
@click.option("--sequence", is_flag=True, help="The folders hold the frames of one video, not single photos.")
@click.option("--live", is_flag=True, help="No look at the following frame, as with a camera.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write all figures.")
@click.option("--html", "html_file", type=_PATH, metavar="FILE",
              help="Write a page with pictures, worst cases first; they go to a folder beside it.")
@network_options
@once_option
def command(
    clean: Path, rainy: Path | None, sequence: bool, live: bool, once: bool, json_file: Path | None,
    html_file: Path | None, **network: Any,
) -> None:  # fmt: skip
    """Score derained pictures or video against their clean truth.

    Two folders are matched by name and each picture is a stream of its own; with --sequence, and for files, both
    sides are one video. PSNR and SSIM are on Y of BT.601 and on RGB. Flicker is the error of each frame against the
    one before along the motion of the clean side. Photos are derained as `image` does it.
    """
    as_video = sequence or any(path is not None and path.is_file() for path in (clean, rainy))
    if live and not as_video:
        raise click.UsageError("--live needs a video: give files, or folders with --sequence.")
    _check_paths([clean, rainy], [json_file, html_file])
    check_model_file(network["model"])
    from streamderain.evaluation import mean_row

    if not as_video:
        network["profile"] = photo_profile(network["profile"])
    samples, total, derainer = _samples(rainy, clean, as_video, live, network | {"twice": not once and not as_video})
    rows, gallery, damage = _run(samples, total, clean.name, with_pictures=html_file is not None)
    if damage is not None and not (rows and as_video):
        raise damage
    if not rows:
        raise DerainError(f"{clean} has no frames; give a video that plays.")
    mean = mean_row(rows)
    facts = _facts(derainer, rainy, clean, as_video, live, network["strength"])
    _print_table(rows, mean)
    try:
        if json_file is not None:
            _write_json(json_file, facts | {"mean": mean.as_dict(), "files": [row.as_dict() for row in rows]})
        if html_file is not None:
            from streamderain.evalpage import write_page

            shown = {name.replace("_", " "): str(value) for name, value in facts.items()}
            write_page(html_file, rows=rows, mean=mean, gallery=gallery, facts=shown)
    except OSError as error:
        line = f"the figures could not be written ({full(error)}); make room or choose another place"
        raise DerainError(line, exit_code=4) from error
    if damage is not None:
        raise damage


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")  # /dev/stdout is no file to put another in the place of
    else:
        write_whole(path, text.encode())


def _check_paths(inputs: list[Path | None], outputs: list[Path | None]) -> None:
    """Find what would fail at the end before any work is done."""
    from streamderain.photo_jobs import READABLE_SUFFIXES

    for path in inputs:
        if path is not None and not path.exists():
            raise DerainError(f"{path} does not exist; give a folder of pictures or a video.")
    if outputs[0] is not None and outputs[1] is not None and outputs[0].resolve() == outputs[1].resolve():
        raise DerainError(f"{outputs[0]} is named twice; give --json and --html a name each.")
    for path in outputs:
        if path is None:
            continue
        if path.is_dir():
            raise DerainError(f"{path} is a folder; give the name of a file to write.")
        is_picture = path.exists() and path.suffix.lower() in READABLE_SUFFIXES
        places = (path, path.parent) if is_picture else (path,)  # one that stands in an input folder is an input
        if any(same_file(place, given) for place in places for given in inputs if given is not None):
            raise DerainError(f"{path} is an input; give the name of another file to write.")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise DerainError(f"{path} cannot be written; its folder does not exist or is read-only.")


def _samples(
    rainy: Path | None, clean: Path, as_video: bool, live: bool, network: dict[str, Any]
) -> tuple[Iterator[Sample], int | None, Derainer]:
    """The measurement, ready to run, with the number of pictures where it is known."""
    from streamderain.derainer import Derainer
    from streamderain.evaluation import evaluate_photos, evaluate_video
    from streamderain.pairs import list_pictures, pair_pictures

    if as_video:
        derainer = Derainer(**network, tell=_tell)
        return evaluate_video(derainer, rainy, clean, live=live), None, derainer
    pairs: list[tuple[Path | None, Path]] = (
        [(None, path) for path in list_pictures(clean)] if rainy is None else [*pair_pictures(rainy, clean)]
    )
    derainer = Derainer(**network, tell=_tell)
    return evaluate_photos(derainer, pairs), len(pairs), derainer


def _run(
    samples: Iterator[Sample], total: int | None, name: str, *, with_pictures: bool
) -> tuple[list[Row], Any, DerainError | None]:
    """All rows, the gallery that the page needs, and what ended them early: damage (exit code 3)."""
    from streamderain.evalpage import Gallery

    gallery, rows, progress = Gallery(), [], make_progress("auto")
    progress.begin(name, total)
    try:
        for sample in samples:
            rows.append(sample.row)
            if with_pictures:
                gallery.add(sample)
            progress.advance(len(rows))
    except DerainError as error:
        if error.exit_code != 3:
            raise
        return rows, gallery, error
    finally:
        progress.end()
    return rows, gallery, None


def _facts(
    derainer: Derainer, rainy: Path | None, clean: Path, as_video: bool, live: bool, strength: float
) -> dict[str, Any]:
    facts = {"rainy": None if rainy is None else str(rainy), "clean": str(clean)}
    facts["kind"] = "photos" if not as_video else "live video" if live else "video"
    for name in ("profile", "device", "backend", "precision"):
        facts[name] = str(getattr(derainer, name))
    return facts | {"strength": strength, "streamderain": __version__}


def _print_table(rows: list[Row], mean: Row) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log has no edge to keep to
    worst = sorted(rows, key=lambda row: row.merit)[:WORST]
    title = f"{len(rows)} pictures" + (f", the worst {len(worst)}" if len(worst) < len(rows) else ", worst first")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("picture", overflow="fold")
    for name in ("input Y", "output Y", "gain", "input RGB", "output RGB", "flicker"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in worst:
        table.add_row(*_cells(row))
    table.add_row(*_cells(mean), style="bold")
    console.print(table)
    console.print("PSNR in dB / SSIM; flicker in grey levels, input > output (truth)", style="dim", highlight=False)


def _cells(row: Row) -> list[str]:
    gain = "" if row.gain_db is None else f"{row.gain_db:+.2f}"
    steady = "" if row.flicker is None else (
        f"{row.flicker.input:.2f} > {row.flicker.output:.2f} ({row.flicker.clean:.2f})"
    )
    y, rgb = _both(row.output)
    y_before, rgb_before = ("", "") if row.input is None else _both(row.input)
    return [one_line(row.name).replace("[", r"\["), y_before, y, gain, rgb_before, rgb, steady]


def _both(scores: Scores) -> tuple[str, str]:
    return f"{scores.psnr_y:.2f} / {scores.ssim_y:.4f}", f"{scores.psnr_rgb:.2f} / {scores.ssim_rgb:.4f}"


def _tell(line: str) -> None:
    click.echo(one_line(line), err=True)
