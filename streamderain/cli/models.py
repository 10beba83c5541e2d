"""`streamderain models`: which weights are here, and what is known of them."""
from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamderain.cli.common import PathType
from streamderain.cli.text import one_line

if TYPE_CHECKING:
    from streamderain.models import Model

DIGITS = 8  # of a digest, for the eye


@click.command(name="models")
@click.argument("paths", nargs=-1, type=PathType(), metavar="[PATH]...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with whole digests and cards.")
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """List the weights that are here: those that come with the package, then those of yours.

    PATH is a weight file, or a folder that is searched with all below it; without one, the folder runs where there is
    one. Any file of the list does as --model of the other commands.
    """
    from streamderain.models import list_models

    models = list_models(paths)
    if as_json:
        objects = [asdict(model) | {"path": str(model.path.resolve())} for model in models]
        click.echo(json.dumps(objects, indent=2, allow_nan=False))
    else:
        _print_table(models)


def _print_table(models: list[Model]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log has no edge to keep to
    table = Table(box=None, padding=(0, 1 if console.width < 100 else 2, 0, 0), pad_edge=False)
    for name in ("method", "profile", "size", "params", "MAC/px", "score", "sha256"):
        table.add_column(name, justify="right" if name in ("size", "params", "MAC/px") else "left", no_wrap=True)
    table.add_column("file", overflow="fold")
    for model in models:
        table.add_row(
            _text(model.method or "-"), _text(model.profile), f"{_short(model.size_bytes)}B", _short(model.parameters),
            _short(model.mac_per_pixel), _scores(model), model.sha256[:DIGITS],
            _text("(shipped)" if model.shipped else str(model.path)),
        )  # fmt: skip
    console.print(table)


def _scores(model: Model) -> Text:
    """One a line; the validation's is known by having no name."""
    lines = [f"{'' if name == 'validation' else name} {value:.2f}".strip() for name, value in model.scores.items()]
    return Text("\n".join(map(one_line, lines)) or "-")


def _text(words: str) -> Text:
    """Words of a file, which may hold what steers a terminal or looks like markup."""
    return Text(one_line(words))


def _short(number: float) -> str:
    """Three digits of a number, and k, M or G: 316 k."""
    units = iter(("", "k", "M", "G"))
    unit = next(units)
    while number >= 999.5 and unit != "G":
        number, unit = number / 1000, next(units)
    return f"{number:.3g} {unit}"
