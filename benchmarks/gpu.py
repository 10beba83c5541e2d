"""A GPU's search, whole path and stages at 1920x1080 and 3840x2160, as one JSON object.

    python benchmarks/gpu.py --profile realtime --frames 200

`streamderain bench` measures more of it and in more words; this is what one looks at while a kernel is being changed:
how long each stage takes, beside the search alone and the frames per second of the whole path.
Without a CUDA device it says so and ends with 1.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from streamderain import scene
from streamderain.bench.gpu_search import measure_gpu_search
from streamderain.bench.machine import machine
from streamderain.bench.path import measure_path
from streamderain.core import device_memory
from streamderain.core.colour import PixelFormat, from_rgb
from streamderain.derainer import Derainer
from streamderain.frame import Frame
from streamderain.stages import Stages

SIZES = ((1920, 1080), (3840, 2160))
DRAWN = 6
FORMAT = PixelFormat("yuv", 8, (1, 1))
CALLS = 50


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="realtime")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--frames", type=int, default=200)
    asked = parser.parse_args()
    if not (torch.cuda.is_available() and device_memory.usable()):
        sys.exit("There is no CUDA device here, or Numba finds no compiler for it: nothing was measured.")
    found = {f"{width}x{height}": measure(width, height, asked) for width, height in SIZES}
    print(json.dumps({"machine": machine(asked.device), "device": asked.device, **found}, indent=2))


def measure(width: int, height: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Everything at one size."""
    rgb = [rainy for rainy, _ in scene.draw(width, height, DRAWN)]
    frames = [Frame(from_rgb(picture, FORMAT), FORMAT) for picture in rgb]
    derainer = Derainer(profile=asked.profile, device=asked.device, backend=asked.backend)
    path = measure_path(derainer, frames, count=asked.frames)
    return {
        "backend": derainer.backend, "search": measure_gpu_search(rgb, asked.device), "path": path,
        "stage_ms": stage_times(derainer, frames),
    }  # fmt: skip


def stage_times(derainer: Derainer, frames: list[Frame]) -> dict[str, float]:
    """Milliseconds of each stage and its copies, many in a row: what it takes of the GPU, or of the host that lags."""
    stages: Stages = derainer._stages
    first, second = stages.view(frames[0], 1), stages.view(frames[1], 1)
    field = stages.search(second, first, stages.search(second, first, None, 0), 1)
    slots = ((first, field), (first, field))
    seen = stages.beside(second, slots)
    rain = stages.rain(seen, second.size)
    return {
        "view": back_to_back(lambda: stages.view(frames[1].with_planes(frames[1].planes), 1)),  # unknown, so it goes up
        "search": back_to_back(lambda: stages.search(second, first, field, 2)),
        "companions": back_to_back(lambda: stages.beside(second, slots)),
        "network": back_to_back(lambda: stages.rain(seen, second.size)),
        "derained view": back_to_back(lambda: stages.derained(second, rain)),
        "subtract": back_to_back(lambda: stages.subtract(frames[1], rain, 1.0, 1)),
    }


def back_to_back(call: Callable[[], object]) -> float:
    """Milliseconds of one of CALLS calls, of which only the last is waited for."""
    call()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(CALLS):
        call()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begun) / CALLS


if __name__ == "__main__":
    main()
