"""What is measured on, and everything that is measured for one size: one report for each network and backend."""
from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamderain import scene
from streamderain.bench.file import Clip, measure_file
from streamderain.bench.machine import machine
from streamderain.bench.network import Networks
from streamderain.bench.path import measure_path
from streamderain.bench.rainless import Rainless
from streamderain.bench.search import measure_search
from streamderain.core.colour import to_rgb
from streamderain.derainer import Derainer
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.video import open_video

Tell = Callable[[str], None]

KEPT_FRAMES = 16  # held in memory, for what is measured without codecs
FILE_SECONDS = 20.0  # a slow network is given less of the file
FEWEST_FILE_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to measure.

    Attributes:
        model: its weight file.
        weights: "trained", or "fresh" where there are no trained ones yet: they take the same time.
    """

    model: Path
    weights: str = "trained"


@dataclass(frozen=True, slots=True)
class Scene:
    """What is measured on.

    Attributes:
        name: for the report.
        path: the video for the runs from file to file.
        times: seconds of its first frames, as many as are used, and of one more where there are more.
        count: how many frames are used.
        frames: the first of them, at least 3.
    """

    name: str
    path: Path
    times: list[float]
    count: int
    frames: list[Frame]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.frames[0].width, self.frames[0].height

    def beginning(self, frames: int) -> Clip:
        """The first frames of the video; its end is amid an interval, so that no rounding adds or takes a frame."""
        frames = min(frames, self.count)
        if frames >= len(self.times):
            return Clip(self.path, frames, None)
        return Clip(self.path, frames, (self.times[frames] + self.times[frames - 1]) / 2 - self.times[0])


def drawn_scene(size: tuple[int, int], count: int, folder: Path) -> Scene:
    """Draw a street in rain and keep it as a video in the folder."""
    clip = folder / f"scene{size[0]}x{size[1]}.mp4"
    scene.write_clip(clip, (rainy for rainy, _ in scene.draw(*size, count)))
    return opened_scene(clip, count, name="drawn")


def opened_scene(path: Path, count: int, *, name: str | None = None) -> Scene:
    """The first frames of a video.

    Raises:
        DerainError: it does not open, or has fewer than 3 frames.
    """
    kept: list[Frame] = []
    times: list[float] = []
    source = open_video(path)
    try:
        for frame in source:
            if len(kept) < KEPT_FRAMES:
                kept.append(frame)
            times.append(float((frame.pts or 0) * frame.time_base))
            if len(times) > count:
                break
    finally:
        source.close()
    if len(kept) < 3:
        raise DerainError(f"{path} has {len(kept)} frames; give a video of at least 3.")
    return Scene(name or str(path), path, times, min(count, len(times)), kept)


def measure(
    scene: Scene, subjects: Sequence[Subject], device: str, backends: Sequence[str], folder: Path, *,
    precision: str = "auto", tell: Tell, lenient: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure everything on one scene.

    Args:
        scene: what is measured on.
        subjects: the networks.
        device: as a Derainer takes it.
        backends: as an Engine takes them; one that turns out to be another of them is measured once.
        folder: where files may be written.
        precision: as an engine takes it, for all of them.
        tell: takes one line of what is going on.
        lenient: leave out, and say so, a backend that does not work here.

    Returns:
        One report for each subject and backend, see docs/speed.md.

    Raises:
        DerainError: a backend does not work here, and not `lenient`.
    """
    size = f"{scene.size[0]}x{scene.size[1]}"
    tell(f"{size}: search")
    search = _search(scene, device)
    tell(f"{size}: networks, the published one among them")
    networks = Networks(scene.frames, device, tell)
    pairs = _add_all(networks, subjects, backends, precision, tell if lenient else None)
    figures = networks.measure()
    del networks  # so that what follows does not count their memory as its own
    gc.collect()
    reports = []
    for (subject, backend), found in zip(pairs, figures, strict=True):
        found["network"]["weights"] = subject.weights
        tell(f"{size}: {subject.model.stem}, {found['network']['backend']}, frame by frame and file to file")
        reports.append({
            "size": list(scene.size), "source": scene.name, "device": device, **found, "search": search,
            **_runs(scene, folder, model=subject.model, device=device, backend=backend, precision=precision, tell=tell),
            "machine": machine(device),
        })  # fmt: skip
    return reports


def _search(scene: Scene, device: str) -> dict[str, Any]:
    gpu, rgb = None, [to_rgb(frame.planes, frame.format) for frame in scene.frames]
    if device.startswith("cuda"):  # elsewhere Numba need not look for its compiler
        from streamderain.bench import gpu_search

        gpu = gpu_search.measure_gpu_search(rgb, device)
    return {**measure_search(rgb).as_dict(), "gpu": gpu}


def _add_all(
    networks: Networks, subjects: Sequence[Subject], backends: Sequence[str], precision: str, leave_out: Tell | None
) -> list[tuple[Subject, str]]:
    """Add each subject on each backend; the pairs that are to be measured. One that fails is left out where allowed."""
    pairs = []
    for subject in subjects:
        for backend in backends:
            try:
                if networks.add(subject.model, backend, precision):
                    pairs.append((subject, backend))
            except DerainError as error:
                if leave_out is None:
                    raise
                leave_out(f"{backend} is left out: {error}")
    if not pairs:
        raise DerainError("no backend works here with what was asked for; leave --precision out")
    return pairs


def _runs(scene: Scene, folder: Path, *, backend: str, **options: Any) -> dict[str, Any]:
    """Whole frames in memory, then whole files; the options are a Derainer's."""
    whole = Derainer(backend=backend, **options)
    path = measure_path(whole, scene.frames, count=scene.count)
    frames = max(FEWEST_FILE_FRAMES, round(FILE_SECONDS * path["fps"]))
    rest = Rainless(backend="eager", **options)  # whose network is not run: so none need be built
    return {"path": path, **measure_file(scene.beginning(frames), folder, whole, rest)}
