"""A frame looked at twice, once as in a mirror: the mean of both layers is nearer to the rain than either.

Networks are not symmetric, and where they are unsure they err differently (the self-ensemble of Timofte et al., Seven
Ways to Improve Example-Based Single Image Super Resolution, CVPR 2016, with one of its eight views).
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from streamderain.engine import Engine
from streamderain.int8_engine import Int8Engine


class Mirrored:
    """An engine that looks twice and takes twice as long.

    Args:
        engine: of a network with companions.

    Attributes:
        device, backend, precision, companions, recurrent, form, input_dtype: the engine's.
    """

    def __init__(self, engine: Engine | Int8Engine) -> None:
        self._engine = engine
        self.device, self.backend, self.precision = engine.device, engine.backend, engine.precision
        self.companions, self.recurrent = engine.companions, engine.recurrent
        self.form, self.input_dtype = engine.form, engine.input_dtype

    def rain(self, seen: Tensor) -> Tensor:
        """As Engine.rain."""
        return (self._engine.rain(seen) + self._engine.rain(_mirrored(seen)).flip(-1)) / 2

    def run(self, seen: Tensor, height: int, width: int) -> np.ndarray:
        """As Engine.run."""
        return self.rain(seen)[:, :height, :width].contiguous().cpu().numpy()


def _mirrored(seen: Tensor) -> Tensor:
    """What the network sees, left and right exchanged: the places, and the columns of each place's 2 x 2 pixels."""
    pixels = seen.unflatten(0, (-1, 2)).flip(1, -1).flatten(0, 1)
    return pixels[None].contiguous(memory_format=torch.channels_last)[0]
