"""The engine of the CPU's bytes: the stream generator in int8, where the processor and the weights allow it."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from streamderain.core import int8
from streamderain.core.checkpoint import Generator
from streamderain.core.companions import CodedForm
from streamderain.core.stream import OUTPUTS, StreamGenerator, reach_px
from streamderain.halves import Halves


class Int8Engine:
    """As Engine, of a stream generator on the CPU in int8.

    Args:
        model: float32, with ranges.

    Attributes:
        device, backend, precision, companions, recurrent: as in Engine.
        form: how the network's input is written, see companions.network_codes.
    """

    device, backend, precision, companions = "cpu", "eager", "int8", True
    input_dtype = torch.uint8

    def __init__(self, model: StreamGenerator) -> None:
        assert model.ranges is not None
        self.recurrent = model.config.recurrent
        self.form: CodedForm | None = int8.input_form()
        self._network = int8.Int8Generator(model, model.ranges)
        self._halves = Halves(reach_px(model.config))

    def run(self, seen: Tensor, height: int, width: int) -> np.ndarray:
        """Estimate the rain layer of one frame, and the doubt about it.

        Args:
            seen: what companions.network_codes made.
            height, width: of the frame.

        Returns:
            (4, height, width) float32, see StreamGenerator.forward.
        """
        rain = np.empty((OUTPUTS, height, width), np.float32)
        self._halves.run(lambda top, bottom, meet: self._network.rows(seen[None], top, bottom, rain, meet), height)
        return rain

    def rain(self, seen: Tensor) -> Tensor:
        """The same as a tensor, not cropped: blocks may exceed the frame."""
        _, height, width = seen.shape
        return torch.from_numpy(self.run(seen, 2 * (height - 2), 2 * (width - 2)))


def missing(model: Generator) -> str | None:
    """Why this model cannot run in int8 here; None where it can."""
    if not isinstance(model, StreamGenerator) or not int8.suits(model):
        return "only networks made by `streamderain train stream` run in int8"
    if model.ranges is None:
        return "these weights were made without the ranges that int8 needs; train them again"
    if not int8.cpu_has_int8():
        return "this processor has no instructions for int8"
    return None
