"""The stages of a frame on a CUDA device: pictures, search, companions and subtraction stay there, beside the network.

A frame's planes go up once and come down once, if they came from the host at all. The host waits twice a frame: for the
answer to "is this a cut?", and for planes that it is to have. Going up and being looked at happen on a stream of their
own, so the following frame's overlap with the search in the frame before.

A smaller look (scale above 1) is shrunk, enlarged and taken off on the host by the same functions as without a GPU.
"""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from streamderain import stages
from streamderain.core import cuda_frame, cuda_search, device_memory, exposure, matching
from streamderain.core.cuda_search import DeviceField, DeviceGuide
from streamderain.core.device_memory import Shared
from streamderain.core.exposure import Light
from streamderain.engine import Engine
from streamderain.frame import Frame, on_host
from streamderain.mirrored import Mirrored
from streamderain.scaling import shrunk
from streamderain.stages import HostStages, Slot, quarter_turns
from streamderain.transfers import Transfers, wait


@dataclass(frozen=True, slots=True)
class CudaView:
    """A frame for the search and the network.

    Attributes:
        rgb: (3, H, W) uint8, upright.
        guide: padded, rain-suppressed luma.
        light: of the frame, with its rain.
        ready: the event behind which all may be read.
        doubt: of a derained view, (H, W) uint8, see companions.Companion.
    """

    rgb: Shared
    guide: DeviceGuide
    light: Light
    ready: Any
    doubt: Shared | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.guide.height, self.guide.width


@dataclass(frozen=True, slots=True)
class CudaField:
    """A field, what becomes of the reference's codes in the view's light, uint8 (4, 256), and the tiles' costs on their
    way to the host: int32, full when `arrived` came."""

    field: DeviceField
    tones: Tensor
    tile_costs: Tensor
    arrived: Any


class CudaStages:
    """The stages on a GPU.

    Args:
        engine: what estimates the rain, on a CUDA device (on the CPU only with Numba's simulator).
    """

    def __init__(self, engine: Engine | Mirrored) -> None:
        self._engine = engine
        self._host = HostStages(engine)
        self._transfers = Transfers(torch.device(engine.device))
        # planes from the host that are up already: of the frame that is looked at ahead, and of the one before it
        self._uploads: deque[tuple[Frame, tuple[Shared, ...]]] = deque(maxlen=2)

    def view(self, frame: Frame, scale: int) -> CudaView:
        with self._transfers.here():
            seen = _small(frame, scale)
            if seen.on_device:  # made on the current stream, so to be read there
                return CudaView(*self._looked_at(seen), None)
            with self._transfers.beside():
                rgb, guide, light = self._looked_at(seen)
                ready = self._transfers.mark()
            self._transfers.lend(rgb.tensor, guide.words.tensor, guide.coarse.tensor, light.counts)
            self._transfers.lend(*(plane.tensor for plane in self._planes(seen)))  # for the subtraction
            return CudaView(rgb, guide, light, ready)

    def search(self, view: CudaView, reference: CudaView, previous: CudaField | None, seed: int) -> CudaField:
        with self._transfers.here():
            self._transfers.meet(view.ready)
            self._transfers.meet(reference.ready)
            start = previous.field if previous else None
            tones = exposure.tones(reference.light, view.light)
            guide = cuda_search.toned(reference.guide, tones[0])
            field = cuda_search.search(view.guide, guide, stages.SEARCH, previous=start, seed=seed)
            (costs,) = self._transfers.fetch(field.tile_costs)
            return CudaField(field, tones, costs, self._transfers.mark())

    def is_cut(self, field: CudaField) -> bool:
        wait(field.arrived)
        _, rows, columns = field.field.keys.tensor.shape
        mean = float(field.tile_costs.sum()) / (rows * columns)
        return mean > matching.CUT_COST * matching.PATCH_PIXELS * stages.SEARCH.truncation

    def beside(self, view: CudaView, slots: tuple[Slot, Slot]) -> Tensor:
        with self._transfers.here():
            self._transfers.meet(view.ready)
            first, second = ((_in_light(*slot), slot[1].field) if slot else None for slot in slots)
            doubt = slots[0][0].doubt if slots[0] else None
            return cuda_frame.network_blocks(view.rgb, (first, second), doubt)

    def alone(self, frame: Frame, scale: int) -> tuple[Tensor, tuple[int, int]]:
        with self._transfers.here():
            rgb, _ = self._shown(_small(frame, scale))
            height, width = rgb.tensor.shape[1:]
            return rgb.tensor / 255, (height, width)

    def rain(self, seen: Tensor, size: tuple[int, int]) -> Tensor:
        with self._transfers.here():
            return self._engine.rain(seen)  # not cropped: in one layout for all sizes the kernels are compiled once

    def derained(self, view: CudaView, rain: Tensor) -> CudaView:
        with self._transfers.here():
            height, width = view.size
            rain, doubt = 255 * rain[:3, :height, :width], 255 * rain[3, :height, :width]
            rgb, doubt = (codes.round_().clamp_(0, 255).to(torch.uint8) for codes in (view.rgb.tensor - rain, doubt))
            return replace(view, rgb=device_memory.shared(rgb), doubt=device_memory.shared(doubt))

    def subtract(self, frame: Frame, rain: Tensor, strength: float, scale: int) -> Frame:
        with self._transfers.here():
            if scale > 1:
                return self._subtract_on_host(frame, rain, strength, scale)
            planes = self._planes(frame)
            outs: Any = cuda_frame.subtract_rain(planes, rain[:3], frame.format, strength, quarter_turns(frame))
            return frame.with_planes(outs if frame.on_device else self._transfers.down(outs))

    def _subtract_on_host(self, frame: Frame, rain: Tensor, strength: float, scale: int) -> Frame:
        here = on_host(frame)
        height, width = (-(-side // scale) for side in (frame.height, frame.width))
        if quarter_turns(frame) % 2:
            height, width = width, height
        layer = rain[:3, :height, :width].contiguous().cpu().numpy()
        derained = self._host.subtract(here, layer, strength, scale)
        planes: Any = self._transfers.up(derained.planes) if frame.on_device else derained.planes
        return frame.with_planes(planes)

    def _looked_at(self, frame: Frame) -> tuple[Shared, DeviceGuide, Light]:
        """The frame's RGB, what the search compares, and its light."""
        rgb, grey = self._shown(frame)
        guide = cuda_search.make_guide(grey)
        return rgb, guide, exposure.light(guide.words.tensor.view(torch.uint8), guide.coarse.tensor, rgb.tensor)

    def _shown(self, frame: Frame) -> tuple[Shared, Shared]:
        """The frame's RGB and luma, upright."""
        return cuda_frame.show(self._planes(frame), frame.format, quarter_turns(frame))

    def _planes(self, frame: Frame) -> tuple[Shared, ...]:
        """The frame's planes on the device; those of the frames seen last are there already."""
        if frame.on_device:
            tensors: Any = frame.planes
            return tuple(device_memory.shared(plane) for plane in tensors)
        for known, planes in self._uploads:
            if known is frame:
                return planes
        planes = tuple(device_memory.shared(plane) for plane in self._transfers.up(frame.planes))
        self._uploads.append((frame, planes))
        return planes


def _in_light(reference: CudaView, field: CudaField) -> Shared:
    """A reference's RGB in the light of the view that the field leads from, changed or not: nobody waits to ask."""
    codes = [exposure.toned(*each) for each in zip(reference.rgb.tensor, field.tones[1:], strict=True)]
    return device_memory.shared(torch.stack(codes))


def _small(frame: Frame, scale: int) -> Frame:
    """The frame, or a smaller one on the host."""
    return frame if scale == 1 else shrunk(on_host(frame), scale)
