"""What is done to a frame on the way to its rain layer and back, and the way it is done on the host.

A Derainer calls these stages in order and holds the past; what a view, a field or a rain layer is made of is known
here alone, and in cuda_stages.py for a GPU.
"""
from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from streamderain.core import colour, exposure, kernels_light, matching
from streamderain.core.companions import Companion, network_blocks, network_codes
from streamderain.core.exposure import Light
from streamderain.core.matching import Guide, MatchField, SearchSettings
from streamderain.core.single_frame import frame_input
from streamderain.engine import Engine
from streamderain.frame import Frame, on_host
from streamderain.int8_engine import Int8Engine
from streamderain.mirrored import Mirrored
from streamderain.scaling import enlarged, lightened, shrunk

SEARCH = SearchSettings()
_REACH_PX = 4  # half of a broad streak, in the smaller picture


class View(Protocol):
    """What a frame is reduced to for the search and the network; `size` is its height and width, upright."""

    @property
    def size(self) -> tuple[int, int]: ...


Field = Any  # of a kind of stages' own: how a view is found in another one
Rain = Any  # a rain layer as the same stages take it off again, with what else the network says of it
Slot = tuple[Any, Field] | None  # a reference's view and the field into it


class Stages(Protocol):
    """The stages of a frame on one kind of device. What one returns is for the others of the same object only."""

    def view(self, frame: Frame, scale: int) -> Any:
        """The frame as a View, 1 / scale as high and as wide."""

    def search(self, view: Any, reference: Any, previous: Field | None, seed: int) -> Field:
        """Where each place of a view stands in another of equal size, starting from an earlier field of that size."""

    def is_cut(self, field: Field) -> bool:
        """Whether a field's two views show different scenes. The one question that a GPU is waited for with."""

    def beside(self, view: Any, slots: tuple[Slot, Slot]) -> Tensor:
        """What a network with companions sees."""

    def alone(self, frame: Frame, scale: int) -> tuple[Tensor, tuple[int, int]]:
        """What a network sees that looks at a frame alone, and its height and width."""

    def rain(self, seen: Tensor, size: tuple[int, int]) -> Rain:
        """A view's rain layer from what the network sees of it; size is that of the view."""

    def derained(self, view: Any, rain: Rain) -> Any:
        """The view without its rain, and how unsure that is, for the slots of the next frame."""

    def subtract(self, frame: Frame, rain: Rain, strength: float, scale: int) -> Frame:
        """The frame without strength times the rain; on a GPU its planes stay where they were, there or on the host."""


@dataclass(frozen=True, slots=True)
class HostView:
    """A frame for the search and the network.

    Attributes:
        rgb: (3, H, W) uint8, turned upright.
        guide: padded, rain-suppressed luma.
        light: of the frame, with its rain.
        doubt: of a derained view, see companions.Companion.
    """

    rgb: np.ndarray
    guide: Guide
    light: Light
    doubt: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.rgb.shape[1], self.rgb.shape[2]


@dataclass(frozen=True, slots=True)
class HostField:
    """Where a view stands in a reference.

    Attributes:
        match: the field.
        tones: what becomes of the reference's codes in the view's light, uint8 (4, 256); None where that is the same.
    """

    match: MatchField
    tones: np.ndarray | None


class HostStages:
    """The stages on the processor; the network runs wherever its engine does. Planes on a GPU are fetched.

    Args:
        engine: what estimates the rain.
    """

    def __init__(self, engine: Engine | Int8Engine | Mirrored) -> None:
        self._engine = engine

    def view(self, frame: Frame, scale: int) -> HostView:
        seen = shrunk(on_host(frame), scale)
        rgb = _upright(colour.to_rgb(seen.planes, seen.format), frame)
        guide = matching.make_guide(_upright(colour.luma(seen.planes, seen.format), frame))
        light = exposure.light(*(torch.from_numpy(codes) for codes in (guide.padded, guide.coarse, rgb)))
        return HostView(rgb, guide, light)

    def search(self, view: HostView, reference: HostView, previous: HostField | None, seed: int) -> HostField:
        tones, guide = exposure.tones(reference.light, view.light).numpy(), reference.guide
        changed = not np.array_equal(tones, exposure.UNCHANGED)
        if changed:
            guide = exposure.guide_in_light(guide, tones)
        start = previous.match if previous else None
        found = matching.search(view.guide, guide, SEARCH, previous=start, seed=seed)
        return HostField(found, tones if changed else None)

    def is_cut(self, field: HostField) -> bool:
        return matching.is_cut(field.match, SEARCH)

    def beside(self, view: HostView, slots: tuple[Slot, Slot]) -> Tensor:
        first, second = (_companion(*slot) if slot else None for slot in slots)
        if self._engine.form is not None:
            return network_codes(view.rgb, (first, second), self._engine.form)
        return network_blocks(view.rgb, (first, second), self._engine.input_dtype)

    def alone(self, frame: Frame, scale: int) -> tuple[Tensor, tuple[int, int]]:
        seen = shrunk(on_host(frame), scale)
        rgb = _upright(colour.to_rgb(seen.planes, seen.format), frame)
        return frame_input(rgb), rgb.shape[1:]

    def rain(self, seen: Tensor, size: tuple[int, int]) -> np.ndarray:
        return self._engine.run(seen, *size)

    def derained(self, view: HostView, rain: np.ndarray) -> HostView:
        rgb, doubt = np.empty_like(view.rgb), np.empty(view.size, np.uint8)
        kernels_light.take_off(view.rgb, rain, rgb, doubt)
        return replace(view, rgb=rgb, doubt=doubt)

    def subtract(self, frame: Frame, rain: np.ndarray, strength: float, scale: int) -> Frame:
        frame, layer = on_host(frame), lying(rain[:3], frame)
        derained = frame.with_planes(colour.subtract_rain(frame.planes, layer, frame.format, strength))
        return lightened(frame, derained, _REACH_PX * scale) if scale > 1 else derained


def _companion(reference: HostView, field: HostField) -> Companion:
    """A reference in the light of the view that the field leads from."""
    rgb = reference.rgb if field.tones is None else exposure.colours_in_light(reference.rgb, field.tones)
    return Companion(rgb, field.match, reference.doubt)


def stages_for(engine: Engine | Int8Engine | Mirrored, tell: Callable[[str], None] | None = None) -> Stages:
    """The stages of an engine's device.

    Args:
        engine: says where it runs.
        tell: takes the one line that says that a GPU does the network alone; None logs it.
    """
    if isinstance(engine, Int8Engine) or not engine.device.startswith("cuda"):
        return HostStages(engine)
    from streamderain.core import device_memory  # where there is no GPU, Numba need not look for its compiler

    if not device_memory.usable():
        say = tell or logging.getLogger("streamderain").warning
        say("numba finds no CUDA compiler: the search stays on the processor (pip install 'streamderain[cuda]')")
        return HostStages(engine)
    from streamderain.cuda_stages import CudaStages

    return CudaStages(engine)


def quarter_turns(frame: Frame) -> int:
    """Counterclockwise quarter turns that stand the picture upright: rain falls down the way it was seen."""
    return round(frame.rotation / 90) % 4


def lying(rain: np.ndarray, frame: Frame) -> np.ndarray:
    """An upright rain layer (3, h, w) turned and enlarged to lie as the frame's planes do: (3, H, W)."""
    return enlarged(np.rot90(rain, -quarter_turns(frame), axes=(1, 2)), frame.height, frame.width)


def _upright(picture: np.ndarray, frame: Frame) -> np.ndarray:
    """An array (..., H, W) of the frame, standing as the frame is shown."""
    return np.ascontiguousarray(np.rot90(picture, quarter_turns(frame), axes=(-2, -1)))
