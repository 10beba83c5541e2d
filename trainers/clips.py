"""Clean material on disk, one uncompressed array for each clip, mapped into memory by every worker."""
from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

INDEX = "clips.json"


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one shot; a photo is a clip of one frame.

    Attributes:
        name: where it came from.
        frames: (T, H, W, 3) uint8 RGB, read-only, mapped from disk.
    """

    name: str
    frames: np.ndarray


def write_clips(folder: Path, clips: Iterable[tuple[str, np.ndarray]]) -> int:
    """Store clips for read_clips.

    Args:
        folder: made if missing.
        clips: pairs of a name and (T, H, W, 3) uint8 RGB.

    Returns:
        How many clips were written. The index comes last: a folder without one is unfinished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
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
    return [Clip(name, np.load(folder / f"{n:05d}.npy", mmap_mode="r")) for n, name in enumerate(names)]
