"""Clean material on disk, one uncompressed array for each clip, mapped into memory by every worker."""
from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

INDEX = "clips.json"


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one shot; a photo is a clip of one frame.

    Attributes:
        name: where it came from.
        frames: (T, H, W, 3) uint8 RGB, read-only, mapped from disk.
        path: of the file that frames is mapped from; None where it is in memory.
    """

    name: str
    frames: np.ndarray
    path: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes the path and not the pixels: it maps the same file."""
        return (_mapped, (self.name, self.path)) if self.path else (Clip, (self.name, self.frames))


def write_clips(folder: Path, clips: Iterable[tuple[str, np.ndarray]]) -> int:
    """Store clips for read_clips.

    Args:
        folder: made if missing.
        clips: pairs of a name and (T, H, W, 3) uint8 RGB.

    Returns:
        How many clips were written. The index comes last: a folder without one is unfinished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for name, frames in clips:
        np.save(folder / f"{len(names):05d}.npy", np.ascontiguousarray(frames))
        names.append(name)
    (folder / INDEX).write_text(json.dumps(names))
    return len(names)


def read_clips(folder: Path) -> list[Clip]:
    """Map the clips of a folder.

    Raises:
        FileNotFoundError: the folder has no index, so it was never finished.
    """
    names = json.loads((folder / INDEX).read_text())
    return [_mapped(name, folder / f"{n:05d}.npy") for n, name in enumerate(names)]


def _mapped(name: str, path: Path) -> Clip:
    return Clip(name, np.load(path, mmap_mode="r"), path)
