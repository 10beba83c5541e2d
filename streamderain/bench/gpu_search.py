"""The patch search on a GPU; its answers are those of the CPU, so only its time is asked for."""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch

from streamderain.bench.search import BENCHMARK_SEARCH, grey
from streamderain.bench.timing import in_turns
from streamderain.core import cuda_search, device_memory
from streamderain.core.cuda_search import DeviceField

ROUNDS, SECONDS = 10, 20.0


def measure_gpu_search(frames: Sequence[np.ndarray], device: str) -> dict[str, float] | None:
    """Carry a field from frame to frame and wait for the last one; k 8, as on the CPU.

    Args:
        frames: at least 3, (3, H, W) uint8 RGB.
        device: a CUDA device; with Numba's simulator "cpu".

    Returns:
        ms, exact_ms and guide_ms: medians of a frame's search with reuse, of an exact search and of making a guide,
        each a mean over the frames; best_ms, the shortest of the first. None where Numba has no compiler for the GPU.
    """
    if not device_memory.usable():
        return None
    with torch.cuda.device(device) if device.startswith("cuda") else nullcontext():  # where Numba launches
        return _measured(frames, device)


def _measured(frames: Sequence[np.ndarray], device: str) -> dict[str, float]:
    lumas = [device_memory.shared(torch.from_numpy(grey(frame)).to(device)) for frame in frames]
    guides = [cuda_search.make_guide(luma) for luma in lumas]
    first = cuda_search.search(guides[1], guides[0], BENCHMARK_SEARCH)

    def carried() -> None:
        field: DeviceField = first
        for number in range(2, len(guides)):
            query, reference = guides[number], guides[number - 1]
            field = cuda_search.search(query, reference, BENCHMARK_SEARCH, previous=field, seed=number)

    def exact() -> None:
        cuda_search.search(guides[1], guides[0], BENCHMARK_SEARCH)

    def prepared() -> None:
        for luma in lumas:
            cuda_search.make_guide(luma)

    calls = {"carried": carried, "exact": exact, "prepared": prepared}
    times = in_turns(calls, device=device, rounds=ROUNDS, seconds=SECONDS)
    fields = len(frames) - 2
    return {
        "ms": times["carried"].median / fields, "best_ms": times["carried"].best / fields,
        "exact_ms": times["exact"].median, "guide_ms": times["prepared"].median / len(frames),
    }  # fmt: skip
