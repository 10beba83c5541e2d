"""Which weights are here, and what is known of them."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamderain import weights
from streamderain.core.checkpoint import CheckpointError, digest, load_generator
from streamderain.core.stream import mac_per_pixel
from streamderain.errors import DerainError

RUNS = Path("runs")  # where the examples put trainings
SUFFIX = ".safetensors"
HUGE = 1e9  # from here on a number is no score


@dataclass(frozen=True, slots=True)
class Model:
    """A weight file that a Derainer takes.

    Attributes:
        path: as it was found.
        shipped: whether it came with the package.
        method: what trained it, None where its card does not say.
        profile: its name for a run; of a published network the method's.
        family: which kind of network.
        size_bytes: on disk.
        parameters: trained numbers.
        mac_per_pixel: multiply-accumulates of its convolutions for one pixel.
        scores: "validation" in dB, and what else the card has, by name.
        sha256: of the file, hexadecimal.
        card: how it was made, as it stands in the file.
    """

    path: Path
    shipped: bool
    method: str | None
    profile: str
    family: str
    size_bytes: int
    parameters: int
    mac_per_pixel: int
    scores: dict[str, float]
    sha256: str
    card: dict[str, Any]


def list_models(paths: Sequence[Path] = ()) -> list[Model]:
    """The weights that come with the package, then those of yours.

    Args:
        paths: weight files, and folders that are searched with all below them; RUNS where none is given. In folders,
            states of trainings and whatever else is no generator are passed over.

    Returns:
        Each file once, in the order of the paths and of names below them.

    Raises:
        DerainError: a path does not exist, or a file that was named cannot be used.
    """
    shipped = [describe(weights.FOLDER / f"{profile}{SUFFIX}", shipped=True) for profile in weights.present()]
    found, known = shipped, {model.path.resolve() for model in shipped}
    for model in _local(paths or ([RUNS] if RUNS.is_dir() else [])):
        if model.path.resolve() not in known:
            known.add(model.path.resolve())
            found.append(model)
    return found


def describe(path: Path, *, shipped: bool = False) -> Model:
    """Load a weight file as a run would and say what it is.

    Raises:
        DerainError: it cannot be used.
    """
    try:
        network, metadata = load_generator(path)
    except CheckpointError as error:
        raise DerainError(str(error)) from None
    card = metadata.get("card")
    card = _plain(card) if isinstance(card, dict) else {}
    return Model(
        path=path,
        shipped=shipped,
        method=str(card["method"]) if card.get("method") else None,
        profile=str(metadata["profile"]),
        family=metadata["family"],
        size_bytes=path.stat().st_size,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        mac_per_pixel=round(mac_per_pixel(network, channels=network.in_channels)),
        scores=_scores(card),
        sha256=digest(path),
        card=card,
    )


def _local(paths: Sequence[Path]) -> Iterator[Model]:
    for path in paths:
        if path.is_dir():
            yield from _below(path)
        elif path.exists():
            yield describe(path)
        else:
            raise DerainError(f"{path} does not exist; give a {SUFFIX} file or a folder of them")


def _below(folder: Path) -> Iterator[Model]:
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        if path.stem.partition("-")[0] == "training" or "state" in path.relative_to(folder).parts[:-1]:
            continue
        try:
            yield describe(path)
        except DerainError:
            continue


def _scores(card: dict[str, Any]) -> dict[str, float]:
    more = card.get("scores")
    named = {"validation": card.get("score"), **(more if isinstance(more, dict) else {})}
    named.pop("score", None)  # the validation's again
    return {name: float(value) for name, value in named.items() if type(value) in (int, float) and abs(value) < HUGE}


def _plain(value: Any) -> Any:
    """The same JSON value with None in the place of NaN and infinity, which JSON has no words for."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
