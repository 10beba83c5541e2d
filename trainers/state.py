"""The state of an unfinished training on disk: whole or not there, the last three kept."""
from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from streamderain.core.checkpoint import CheckpointError, load_tensors, save_tensors

FOLDER = "state"
KEPT = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run needs to go on as if it had never stopped; chance needs nothing, it belongs to the samples.

    Attributes:
        tensors: "networks.*", "average.*" and "optimiser.N.M.*" for parameter M of optimiser N.
        step: steps done.
        best: best score so far; minus infinity before the first.
    """

    tensors: dict[str, Tensor]
    step: int
    best: float

    @classmethod
    def of(
        cls, networks: nn.Module, optimisers: list[torch.optim.Optimizer], average: dict[str, Tensor], *, step: int,
        best: float,
    ) -> Snapshot:  # fmt: skip
        """Take one; the tensors are those of the run, not copies."""
        tensors = {f"networks.{name}": value for name, value in networks.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in average.items()}
        for n, optimiser in enumerate(optimisers):
            for m, state in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{n}.{m}.{name}": value for name, value in state.items()}
        return cls(tensors, step, best)

    def restore(
        self, networks: nn.Module, optimisers: list[torch.optim.Optimizer], average: dict[str, Tensor]
    ) -> None:
        """Put everything back in its place.

        Raises:
            CheckpointError: it is of other networks.
        """
        _fill(networks.state_dict(), self._part("networks"))
        _fill(average, self._part("average"))
        for n, optimiser in enumerate(optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in self._part(f"optimiser.{n}").items():
                number, _, key = name.partition(".")
                state.setdefault(int(number), {})[key] = value
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state, "param_groups": groups})

    def _part(self, prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}


def save(out: Path, snapshot: Snapshot) -> None:
    """Write a snapshot beside those before it, then remove all but the last three.

    Raises:
        OSError: the disk refuses.
    """
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    best = snapshot.best if math.isfinite(snapshot.best) else None
    path = folder / f"training-{snapshot.step:08d}.safetensors"
    save_tensors(path, snapshot.tensors, {"step": snapshot.step, "best": best})
    for old in found(out)[KEPT:]:
        old.unlink(missing_ok=True)


def load_newest(out: Path, say: Callable[[str], None]) -> Snapshot | None:
    """The newest snapshot that can be read; None where there is none.

    Args:
        out: of the run.
        say: told about one that cannot be read and is passed over.

    Raises:
        CheckpointError: there are some, and none can be read.
    """
    paths = found(out)
    for path in paths:
        try:
            tensors, metadata = load_tensors(path, bounded=False)
            best = metadata["best"]
            return Snapshot(tensors, int(metadata["step"]), -math.inf if best is None else float(best))
        except (CheckpointError, KeyError, TypeError, ValueError) as error:
            reason = error if isinstance(error, CheckpointError) else f"{path} is no state of a training"
            if path == paths[-1]:
                raise CheckpointError(f"{reason}; give another --out to begin anew") from None
            say(f"{reason}; going on from the one before")
    return None


def found(out: Path) -> list[Path]:
    """Paths of the snapshots of a run, newest first."""
    names = re.compile(r"training-\d{8,}\.safetensors")
    folder = out / FOLDER
    paths = (path for path in folder.iterdir() if names.fullmatch(path.name)) if folder.is_dir() else ()
    return sorted(paths, key=lambda path: int(path.stem.partition("-")[2]), reverse=True)


def _fill(target: dict[str, Tensor], source: dict[str, Tensor]) -> None:
    shapes = {name: value.shape for name, value in target.items()}
    if {name: value.shape for name, value in source.items()} != shapes:
        raise CheckpointError("the state is of other networks; give another --out to begin anew")
    with torch.no_grad():
        for name, value in source.items():
            target[name].copy_(value)
