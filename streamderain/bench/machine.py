"""What figures hold for: the machine, its system and the libraries."""
from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from streamderain.report import versions


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the figures hold for: processor, cores, GPU (of several, the device's), system and versions."""
    gpu = device if device.startswith("cuda") else None
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(gpu) if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(),
    }


def _processor() -> str:
    """The model's name, where the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
