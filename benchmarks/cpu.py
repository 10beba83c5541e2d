"""Where a frame's time goes on the CPU: parts on one core, the network in halves or not, files at once or not.

    python benchmarks/cpu.py VIDEO

The parts: an exact and a reusing search, the network's input, the network in bf16 and int8 (processor time, shortest of
several). The network in halves and as a whole take turns, and so do the file runs: as many frames at once as there are
cores, then one. All under our command's settings.
"""
from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

import streamderain.cli  # noqa: F401  # first: OpenMP reads its setting when torch comes

# isort: split
import torch

from streamderain import halves, overlap
from streamderain.bench.cases import opened_scene
from streamderain.core import colour, companions, matching, threads
from streamderain.derain_file import FileJob, FileOptions
from streamderain.derainer import Derainer, Seen
from streamderain.report import Report
from streamderain.stages import SEARCH

RUNS, TURNS, FRAMES = 15, 3, 60
PROFILES = ("tiny", "realtime")


def main() -> None:
    """Print one line for each part and each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    given = parser.parse_args()
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    with threads.at_most(1):
        _parts(given.video)
    torch.set_num_threads(cores)
    for profile in PROFILES:
        _halves(given.video, profile)
        _files(given.video, profile)


def _parts(video: Path) -> None:
    frames = opened_scene(video, FRAMES).frames[:4]
    rgb = [colour.to_rgb(frame.planes, frame.format) for frame in frames]
    guides = [matching.make_guide(colour.luma(frame.planes, frame.format)) for frame in frames]
    field = matching.search(guides[2], guides[1], SEARCH)
    slot = companions.Companion(rgb[2], field)
    _print("exact search", lambda: matching.search(guides[3], guides[2], SEARCH))
    _print("search", lambda: matching.search(guides[3], guides[2], SEARCH, previous=field, seed=3))
    _print("input in bf16", lambda: companions.network_blocks(rgb[3], (slot, slot), torch.bfloat16))
    for profile in PROFILES:
        for precision in ("bf16", "int8"):
            derainer = Derainer(profile=profile, device="cpu", precision=precision)
            derainer(frames[0])
            seen = derainer.look(frames[1], frames[2])
            _print(f"{profile} in {precision}, and subtracting", partial(_finish, derainer, seen))


def _halves(video: Path, profile: str) -> None:
    frames = opened_scene(video, FRAMES).frames[:3]
    derainer, worth = Derainer(profile=profile, device="cpu"), halves.WORTH
    derainer(frames[0])
    seen = derainer.look(frames[1], frames[2])
    for halves.WORTH in (0.0, worth) * TURNS:
        shape = f"{profile} {'in halves' if halves.WORTH else 'as a whole'}, and subtracting, waited for"
        _print(shape, partial(_finish, derainer, seen), clock=time.perf_counter)


def _finish(derainer: Derainer, seen: Seen) -> None:
    """Finish a frame that may have been finished before."""
    derainer.finish(replace(seen, answer=Future()))


def _files(video: Path, profile: str) -> None:
    derainer, most, in_a_row = Derainer(profile=profile, device="cpu"), overlap.MOST_FRAMES, overlap.IN_A_ROW
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.mp4"
        for at_once in (most, 1) * TURNS:
            overlap.MOST_FRAMES, overlap.IN_A_ROW = at_once, min(at_once, in_a_row)
            report, begun = Report(str(video), str(output)), time.process_time()
            with FileJob(video, output, FileOptions(overwrite=True), report) as job:
                job.run(derainer)
            spent = 1e3 * (time.process_time() - begun) / report.frames_out
            frames = overlap.frames_at_once(derainer)
            print(f"{profile}, {frames} at once: {report.fps:.1f} fps, {spent:.1f} ms of processor time a frame")
    overlap.MOST_FRAMES, overlap.IN_A_ROW = most, in_a_row


def _print(name: str, work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> None:
    work()
    times = []
    for _ in range(RUNS):
        begun = clock()
        work()
        times.append(1e3 * (clock() - begun))
    print(f"{name}: {min(times):.2f} ms")


if __name__ == "__main__":
    main()
