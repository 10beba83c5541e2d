"""Planes up to a GPU and down again through pinned memory; what goes up has a stream of its own beside torch's current.

For Numba's simulator the device is the CPU: then there are no streams, and a transfer is a copy.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamderain.core.colour import Planes


class Transfers:
    """One device's way up and down.

    What is written inside `beside` is read on the current stream only behind `meet`; memory from inside must be handed
    to `lend`, so that the allocator gives it to no later upload before the current stream has read it.

    Args:
        device: a CUDA device, or the CPU for the simulator.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def here(self) -> AbstractContextManager[Any]:
        """Makes the device the current one."""
        return nullcontext() if self._side is None else torch.cuda.device(self._device)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Whatever is queued inside runs beside the current stream."""
        if self._side is None:
            yield
        else:
            with torch.cuda.stream(self._side):
                yield

    def mark(self) -> Any:
        """An event behind what the current stream was given so far; None where all is done at once."""
        if self._side is None:
            return None
        event = torch.cuda.Event()
        event.record()
        return event

    def meet(self, event: Any) -> None:
        """The current stream waits for an event; the host does not."""
        if event is not None:
            event.wait()

    def lend(self, *tensors: Tensor) -> None:
        """Tell the allocator that the current stream uses tensors that were made beside it."""
        if self._side is not None:
            for tensor in tensors:
                tensor.record_stream(torch.cuda.current_stream())

    def up(self, planes: Planes) -> tuple[Tensor, ...]:
        """Copies on the device, on their way on the current stream; the arrays may change as soon as this returns."""
        return tuple(self._up(plane) for plane in planes)

    def fetch(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Copies on the host, full behind the current stream's next mark."""
        return tuple(self._down(tensor) for tensor in tensors)

    def down(self, tensors: tuple[Tensor, ...]) -> Planes:
        """Arrays on the host, waited for."""
        hosts = self.fetch(*tensors)
        wait(self.mark())
        return tuple(host.numpy() for host in hosts)

    def _up(self, plane: np.ndarray) -> Tensor:
        kind = torch.uint8 if plane.dtype == np.uint8 else torch.uint16
        host = torch.empty(plane.shape, dtype=kind, pin_memory=self._side is not None)
        np.copyto(host.numpy(), plane)
        return host.to(self._device, non_blocking=True)  # torch keeps pinned memory from others until it was read

    def _down(self, tensor: Tensor) -> Tensor:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self._side is not None)
        return host.copy_(tensor, non_blocking=True)


def wait(event: Any) -> None:
    """The host waits for an event."""
    if event is not None:
        event.synchronize()
