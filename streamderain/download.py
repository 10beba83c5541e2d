"""Frames from the GPU to the host through pinned memory, copied while everybody goes on with other frames."""
from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from streamderain.core.colour import Planes
from streamderain.frame import Frame


def begin(frame: Frame) -> Frame:
    """Begin to copy a frame's planes to the host; `on_host` of what is returned waits for the copy and no longer.

    The copy runs on a stream of its own, behind what the device's default stream has been given so far. Nothing waits
    here.

    Args:
        frame: with planes on a device; any other comes back as it is.

    Returns:
        The frame, its planes still on the device, with the copy on its way in side["arriving"].
    """
    if not frame.on_device:
        return frame
    tensors: tuple[Tensor, ...] = frame.planes  # type: ignore[assignment]  # Planes says arrays, see Frame
    hosts, done = _copied(tensors)
    return replace(frame, side={**frame.side, "arriving": Download(frame.planes, hosts, done)})


class Download:
    """A copy on its way (see frame.Arriving).

    Args:
        source: the planes on the device; held, because their memory may not be given to others while it is read.
        hosts: tensors on the host that fill, one per plane.
        done: an event with `synchronize` that comes when they are full, None where they are.
    """

    def __init__(self, source: Planes, hosts: tuple[Tensor, ...], done: Any) -> None:
        self.source, self._hosts, self._done = source, hosts, done

    def wait(self) -> Planes:
        """See Arriving."""
        if self._done is not None:
            self._done.synchronize()
        return tuple(host.numpy() for host in self._hosts)


def _copied(planes: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Any]:
    """Copies on the host that fill by themselves, and the event that comes when they have."""
    device = planes[0].device
    if device.type != "cuda":
        return tuple(plane.contiguous().clone() for plane in planes), None
    stream = _stream(device)
    stream.wait_stream(torch.cuda.default_stream(device))
    with torch.cuda.stream(stream):
        hosts = tuple(torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True) for plane in planes)
        for host, plane in zip(hosts, planes, strict=True):
            host.copy_(plane.contiguous(), non_blocking=True)  # interleaved chroma is taken apart on the device
        done = torch.cuda.Event(blocking=True)  # who waits sleeps: the encoder wants the core
        done.record(stream)
    return hosts, done


@lru_cache(maxsize=8)
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
