"""A frame as it was decoded, and the two ends it travels between."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from streamderain.core.colour import PixelFormat, Planes


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture with its own planes, colour description and exact time; nothing is resampled on the way in.

    Attributes:
        planes: uint8 or uint16 arrays, C-contiguous rows; the first is (H, W), chroma planes are
            (ceil(H / 2**v), ceil(W / 2**h)) for format.subsampling (h, v). Of a frame that stays on a GPU they are
            torch tensors there, of the same shapes and types with any strides (see `on_device`), and are good for
            whatever is queued on the device's default stream; who works on another stream makes it wait for that
            one, and that one for it before letting the frame go. `on_host` gives arrays of any frame.
        format: how to read the planes.
        pts: presentation time in units of time_base, None where the container has none.
        time_base: seconds per tick.
        duration: ticks, 0 where unknown.
        alpha: opacity plane (H, W) of the same dtype, carried along untouched.
        rotation: degrees to turn for display, counterclockwise, carried along untouched.
        corrupt: the decoder concealed damage; such a frame never enters the temporal state.
        side: whatever else the source wants its sink to have (HDR metadata, sample aspect ratio, picture type).
    """

    planes: Planes
    format: PixelFormat
    pts: int | None = None
    time_base: Fraction = Fraction(1, 25)
    duration: int = 0
    alpha: np.ndarray | None = None
    rotation: int = 0
    corrupt: bool = False
    side: dict[str, Any] = field(default_factory=dict)

    @property
    def height(self) -> int:
        return self.planes[0].shape[0]

    @property
    def width(self) -> int:
        return self.planes[0].shape[1]

    @property
    def on_device(self) -> bool:
        """Whether the planes are torch tensors on a GPU instead of arrays."""
        return not isinstance(self.planes[0], np.ndarray)

    def with_planes(self, planes: Planes) -> Frame:
        """The same frame, time and description with other pixels."""
        return replace(self, planes=planes)


class Arriving(Protocol):
    """A copy of a frame's planes on its way to the host, begun by `download.begin`; stands in side["arriving"].

    Attributes:
        source: the planes that it is a copy of.
    """

    source: Planes

    def wait(self) -> Planes:
        """The copy as arrays, once it is complete; any thread may call it, and again."""


def on_host(frame: Frame) -> Frame:
    """The frame with its planes as arrays: itself where they are, else a copy from the device, waited for."""
    if not frame.on_device:
        return frame
    arriving: Arriving | None = frame.side.get("arriving")
    if arriving is not None and arriving.source is frame.planes:  # side data is shared with frames of other planes
        return frame.with_planes(arriving.wait())
    tensors: tuple[Any, ...] = frame.planes
    return frame.with_planes(tuple(plane.contiguous().cpu().numpy() for plane in tensors))


class Source(Protocol):
    """Where frames come from; iterating yields them in presentation order, close() releases everything."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Where frames go; finish() completes the output, abort() leaves no half-written output under its final name."""

    def write(self, frame: Frame) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...
