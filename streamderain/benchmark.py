"""How long each part takes on this machine: network, search, published network, and the whole from file to file."""
from __future__ import annotations

import copy
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamderain.core import matching
from streamderain.core.checkpoint import load_generator
from streamderain.core.companions import Companion, network_blocks
from streamderain.core.generators import ResidualGenerator
from streamderain.core.metrics import luma
from streamderain.core.single_frame import frame_input
from streamderain.core.stream import mac_per_pixel
from streamderain.derain_file import FileJob, FileOptions
from streamderain.derainer import Derainer
from streamderain.engine import Engine, entrance
from streamderain.report import Report, versions

# k 8 needs more candidates than the search at run time, which keeps one match, to come as near the exact answer
BENCHMARK_SEARCH = matching.SearchSettings(k=8, winners=24, reach=1, probes=16)
EXACT_FRAMES = 3  # exact searches per measurement, spread evenly: each costs as much as ten fast ones
PUBLISHED_RUNS = 3
NETWORK_RUNS = 15
FILE_RUNS = 3


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """The search with reuse against the exact one, k 8, each frame searched in the one before.

    Attributes:
        ms, exact_ms: medians of one search, guides ready.
        guide_ms: median of preparing one guide.
        recall_at_8: share of the exact answer's offsets that were found.
        distance_ratio: sum of the costs found over the sum of the exact ones, at least 1.
    """

    ms: float
    exact_ms: float
    guide_ms: float
    recall_at_8: float
    distance_ratio: float

    def as_dict(self) -> dict[str, float]:
        """Plain values, the speedup among them."""
        return {
            "ms": self.ms,
            "exact_ms": self.exact_ms,
            "guide_ms": self.guide_ms,
            "speedup": self.exact_ms / self.ms,
            "recall_at_8": self.recall_at_8,
            "distance_ratio": self.distance_ratio,
        }


def measure_search(frames: Sequence[np.ndarray]) -> SearchFigures:
    """Carry a field from frame to frame and compare it, at a few of them, with the exact answer.

    Args:
        frames: at least 3, (3, H, W) uint8 RGB.

    Raises:
        ValueError: too few frames.
    """
    if len(frames) < 3:
        raise ValueError(f"{len(frames)} frames; a search that reuses its past needs at least 3")
    lumas = [_grey(frame) for frame in frames]
    matching.make_guide(lumas[0])  # compiles the kernel
    timed_guides = [timed(matching.make_guide, plane) for plane in lumas]
    guides = [guide for guide, _ in timed_guides]
    field = matching.search(guides[1], guides[0], BENCHMARK_SEARCH)
    matching.search(guides[1], guides[0], BENCHMARK_SEARCH, previous=field)
    compared = set(np.linspace(len(guides) - 1, 2, EXACT_FRAMES).round().astype(int).tolist())
    fast, exact, recalls, ratios = [], [], [], []
    for number in range(2, len(guides)):
        query, reference = guides[number], guides[number - 1]
        field, ms = timed(matching.search, query, reference, BENCHMARK_SEARCH, previous=field, seed=number)
        fast.append(ms)
        if number in compared:
            answer, ms = timed(matching.search, query, reference, BENCHMARK_SEARCH)
            exact.append(ms)
            recalls.append(recall(field, answer))
            ratios.append(float(field.costs.sum() / max(answer.costs.sum(), 1)))
    guide_ms = median(ms for _, ms in timed_guides)
    return SearchFigures(median(fast), median(exact), guide_ms, fmean(recalls), fmean(ratios))


def recall(found: matching.MatchField, exact: matching.MatchField) -> float:
    """Share of the exact field's offsets, 0..1, that the other field has for the same cell at any rank."""
    same = (found.offsets[:, None] == exact.offsets[None]).all(-1)  # (k, k, rows, columns)
    return float(same.any(0).mean())


def measure_published(frame: np.ndarray, device: str) -> dict[str, Any]:
    """The published NLCL generator as its authors run it, eager in fp32; weights do not change its speed.

    Args:
        frame: (3, H, W) uint8 RGB.
        device: the torch device.

    Returns:
        ms (median for one frame), backend, precision, mac_per_pixel and parameters.
    """
    network = ResidualGenerator().eval().to(device)
    rainy = torch.from_numpy(frame)[None].to(device) / 127.5 - 1
    with torch.inference_mode():
        network(rainy[..., :64, :64])
        ms = median_ms(lambda: network(rainy), runs=PUBLISHED_RUNS, warm_up=0, device=device)
    return {
        "ms": ms,
        "backend": "eager",
        "precision": "fp32",
        "mac_per_pixel": round(mac_per_pixel(network, channels=3)),
        "parameters": _parameters(network),
    }


def measure_network(model: Path, frames: Sequence[np.ndarray], device: str) -> dict[str, Any]:
    """A network alone, as the engine runs it, with companions laid beside the frame before the clock starts.

    Args:
        model: a weight file.
        frames: at least 2, (3, H, W) uint8 RGB.
        device: as a Derainer takes it.

    Returns:
        profile, backend, precision, ms (median for one frame, to the device and back), ms_fp32 (the same network
        eager in fp32), mac_per_pixel and parameters.
    """
    network, metadata = load_generator(model)
    engine = Engine(copy.deepcopy(network), device)
    seen, runs = _seen(frames, engine), NETWORK_RUNS if engine.companions else PUBLISHED_RUNS
    plain = network.to(engine.device)
    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    size = frames[1].shape[1:]
    batch = seen[None].float().to(device=engine.device, memory_format=torch.channels_last)
    with torch.inference_mode():
        ms_fp32 = median_ms(lambda: entrance(plain)(batch), runs=runs, warm_up=2, device=engine.device)
    return {
        "profile": metadata["profile"],
        "backend": engine.backend,
        "precision": engine.precision,
        "ms": median_ms(lambda: engine.run(seen, *size), runs=runs, warm_up=2, device=engine.device),
        "ms_fp32": ms_fp32,
        "mac_per_pixel": round(mac_per_pixel(network, channels=network.in_channels)),
        "parameters": _parameters(network),
    }


def measure_file(model: Path, clip: Path, folder: Path, device: str, *, seconds: float | None = None) -> dict[str, Any]:
    """The whole run from file to file: decode, derain with a look ahead, encode with x264.

    Args:
        model: a weight file.
        clip: the video.
        folder: where outputs may be written.
        device: as a Derainer takes it.
        seconds: how much of the clip is used; all of it where None.

    Returns:
        The run of median speed: fps (frames over the time from the first decode to the finished file), frames,
        seconds, and ms_per_stage (busy time for each frame; stages overlap).
    """
    derainer = Derainer(model=model, device=device)
    output = folder / "bench.mp4"
    options = FileOptions(duration=seconds, overwrite=True)
    reports = []
    for _ in range(FILE_RUNS + 1):
        with FileJob(clip, output, options, Report(str(clip), str(output))) as job:
            reports.append(job.run(derainer))
    report = sorted(reports[1:], key=lambda each: each.fps)[FILE_RUNS // 2]  # the first run warms up
    return {
        "fps": report.fps,
        "frames": report.frames_out,
        "seconds": report.seconds,
        "ms_per_stage": report.ms_per_stage,
    }


def median_ms(work: Callable[[], object], *, runs: int, warm_up: int, device: str) -> float:
    """Median milliseconds of one call, after calls that do not count; waits for the device before and after each."""
    for _ in range(warm_up):
        work()
    return median(timed(_finished, work, device)[1] for _ in range(runs))


def timed(work: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float]:
    """The result of one call and its milliseconds."""
    begun = time.perf_counter()
    result = work(*args, **kwargs)
    return result, 1000 * (time.perf_counter() - begun)


def machine() -> dict[str, Any]:
    """What the figures hold for: processor, cores, GPU, system and versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(),
    }


def _grey(rgb: np.ndarray) -> np.ndarray:
    return np.round(luma(rgb)).astype(np.uint8)


def _seen(frames: Sequence[np.ndarray], engine: Engine) -> Tensor:
    """The second frame as the engine takes it, with the first in both slots where there are slots."""
    if not engine.companions:
        return frame_input(frames[1])
    guides = [matching.make_guide(_grey(frame)) for frame in frames[:2]]
    companion = Companion(frames[0], matching.search(guides[1], guides[0], matching.SearchSettings()))
    return network_blocks(frames[1], (companion, companion), engine.input_dtype)


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _finished(work: Callable[[], object], device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _processor() -> str:
    """The model's name, where the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
