"""From file to file: the whole run, the run without its network, and FFmpeg's copies of the same file, in turns."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from streamderain import containers
from streamderain.bench import transcode
from streamderain.bench.memory import peak_memory
from streamderain.bench.timing import Times, timed
from streamderain.derain_file import FileJob, FileOptions
from streamderain.derainer import Derainer
from streamderain.report import Report
from streamderain.video import ffmpeg_version

ROUNDS = 3
ENCODER = "libx264"


@dataclass(frozen=True, slots=True)
class Clip:
    """The part of a video that is measured on.

    Attributes:
        path: the video.
        frames: how many of its frames.
        seconds: how long these last, for a run of ours; None where they are all.
    """

    path: Path
    frames: int
    seconds: float | None


def measure_file(clip: Clip, folder: Path, whole: Derainer, rest: Derainer) -> dict[str, Any]:
    """Derain and copy a file, A B C D, A B C D, ...; each time counts from opening both ends to the finished file.

    All use the CPU's decoder and one encoder of the CPU; on a GPU the whole run is measured with its own choice too.

    Args:
        clip: what is read; its sound is left out of the copies.
        folder: where outputs may be written.
        whole: warmed up.
        rest: the same but for its network, see Rainless.

    Returns:
        "end_to_end": the whole run of median speed, by its own report (fps, frames, seconds, ms_per_stage, decoder,
        encoder; memory is that of all contenders). "copies": for each contender ms and best_ms of one frame, and how
        many times as long as a copy our runs took, see `ratios`.
    """
    reports: list[Report] = []
    codecs = FileOptions(
        encoder=ENCODER, decoder="cpu", device=str(whole.device), duration=clip.seconds, overwrite=True
    )
    run = partial(_derain, clip, folder / "bench.mp4")
    contenders = _copiers(clip, folder / "copy.mp4")
    contenders["without_network"] = partial(run, rest, codecs, [])
    if str(whole.device) == "cpu":
        contenders["whole"] = partial(run, whole, codecs, reports)
    else:
        contenders["whole"] = partial(run, whole, codecs, [])
        contenders["own_codecs"] = partial(run, whole, replace(codecs, encoder="auto", decoder="auto"), reports)
    ms: dict[str, list[float]] = {name: [] for name in contenders}
    with peak_memory(str(whole.device)) as memory:
        for _ in range(ROUNDS):
            for name, work in contenders.items():
                ms[name].append(timed(work)[1] / clip.frames)
    report = sorted(reports, key=lambda each: each.fps)[len(reports) // 2]
    return {
        "end_to_end": {
            "fps": report.fps, "frames": report.frames_out, "seconds": report.seconds,
            "ms_per_stage": report.ms_per_stage, "decoder": report.decoder, "encoder": report.encoder,
            "memory": memory,
        },
        "copies": {
            "encoder": ENCODER, "options": _options(), "frames": clip.frames, "versions": _versions(),
            **{name: Times(tuple(each)).as_dict() for name, each in ms.items()},
            "ratios": ratios(ms),
        },
    }  # fmt: skip


def ratios(ms: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """How many times as long as each copy our two runs took.

    Args:
        ms: by contender, one for each round, in the same order.

    Returns:
        "OURS_over_COPY": "median" of the rounds' own ratios, because what disturbs a round disturbs all of it; and
        "best", the shortest of ours over the shortest copy.
    """
    found = {}
    for copy in ("pyav", "ffmpeg"):
        for ours in ("without_network", "whole"):
            if copy in ms:
                each = [one / other for one, other in zip(ms[ours], ms[copy], strict=True)]
                best = min(ms[ours]) / min(ms[copy])
                found[f"{ours}_over_{copy}"] = {"median": median(each), "best": best}
    return found


def _derain(clip: Clip, output: Path, derainer: Derainer, options: FileOptions, kept: list[Report]) -> None:
    with FileJob(clip.path, output, options, Report(str(clip.path), str(output))) as job:
        kept.append(job.run(derainer))


def _copiers(clip: Clip, output: Path) -> dict[str, Callable[[], object]]:
    """The plain copies that can be made here."""
    how: dict[str, Any] = {"encoder": ENCODER, "options": _options(), "frames": clip.frames}
    found: dict[str, Callable[[], object]] = {
        "pyav": partial(transcode.copy_through_pyav, clip.path, output, **how)
    }
    program = transcode.system_ffmpeg()
    if program is not None:
        found["ffmpeg"] = partial(transcode.copy_by_program, program, clip.path, output, **how)
    return found


def _options() -> dict[str, str]:
    return containers.encoder_options(ENCODER, None, None)


def _versions() -> dict[str, str | None]:
    program = transcode.system_ffmpeg()
    return {"pyav": ffmpeg_version(), "ffmpeg": program and transcode.ffmpeg_program_version(program)}
