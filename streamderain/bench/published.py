"""The published NLCL generator as the other side of every comparison of networks; weights do not change its speed."""
from __future__ import annotations

import torch

from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer

_SOFTER = 1 / 16


@torch.no_grad()
def published() -> SingleFrameDerainer:
    """The published network, freshly initialised, as an engine takes it, with an output as faint as a rain layer.

    An engine is proven by its distance from the eager network in grey levels; an untrained network's output spans
    hundreds of them, and its rounding alone would be taken for a fault.
    """
    network = ResidualGenerator()
    for parameter in network.layers[-1].parameters():
        parameter.mul_(_SOFTER)
    return SingleFrameDerainer(network, low=-1, output="rain").eval()
