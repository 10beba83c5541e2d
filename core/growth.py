"""Begin a network as a smaller one that it contains (after Net2Net, Chen, Goodfellow and Shlens, ICLR 2016)."""
from __future__ import annotations

import torch
from torch import nn

from .context import GlobalContext
from .stream import StreamGenerator


@torch.no_grad()
def grow(small: StreamGenerator, large: StreamGenerator) -> None:
    """Give a freshly initialised network the function of a smaller one; what it has beyond that starts idle.

    The small network's channels become the first of the large one's (pixel_shuffle keeps the first first). The others
    keep their random weights, but none of the first listens to them yet. Blocks that the small network lacks start as
    the identity. Blocks that the large one lacks are left out, and the function is then not the same.

    Args:
        small: what to start from.
        large: at least as wide at every resolution; changed in place.

    Raises:
        ValueError: large is narrower somewhere.
    """
    models, grown = ({n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)} for net in (small, large))
    for name, model in models.items():
        if name not in grown:
            continue
        weight, bias = grown[name].weight, grown[name].bias
        before, after = model.in_channels, model.out_channels
        if weight.shape[1] < before or weight.shape[0] < after:
            raise ValueError(f"{name} has {before} to {after} channels in the weights to start from, more than here")
        assert model.bias is not None and bias is not None
        weight[:after, before:] = 0
        weight[:after, :before] = model.weight
        bias[:after] = model.bias
    if small.context is not None and large.context is not None:
        _grow_context(small.context, large.context)


def _grow_context(small: GlobalContext, large: GlobalContext) -> None:
    """The same for what the whole picture says: each channel is read twice, above zero and below."""
    count = len(small.say.bias)
    for model, grown in ((small.read, large.read), (small.say, large.say)):
        kept = grown.weight.reshape(len(grown.bias), -1, len(grown.bias))  # a view: (out, readings, in)
        kept[:count, :, count:] = 0
        kept[:count, :, :count] = model.weight.reshape(count, -1, count)
        grown.bias[:count] = model.bias
