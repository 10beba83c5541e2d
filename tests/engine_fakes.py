"""Networks and stand-ins for what only a GPU has, for the tests of the engine."""
from __future__ import annotations

import torch

from streamderain import tensorrt
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import StreamConfig, StreamGenerator


def stream(widths=(8, 8, 8), blocks=(1, 1, 1, 1, 1), seed=0, context=False):
    """A small network with companions whose every layer counts."""
    torch.manual_seed(seed)
    model = StreamGenerator(StreamConfig(widths=widths, blocks=blocks, context=context)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.5 / module.weight[0].numel() ** 0.5)
    return model


def single(seed=0):
    """A small published network."""
    torch.manual_seed(seed)
    return SingleFrameDerainer(ResidualGenerator(4, 1), low=-1, output="background").eval()


class FakeTensorRT:
    """Stands in for the door's functions: an "engine" is the text of what it multiplies the network's result by.

    Args:
        monkeypatch: pytest's.
        plain: what an engine runs.

    Attributes:
        factor: of the engines that are built from now on.
        built, loaded: what was, in order.
        error: raised instead of building.
    """

    def __init__(self, monkeypatch, plain):
        self.plain, self.factor, self.error = plain, 1.0, None
        self.built, self.loaded = [], []
        for name in ("build", "load"):
            monkeypatch.setattr(tensorrt, name, getattr(self, name))
        monkeypatch.setattr(tensorrt, "versions", lambda: {"torch_tensorrt": "2.13.0", "tensorrt_rtx": "1.5"})

    def build(self, model, shapes, device):
        if self.error is not None:
            raise self.error
        self.built.append(shapes)
        return f"engine {self.factor}".encode()

    def load(self, engine, device, kernels):
        word, factor = engine.split()
        if word != b"engine":
            raise tensorrt.Unbuildable("it was built by another TensorRT")
        self.loaded.append(engine)
        return lambda batch: self.plain(batch) * float(factor)
