"""Gathers what a training learns from: folders of photos, picture sequences and videos become shots on disk."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from streamderain import photos
from streamderain.core import colour, matching
from streamderain.core.matching import SearchSettings
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.trainers.clips import INDEX, write_clips
from streamderain.video import open_video

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts", ".y4m"}
SHOT_FRAMES = 150  # a longer shot is cut: its scene is known by then
SHORTEST_SIDE = 32
SAME_SCENE = SearchSettings(radius=16)


@dataclass(slots=True)
class Material:
    """What was found.

    Attributes:
        photos, shots, frames: pictures that stand alone, sequences, and frames in all of them.
        skipped: files that could not be used, one line each.
    """

    photos: int = 0
    shots: int = 0
    frames: int = 0
    skipped: list[str] = field(default_factory=list)


def gather(folder: Path, into: Path, *, say: Callable[[str], None] = lambda line: None) -> Material:
    """Turn every picture and video under a folder into shots that a training maps into memory.

    Pictures of one folder that follow one another and match (core/matching.py) are frames of one shot, so that a
    folder may hold photos or a numbered sequence; videos are split at their cuts in the same way.

    Args:
        folder: searched with everything below it.
        into: where the shots are written; replaced.
        say: told about each file that cannot be used.

    Raises:
        DerainError: no such folder, or nothing in it can be used.
    """
    if not folder.is_dir():
        raise DerainError(f"{folder} is not a folder; give one that holds pictures or videos")
    found = Material()

    def shots() -> Iterator[tuple[str, np.ndarray]]:
        for name, frames in _sequences(folder, found, say):
            for shot in split_shots(frames):
                found.photos += len(shot) == 1
                found.shots += len(shot) > 1
                found.frames += len(shot)
                yield name, np.stack(shot)

    (into / INDEX).unlink(missing_ok=True)
    if not write_clips(into, shots()):
        raise DerainError(f"{folder} holds no picture or video that can be read; give another one")
    return found


def split_shots(frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Split (H, W, 3) uint8 frames where the next one shows another scene or has another size."""
    shot: list[np.ndarray] = []
    for frame in frames:
        if shot and (len(shot) == SHOT_FRAMES or not _same_scene(shot[-1], frame)):
            yield shot
            shot = []
        shot.append(frame)
    if shot:
        yield shot


def _same_scene(before: np.ndarray, after: np.ndarray) -> bool:
    if before.shape != after.shape:
        return False
    guides = [matching.make_guide(np.ascontiguousarray(frame[..., 1])) for frame in (before, after)]
    return not matching.is_cut(matching.search(guides[1], guides[0], SAME_SCENE), SAME_SCENE)


def _sequences(folder: Path, found: Material, say: Callable[[str], None]) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """Each folder's pictures in their order, and each video."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))

    def usable(paths: Iterable[Path], frames_of: Callable[[Path], Iterable[Frame]]) -> Iterator[np.ndarray]:
        for path in paths:
            try:
                for frame in frames_of(path):
                    if min(frame.height, frame.width) < SHORTEST_SIDE:
                        raise DerainError(f"{path} is smaller than {SHORTEST_SIDE} pixels")
                    yield colour.to_rgb(frame.planes, frame.format).transpose(1, 2, 0)
            except DerainError as error:
                found.skipped.append(str(error))
                say(f"skipped: {error}")

    pictures = [path for path in files if path.suffix.lower() in PICTURES]
    for parent, group in itertools.groupby(pictures, lambda path: path.parent):
        yield str(parent.relative_to(folder)), usable(group, lambda path: [photos.read(path)])
    for path in files:
        if path.suffix.lower() in VIDEOS:
            yield str(path.relative_to(folder)), usable([path], _video_frames)


def _video_frames(path: Path) -> Iterator[Frame]:
    source = open_video(path)
    try:
        yield from source
    finally:
        source.close()
