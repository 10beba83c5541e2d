"""What happened in a training: a line of JSON every few steps, and TensorBoard where it is installed."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .loop import Progress

FILE = "log.jsonl"


class Log:
    """The log of one run; at its first step it forgets what an earlier run logged for this step and those after it.

    Args:
        out: the run's folder.
        every: steps between two lines; a step with scores always has one.

    Attributes:
        tensorboard: whether it is installed and written as well.
    """

    def __init__(self, out: Path, *, every: int = 10) -> None:
        self._every, self._out = every, out
        self._file: TextIO | None = None
        self._writer, self._board = _summary_writer(), None
        self.tensorboard = self._writer is not None

    def step(self, progress: Progress) -> None:
        """Log a step, if it is its turn."""
        file = self._file or self._begun(progress.step)
        if progress.scores is None and progress.step % self._every:
            return
        figures = {
            **{f"loss/{name}": value for name, value in progress.losses.items()},
            **{f"watch/{name}": value for name, value in progress.watched.items()},
            **{f"score/{name}": value for name, value in (progress.scores or {}).items()},
        }
        file.write(json.dumps({"step": progress.step, **figures}) + "\n")
        file.flush()
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, progress.step)

    def picture(self, name: str, rgb: np.ndarray, step: int) -> None:
        """Show a picture (H, W, 3) uint8 in TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, rgb, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def _begun(self, step: int) -> TextIO:
        """The file, opened now that the step is known which the run really went on with."""
        path = self._out / FILE
        _forget_from(path, step)
        self._file = path.open("a", encoding="utf-8")
        if self._writer is not None:
            self._board = self._writer(str(self._out / "tensorboard"), purge_step=step if step > 1 else None)
        return self._file


def read(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, oldest first; one that a kill cut off is left out."""
    path = out / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def _forget_from(path: Path, step: int) -> None:
    kept = [entry for entry in read(path.parent) if entry["step"] < step]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
    os.replace(temporary, path)


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter
