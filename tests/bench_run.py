"""A report as `streamderain bench` makes it, with round figures: for what turns reports into tables and pictures."""
from __future__ import annotations

import copy

MACHINE = {
    "processor": "A Processor", "cores": 2, "threads": 2, "gpu": None, "system": "Linux x86_64", "python": "3.11.0",
    "versions": {"streamderain": "0.1.0", "torch": "2.13.0"},
}  # fmt: skip
STAGES = {"view": 1.0, "search": 2.0, "companions": 3.0, "network": 14.0, "subtract": 5.0}
TIMES = {"ms": 20.0, "best_ms": 19.0, "calls": 3}
RATIO = {"median": 1.5, "best": 1.25}
RUN = {
    "size": [640, 480], "source": "drawn", "device": "cpu",
    "network": {
        "profile": "tiny", "weights": "trained", "backend": "eager", "precision": "bf16", "mac_per_pixel": 7296,
        "parameters": 85404, "ms": 5.0, "best_ms": 4.0, "calls": 9, "ms_fp32": 10.0, "best_ms_fp32": 9.0,
        "ms_eager": 7.5, "best_ms_eager": 7.0, "faster_than_eager": 1.5,
    },
    "published_nlcl": {
        "ms": 500.0, "best_ms": 480.0, "calls": 2, "backend": "eager", "precision": "fp32", "mac_per_pixel": 315072,
        "parameters": 316195, "slower": 100.0, "slower_best": 120.0, "slower_fp32": 50.0,
        "same": {"backend": "eager", "precision": "bf16", "ms": 250.0, "best_ms": 240.0, "calls": 2, "slower": 50.0,
                 "slower_best": 60.0},
    },
    "floor": {"ms": 2.5, "times_floor": 2.0, "best_times_floor": 1.6, "macs": 2_241_331_200, "bytes": 54_852_408,
              "copy_gb_per_s": 9.0, "matmul_gmac_per_s": 80.0},
    "search": {"ms": 2.0, "exact_ms": 30.0, "guide_ms": 0.1, "speedup": 15.0, "recall_at_8": 0.9,
               "distance_ratio": 1.01, "gpu": None},
    "path": {"fps": 40.0, "frames": 60, "p50_ms": 24.0, "p99_ms": 31.0, "ms_per_stage": STAGES,
             "memory": {"host_mb": 600.0, "device_mb": None}, "energy": None},
    "end_to_end": {"fps": 30.0, "frames": 60, "seconds": 2.0,
                   "ms_per_stage": {"decode": 1.0, "derain": 25.0, "encode": 6.0, **STAGES},
                   "decoder": "cpu", "encoder": "libx264",
                   "memory": {"host_mb": 700.0, "device_mb": None}},
    "copies": {
        "encoder": "libx264", "options": {"crf": "18", "preset": "veryfast"}, "frames": 60,
        "versions": {"pyav": "8.1", "ffmpeg": "5.1"}, "pyav": TIMES, "ffmpeg": TIMES, "without_network": TIMES,
        "whole": TIMES,
        "ratios": {"without_network_over_pyav": RATIO, "whole_over_pyav": RATIO, "without_network_over_ffmpeg": RATIO,
                   "whole_over_ffmpeg": RATIO},
    },
    "machine": MACHINE,
}  # fmt: skip


def a_run(**changes):
    """The report with other values in some of its parts: a_run(path={"fps": 3.0}, size=[64, 48])."""
    run = copy.deepcopy(RUN)
    for part, change in changes.items():
        run[part] = run[part] | change if isinstance(change, dict) else change
    return run


def keys_of(value):
    """Every key of a JSON value, those of its parts too."""
    if isinstance(value, list):
        return {key for each in value for key in keys_of(each)}
    if not isinstance(value, dict):
        return set()
    return set(value) | {key for each in value.values() for key in keys_of(each)}
