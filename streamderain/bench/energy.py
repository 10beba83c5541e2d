"""Joules from the counters that the hardware keeps: RAPL of the processor, NVML of a GPU. Never an estimate."""
from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
_NVML_LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")


@dataclass(frozen=True, slots=True)
class Counter:
    """Something that counts energy.

    Attributes:
        name: what it counts for.
        read: joules since some time in the past.
        turns_over_at: joules at which it begins again from zero, None where it never does.
    """

    name: str
    read: Callable[[], float]
    turns_over_at: float | None = None

    def since(self, before: float) -> float:
        """Joules since it read `before`; it may have turned over once."""
        spent = self.read() - before
        return spent + self.turns_over_at if spent < 0 and self.turns_over_at else spent


@contextmanager
def energy_used(counters: list[Counter]) -> Iterator[dict[str, float]]:
    """Count what is used while the block runs, by everything on the machine.

    Args:
        counters: see counters_of.

    Yields:
        A dict that is filled at the end: joules by the counters' names; empty where nothing can be read.
    """
    before = [counter.read() for counter in counters]
    found: dict[str, float] = {}
    yield found
    found.update((counter.name, counter.since(joules)) for counter, joules in zip(counters, before, strict=True))


def counters_of(device: str) -> list[Counter]:
    """The counters that can be read here: of every processor package, and of the GPU if the device is one."""
    return [*processor_counters(), *(gpu_counters(device) if device.startswith("cuda") else [])]


def processor_counters(folder: Path = POWERCAP) -> list[Counter]:
    """RAPL's counters of whole packages, as Linux shows them; most systems let only root read them.

    Args:
        folder: where the kernel keeps them.
    """
    found = []
    for zone in sorted(folder.glob("intel-rapl:*")):  # AMD's too; "intel-rapl:0:1" would be a part of package 0
        counter = zone / "energy_uj"
        try:
            name = (zone / "name").read_text().strip()
            counter.read_text()
            most = int((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        if name.startswith("package"):
            found.append(Counter(name, lambda path=counter: int(path.read_text()) / 1e6, most / 1e6))  # type: ignore[misc]
    return found


def gpu_counters(device: str) -> list[Counter]:
    """NVML's counter of one GPU since its driver was loaded; empty where NVML or the card has none."""
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    nvml, handle = _nvml(), ctypes.c_void_p()
    if nvml is None or nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode(), ctypes.byref(handle)):
        return []
    millijoules = ctypes.c_ulonglong()

    def read() -> float:
        failed = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        return -1.0 if failed else millijoules.value / 1000

    return [Counter(f"gpu {device}", read)] if read() >= 0 else []


def _nvml() -> ctypes.CDLL | None:
    """NVIDIA's management library, started; None where there is none."""
    for name in _NVML_LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return None if library.nvmlInit_v2() else library
    return None
