"""A derainer whose network takes no time and finds no rain: the cost of all the rest."""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamderain.core.stream import OUTPUTS
from streamderain.derainer import Derainer
from streamderain.stages import stages_for


class NoRain:
    """In an engine's place: takes the same input, and estimates no rain, at once. All else is asked of the engine."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._layer = torch.zeros((3, 0, 0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def rain(self, seen: Tensor) -> Tensor:
        """Zeros, at least as high and wide as a network would have given; made once for each size."""
        # blocks are half as high and wide
        channels, scale = (OUTPUTS, 2) if self._engine.companions else (3, 1)
        shape = (channels, seen.shape[1] * scale, seen.shape[2] * scale)
        if self._layer.shape != shape:
            self._layer = torch.zeros(shape, device=self._engine.device)
        return self._layer

    def run(self, seen: Tensor, height: int, width: int) -> np.ndarray:
        """The same on the host, without the rows and columns that blocks have too many."""
        return np.ascontiguousarray(self.rain(seen)[:, :height, :width].cpu().numpy())


class Rainless(Derainer):
    """Does to a frame all that a Derainer does, but for the network; the frame comes out as it went in.

    Takes what a Derainer takes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        none: Any = NoRain(self._engine)
        self._engine, self._stages = none, stages_for(none)
