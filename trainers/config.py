"""Settings of a training: dataclasses in sections, dotted keys, TOML; a mistyped key names the nearest right one."""
from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True, slots=True)
class TrainConfig:
    """train.*: how long, and what is kept.

    Attributes:
        steps: optimiser steps in all; None takes epochs + decay_epochs over the data. The schedule stretches with it.
        batch_size: samples for each step and process.
        epochs: of the paper's schedule; decay_epochs are those of the linear decline after them.
        decay_epochs: see epochs.
        schedule: "linear" is constant, then a decline in steps of an epoch; "steps" falls by factor at each milestone;
            "cosine" rises for warmup steps and falls to a hundredth.
        milestones: epochs, of "steps".
        factor: of "steps".
        warmup: steps, of "cosine".
        clip: largest norm of a player's gradient; 0 does not look at it.
        ema: decay of the moving average that is scored and saved; 0 takes the weights as they are.
        bf16: autocast the networks to bfloat16; losses stay in float32.
        checkpoint_every: steps between writing the state, and between scores.
        workers: processes that make samples; 0 makes them in the loop.
        seed: of initialisation, data and all chance.
        device: where to train.
    """

    steps: int | None = None
    batch_size: int = 1
    epochs: int = 200
    decay_epochs: int = 10
    schedule: Literal["linear", "steps", "cosine"] = "linear"
    milestones: tuple[int, ...] = ()
    factor: float = 0.2
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0
    bf16: bool = False
    checkpoint_every: int = 500
    workers: int = 0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "checkpoint_every", *(("steps",) if self.steps is not None else ())):
            at_least(name, getattr(self, name), 1)
        for name in ("decay_epochs", "warmup", "clip", "workers", "seed"):
            at_least(name, getattr(self, name), 0)
        if self.seed >= 2**63:
            raise ValueError(f"seed is {self.seed}; it must be less than 2^63")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must be 0 or more and less than 1")


@dataclasses.dataclass(frozen=True, slots=True)
class OptimConfig:
    """optim.*: Adam.

    Attributes:
        lr: of the networks.
        betas: decay of its two averages.
        head_lr: of the projection heads; None takes lr.
        disc_lr: of the discriminators; None takes lr.
        weight_decay: decoupled (AdamW) where not 0.
    """

    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    head_lr: float | None = None
    disc_lr: float | None = None
    weight_decay: float = 0.0


def configured(kind: type[Config], *sources: Mapping[str, Any]) -> Config:
    """Build a configuration from keys and values, later sources winning.

    Args:
        kind: a dataclass whose fields are dataclasses (the sections).
        sources: dotted keys ("optim.lr"), or their last part alone where it is unambiguous, to values of the field's
            type or to text that says one ("0.5,0.999" for a pair).

    Raises:
        ValueError: an unknown or ambiguous key, or a value that its field does not take.
    """
    values: dict[str, Any] = {}
    for source in sources:
        for key, value in source.items():
            name = resolve(kind, key)
            values[name] = _as(_hints(kind)[name], value, name)
    defaults = kind()
    sections = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # TypeVar of any dataclass
        own = {k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{field.name}.")}
        sections[field.name] = dataclasses.replace(getattr(defaults, field.name), **own)
    return kind(**sections)


def resolve(kind: type, key: str) -> str:
    """The full dotted key that a key means.

    Raises:
        ValueError: none or several.
    """
    known = _hints(kind)
    if key in known:
        return key
    matching = [name for name in known if name.partition(".")[2] == key.rpartition(".")[2] and "." not in key]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ValueError(f"{key} is ambiguous; write {' or '.join(matching)}")
    near = difflib.get_close_matches(key, [*known, *(name.partition(".")[2] for name in known)], 1)
    raise ValueError(f"there is no setting {key}" + (f"; did you mean {near[0]}?" if near else ""))


def as_dict(config: Any) -> dict[str, Any]:
    """Dotted keys and plain JSON values of all fields, as `configured` takes them back."""
    flat = {}
    for section in dataclasses.fields(config):
        part = getattr(config, section.name)
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            flat[f"{section.name}.{field.name}"] = list(value) if isinstance(value, tuple) else value
    return flat


def read_toml(path: Path) -> dict[str, Any]:
    """A file of settings: tables for the sections, or dotted keys.

    Raises:
        ValueError: the file cannot be read, or is no TOML.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path} is no readable TOML file ({error})") from None
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def at_least(name: str, value: float, least: float) -> None:
    """Raise ValueError where a setting is too small."""
    if value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}")


def above(name: str, value: float, bound: float) -> None:
    """Raise ValueError where a setting must be more than its bound."""
    if value <= bound:
        raise ValueError(f"{name} is {value}; it must be above {bound:g}")


def share(name: str, value: float) -> None:
    """Raise ValueError where a setting is no part of a whole."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it must be a share, from 0 to 1")


def not_empty(name: str, value: tuple[Any, ...]) -> None:
    """Raise ValueError where a setting must list something."""
    if not value:
        raise ValueError(f"{name} is empty; it must name at least one")


def multiple_of(name: str, value: int, unit: int) -> None:
    """Raise ValueError where a network that halves its picture some times cannot take a size."""
    if value % unit:
        raise ValueError(f"{name} is {value}; it must be a multiple of {unit}, such as {value // unit * unit or unit}")


def _hints(kind: type) -> dict[str, Any]:
    """Every dotted key and its type."""
    found: dict[str, Any] = {}
    for section, part in get_type_hints(kind).items():
        found |= {f"{section}.{name}": hint for name, hint in get_type_hints(part).items()}
    return found


def _as(hint: Any, value: Any, name: str) -> Any:
    """The value in the type of its field."""
    try:
        return _converted(hint, value)
    except (TypeError, ValueError, OverflowError):  # the last: infinity as a whole number
        raise ValueError(f"{name} is {value!r}; it must be {_words(hint)}") from None


def _converted(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(arguments, value)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
        kinds = [arguments[0]] * len(parts) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(_converted(each, part) for each, part in zip(kinds, parts, strict=True))
    elif hint is bool:
        if isinstance(value, bool) or str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
    elif hint is type(None):
        if value is None or value == "none":
            return None
    elif hint in (int, float):
        if hint is int and isinstance(value, (int, str)) and not isinstance(value, bool):
            return int(value)  # exact, however large
        if not isinstance(value, bool):
            number = hint(value)
            if number == float(value):  # int(2.5) would pass in silence; nan fails too
                return number
    elif isinstance(value, hint):
        return value
    raise ValueError(value)


def _first_that_fits(kinds: tuple[Any, ...], value: Any) -> Any:
    for kind in kinds:
        try:
            return _converted(kind, value)
        except (TypeError, ValueError, OverflowError):
            continue
    raise ValueError(value)


def _words(hint: Any) -> str:
    """A type as a person would say it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, arguments))
    if origin is tuple:
        each = _words(arguments[0])
        return f"a list of {each}" if arguments[-1] is Ellipsis else f"{len(arguments)} times {each}, with commas"
    words: dict[Any, str] = {
        bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "none",
    }  # fmt: skip
    return words.get(hint, str(hint))
