"""A Derainer without a network: it makes every frame a little darker, and can be slow or fail."""
from __future__ import annotations

import sys
import time
import types

from streamderain.errors import DerainError


class FakeDerainer:
    """Subtracts `strength` * 8 from the first plane; model names choose misbehaviour."""

    loaded = 0

    def __init__(self, *, profile="auto", device="auto", model=None, strength=1.0, **rest):
        if profile == "quality":
            raise DerainError("profile quality has no weights yet; use realtime.")
        type(self).loaded += 1
        self.profile = "tiny" if profile == "auto" else profile
        self.device, self.backend, self.precision = "cpu", "fake", "int8"
        self.stage_ms = {"search": 0.0, "network": 0.0}
        self.frames = self.resets = 0
        self.seconds = float(model.read_text()) if model else 0.0
        self.step = round(8 * strength)

    def __call__(self, frame, following=None):
        if self.seconds < 0:
            raise DerainError("the network melted; cool it.", exit_code=4)
        time.sleep(self.seconds)
        self.frames += 1
        self.stage_ms["search"] += 2.0
        self.stage_ms["network"] += 3.0
        first = frame.planes[0]
        return frame.with_planes((first - first.dtype.type(self.step), *frame.planes[1:]))

    def reset(self):
        self.resets += 1


def install(modules=sys.modules):
    """Put the fake where the command looks for the Derainer."""
    module = types.ModuleType("streamderain.derainer")
    module.Derainer = FakeDerainer
    modules["streamderain.derainer"] = module
