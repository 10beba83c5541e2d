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
            (ceil(H / 2**v), ceil(W / 2**h)) for format.subsampling (h, v).
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

    def with_planes(self, planes: Planes) -> Frame:
        """The same frame, time and description with other pixels."""
        return replace(self, planes=planes)


class Source(Protocol):
    """Where frames come from; iterating yields them in presentation order, close() releases everything."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Where frames go; finish() completes the output, abort() leaves no half-written output under its final name."""

    def write(self, frame: Frame) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...
