"""Gathers what a training learns from: photos, picture sequences, videos and pairs become shots on disk."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from streamderain import photos
from streamderain.core import colour, matching
from streamderain.core.matching import SearchSettings
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.pairs import pair_pictures
from streamderain.trainers.clips import INDEX, write_clips
from streamderain.video import open_video

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts", ".y4m"}
SHOT_FRAMES = 150  # a longer shot is cut: its scene is known by then
SHORTEST_SIDE = 32
GLANCE = 320  # pixels of the longer side that are enough to tell one scene from another
SAME_SCENE = SearchSettings(radius=12)


@dataclass(slots=True)
class Material:
    """What was found.

    Attributes:
        photos, shots, frames: pictures that stand alone, sequences, and frames in all of them.
        smallest, largest: (width, height) of the smallest and largest frames by area.
        skipped: files that could not be used, one line each.
    """

    photos: int = 0
    shots: int = 0
    frames: int = 0
    smallest: tuple[int, int] = (0, 0)
    largest: tuple[int, int] = (0, 0)
    skipped: list[str] = field(default_factory=list)

    def add(self, shot: np.ndarray) -> None:
        """Count a shot (T, H, W, 3)."""
        self.photos += len(shot) == 1
        self.shots += len(shot) > 1
        self.frames += len(shot)
        size = shot.shape[2], shot.shape[1]
        sizes = [size, *(each for each in (self.smallest, self.largest) if any(each))]
        self.smallest = min(sizes, key=lambda each: each[0] * each[1])
        self.largest = max(sizes, key=lambda each: each[0] * each[1])

    def __str__(self) -> str:
        """What was found, in a few words."""
        (w, h), (wide, high) = self.smallest, self.largest
        words = f"{self.photos} photos and {self.shots} shots, {self.frames} frames of {w}x{h} to {wide}x{high}"
        return words + (f"; {len(self.skipped)} files skipped" if self.skipped else "")


def gather(folders: Sequence[Path], into: Path, *, say: Callable[[str], None] = lambda line: None) -> Material:
    """Turn every picture and video under some folders into shots that a training maps into memory.

    Pictures of one folder that follow one another and match (core/matching.py) are frames of one shot, so that a
    folder may hold photos or a numbered sequence; videos are split at their cuts in the same way.

    Args:
        folders: searched with everything below them.
        into: where the shots are written; replaced.
        say: told about each file that cannot be used.

    Raises:
        DerainError: no such folder, or nothing in them can be used.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DerainError(f"{folder} is not a folder; give one that holds pictures or videos")
    found = Material()

    def shots() -> Iterator[tuple[str, np.ndarray]]:
        for folder in folders:
            for name, frames in _sequences(folder, found, say):
                for shot in map(np.stack, split_shots(frames)):
                    found.add(shot)
                    yield f"{folder.name}/{name}", shot

    (into / INDEX).unlink(missing_ok=True)
    if not write_clips(into, shots()):
        named = " and ".join(map(str, folders))
        raise DerainError(f"{named} holds no picture or video that can be read; give another one")
    return found


def gather_pairs(rainy: Path, clean: Path, into: Path) -> Material:
    """Turn two folders of pictures into pairs: clips of two frames, the rainy one first.

    Args:
        rainy, clean: matched by name, see streamderain.pairs.
        into: where the pairs are written; replaced.

    Raises:
        DerainError: pictures without partner, unreadable ones, or two sizes in a pair.
    """
    found, pairs = Material(), pair_pictures(rainy, clean)

    def shots() -> Iterator[tuple[str, np.ndarray]]:
        for paths in pairs:
            sides = [_rgb(photos.read(path)) for path in paths]
            if sides[0].shape != sides[1].shape:
                raise DerainError(f"{paths[0]} and {paths[1]} differ in size; give both in one")
            found.add(np.stack(sides))
            yield paths[0].name, np.stack(sides)

    (into / INDEX).unlink(missing_ok=True)
    write_clips(into, shots())
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
    guides = [matching.make_guide(_glance(frame)) for frame in (before, after)]
    return not matching.is_cut(matching.search(guides[1], guides[0], SAME_SCENE), SAME_SCENE)


def _glance(frame: np.ndarray) -> np.ndarray:
    """The green of a frame, small: a search over all pixels of a long video would take minutes."""
    green = np.ascontiguousarray(frame[..., 1])
    share = GLANCE / max(green.shape)
    if share >= 1:
        return green
    H, W = (max(1, round(side * share)) for side in green.shape)  # a strip keeps a row
    return cv2.resize(green, (W, H), interpolation=cv2.INTER_AREA)


def _rgb(frame: Frame) -> np.ndarray:
    """(H, W, 3) uint8."""
    return colour.to_rgb(frame.planes, frame.format).transpose(1, 2, 0)


def _sequences(folder: Path, found: Material, say: Callable[[str], None]) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """Each folder's pictures in their order, and each video."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))

    def usable(paths: Iterable[Path], frames_of: Callable[[Path], Iterable[Frame]]) -> Iterator[np.ndarray]:
        for path in paths:
            try:
                for frame in frames_of(path):
                    if min(frame.height, frame.width) < SHORTEST_SIDE:
                        raise DerainError(f"{path} is smaller than {SHORTEST_SIDE} pixels")
                    yield _rgb(frame)
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
