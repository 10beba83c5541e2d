"""What a training that goes on must have in common with its beginning, which lies in its folder."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streamderain.core.checkpoint import CheckpointError, load_tensors
from streamderain.errors import DerainError
from streamderain.trainers import state
from streamderain.trainers.loop import LAST

SETTINGS = "config.json"
FREE = {"train.device", "train.workers", "train.checkpoint_every"}  # may differ from those the run began with
Sources = dict[str, list[str]]


def steps(out: Path) -> int | None:
    """The steps in all of the run that lies in a folder; None where none does."""
    return _settings(out).get("train.steps")


def refuse_others(
    out: Path, method: str, config: dict[str, Any], folders: Sources, known: dict[str, list[str] | None]
) -> None:  # fmt: skip
    """Compare a run with the unfinished one in its folder, if there is one.

    Args:
        out: the folder.
        method: its name.
        config: settings by their dotted keys; steps may be None, which are those the run began with.
        folders: "rainy" and "clean" to the absolute paths given now.
        known: those that each side was gathered from; None where it was not.

    Raises:
        DerainError: something differs.
    """
    settings = _settings(out)
    if not settings:
        return
    began: dict[str, Any] = {"method": _method(out) or method}
    now: dict[str, Any] = {"method": method}
    for key, value in config.items():
        if key in settings and key not in FREE and (key != "train.steps" or value is not None):
            began[key], now[key] = settings[key], value
    for side, given in folders.items():
        if known[side] is not None:
            began[f"--{side}"], now[f"--{side}"] = known[side], given
    for key, value in now.items():
        if began[key] != value:
            was, given_now = ("none" if each is None else each for each in (began[key], value))
            raise DerainError(f"{out} was begun with {key} = {was}, not {given_now}; give that again, or another --out")


def _settings(out: Path) -> dict[str, Any]:
    """Settings of the run in a folder; empty where no state waits for being continued."""
    path = out / SETTINGS
    if not path.is_file() or not state.found(out):
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise DerainError(f"{path} cannot be read; give another --out to begin anew")
    return found


def _method(out: Path) -> str | None:
    """The method whose weights lie in a folder; None where that cannot be told."""
    try:
        card = load_tensors(out / LAST)[1].get("card", {})
    except CheckpointError:
        return None
    return card.get("method") if isinstance(card, dict) else None
