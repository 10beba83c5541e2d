"""Options that mean the same in every command, and the values that options share."""
from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

import click

from streamderain.errors import DerainError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_TIME = re.compile(r"(\d{1,6}:){0,2}\d{1,9}(\.\d{0,9})?", re.ASCII)
PROFILES = ("auto", "tiny", "realtime", "quality")
PRECISIONS = ("auto", "int8", "bf16", "fp16", "fp32")  # as streamderain/engines.py has them
BACKENDS = ("auto", "eager", "compile", "tensorrt")  # as streamderain/backends.py has them, without importing torch


class RateType(click.ParamType):
    """Frames per second as an exact Fraction: 25, 29.97 or 30000/1001."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """The rate, or a usage error."""
        try:
            rate = Fraction(value)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is no rate; write 25, 29.97 or 30000/1001.", param, ctx)
        if not 0 < rate <= 1000 or rate.denominator > 1_000_000:
            self.fail(f"{value!r} is no rate between 0 and 1000 frames per second.", param, ctx)
        return rate


class TimeType(click.ParamType):
    """Seconds as a float, written as 12.5, 1:30 or 1:02:03.5."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds, or a usage error."""
        if isinstance(value, float):
            return value
        if _TIME.fullmatch(str(value)):
            parts = str(value).split(":")
            return sum(float(part) * 60**power for power, part in enumerate(reversed(parts)))
        self.fail(f"{value!r} is no time; write seconds (12.5) or 1:02:03.5.", param, ctx)


class PathType(click.Path):
    """A path; an empty name, as an unset variable leaves it, is none: pathlib takes it for the current folder."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The Path, or a usage error."""
        if value == "":
            self.fail("the name is empty.", param, ctx)
        return super().convert(value, param, ctx)


class StrengthType(click.FloatRange):
    """A number from 0 to 2; FloatRange alone lets "nan" pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or a usage error."""
        strength = super().convert(value, param, ctx)
        if isnan(strength):
            self.fail(f"{value!r} is no number.", param, ctx)
        return strength


RATE = RateType()
TIME = TimeType()
STRENGTH = StrengthType(0.0, 2.0)


cache_option = click.option(
    "--cache-dir", type=PathType(file_okay=False), metavar="DIR",
    help="Keep compiled networks here; in the user's cache folder if not given.",
)


once_option = click.option(
    "--once", is_flag=True,
    help="Look at each photo once, not a second time in a mirror: half the time, a little more rain stays.",
)


def network_options(command: Decorated) -> Decorated:
    """Add --profile --device --model --strength --backend --precision --cache-dir, the arguments of a Derainer."""
    for option in reversed((
        click.option("--profile", type=click.Choice(PROFILES), default="auto", show_default=True,
                     help="Size of the network; auto follows the device, and is realtime for photos."),
        click.option("--device", default="auto", show_default=True, metavar="NAME",
                     help="Where the network runs: auto, cpu, cuda or cuda:N."),
        click.option("--model", type=PathType(), metavar="FILE",
                     help="Weights of your own (.safetensors) instead of those that come with the package."),
        click.option("--strength", type=STRENGTH, default=1.0, show_default=True,
                     help="How much of the rain layer is taken away: 0 nothing, 1 all of it, up to 2."),
        click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True,
                     help="What runs the network; auto is the fastest that is here and proves right."),
        click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
                     help="Numbers that the network computes with; auto is the fastest that keeps its quality."),
        cache_option,
    )):
        command = option(command)
    return command


def photo_profile(profile: str) -> str:
    """The profile for photos: nobody waits for the next one, so auto is the larger network on a CPU too."""
    return "realtime" if profile == "auto" else profile


def check_model_file(model: Path | None) -> None:
    """Refuse a model that is not there, before anything heavy is imported.

    Raises:
        DerainError: the path is given and is no file.
    """
    if model is not None and not model.is_file():
        reason = "is a folder" if model.is_dir() else "does not exist"
        raise DerainError(f"model {model} {reason}; give a .safetensors file or leave --model out.")
