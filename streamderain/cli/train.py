"""streamderain train METHOD: make weights; training code is imported here and nowhere else in the command line."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from streamderain.cli.common import PathType
from streamderain.cli.interrupt import Interruptions
from streamderain.errors import DerainError
from streamderain.trainers import METHODS

FOLDER = PathType(file_okay=False)
FILE = PathType(dir_okay=False)
NEEDS_RAINY = ("nlcl", "nlcl_asym", "cclgan")
ENCODERS = {"rdmc": ("vgg_weights",), "cclgan": ("vgg_weights", "clip_weights")}


@click.group()
def command() -> None:
    """Make weights."""


def _options(method: str) -> list[Callable[..., Any]]:
    """The options of a method, in the order of its help."""
    rainy = {
        "rdmc": "Rainy pictures, matched by name with the clean ones; left out, rain is drawn over the clean ones.",
        "stream": "Real rainy pictures to look at while it trains, in OUT/panel.png.",
    }.get(method, "Rainy photos and videos, searched below. May be given several times.")
    depth = 19 if method == "rdmc" else 16
    encoders = {
        "vgg_weights": f"torchvision's VGG-{depth} as safetensors (docs/methods.md); left out, the stream generator's "
                       "encoder stands in.",
        "clip_weights": "OpenAI's CLIP ViT-B/32 as safetensors (docs/methods.md); left out, it goes without.",
    }  # fmt: skip
    return [
        click.option("--rainy", type=FOLDER, multiple=True, required=method in NEEDS_RAINY, help=rainy),
        click.option("--clean", type=FOLDER, multiple=True, required=True,
                     help="Clean photos, picture sequences and videos, searched below. May be given several times."),
        click.option("--out", type=FOLDER, required=True,
                     help="Weights, state and log; starting again on it resumes."),
        *([click.option("--profile", type=click.Choice(("tiny", "realtime", "quality")), help="Size of the network.")]
          if method == "stream" else []),
        click.option("--steps", type=click.IntRange(1), help="Optimiser steps in all; the schedule stretches with it."),
        click.option("--batch", type=click.IntRange(1), help="Samples for each step and process."),
        click.option("--seed", type=click.IntRange(0), help="Of initialisation, data and all chance."),
        click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N."),
        click.option("--workers", type=click.IntRange(0), help="Processes that make samples."),
        *(click.option(f"--{name.replace('_', '-')}", type=FILE, metavar="FILE", help=encoders[name])
          for name in ENCODERS.get(method, ())),
        click.option("--preset", metavar="NAME", help="A set of settings that docs/methods.md describes."),
        click.option("--config", "config_file", type=FILE, metavar="FILE", help="Settings in TOML."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
                     help="Any other setting, such as crop_size=96 or optim.lr=5e-4. May be given several times."),
        click.option("--list-settings", is_flag=True, is_eager=True, expose_value=False,
                     callback=_lister(method),
                     help="Print all settings with their defaults, and what each preset changes."),
    ]  # fmt: skip


def _lister(method: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def show(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
        if asked:
            from streamderain.trainers import method_class
            from streamderain.trainers.config import as_dict

            kind = method_class(method)
            for key, value in as_dict(kind.config_type()).items():
                click.echo(f"{key} = {_as_set_takes_it(value)}")
            for name, settings in kind.presets.items():
                click.echo(f"# --preset {name}")
                for key, value in settings.items():
                    click.echo(f"#   {key} = {_as_set_takes_it(value)}")
            ctx.exit()

    return show


def _as_set_takes_it(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_as_set_takes_it, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _add(method: str, text: str) -> None:
    def run(**options: Any) -> None:
        from streamderain.cli.train_run import Run

        _check_files(options)
        with Interruptions() as interruptions:
            Run(method, options).go(interruptions)

    run.__doc__ = text
    for option in reversed(_options(method)):
        run = option(run)
    command.command(name=method)(run)


def _check_files(options: dict[str, Any]) -> None:
    """Refuse what is not there before anything heavy is imported."""
    for folder in (*options["rainy"], *options["clean"]):
        if not folder.is_dir():
            raise DerainError(f"{folder} is not a folder; give one that holds pictures or videos")
    for name in ("config_file", "vgg_weights", "clip_weights"):
        path = options.get(name)
        if path is not None and not path.is_file():
            raise DerainError(f"{path} is not a file")


for _name, _text in METHODS.items():
    _add(_name, _text)
