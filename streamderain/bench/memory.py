"""The most memory that something took: of this process on the host, and of torch on a GPU."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_FORGET_THE_PEAK = "5"  # proc(5): resets what VmHWM reports
SELF = Path("/proc/self")


@contextmanager
def peak_memory(device: str) -> Iterator[dict[str, float | None]]:
    """Note the most memory that was in use while the block ran.

    Args:
        device: a torch device.

    Yields:
        A dict that is filled at the end: "host_mb", the whole process's resident memory, None where the system does
        not say it; "device_mb", what torch held on the GPU, None without one. Megabytes of 1e6 bytes.
    """
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    fresh = _forget_peak()
    found: dict[str, float | None] = {"host_mb": None, "device_mb": None}
    yield found
    peak = _resident_peak() if fresh else _process_peak()
    found["host_mb"] = None if peak is None else peak / 1e6
    if on_gpu:
        found["device_mb"] = torch.cuda.max_memory_allocated(device) / 1e6


def _forget_peak() -> bool:
    """Begin a new peak; False where the system has only that of the process's whole life."""
    try:
        (SELF / "clear_refs").write_text(_FORGET_THE_PEAK)
    except OSError:
        return False
    return True


def _resident_peak() -> float | None:
    for line in (SELF / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * float(line.split()[1])
    return None


def _process_peak() -> float | None:
    """Bytes; of the whole life of the process, so that what ran before counts too."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
