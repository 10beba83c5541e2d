"""Begin a network as smaller ones that it contains (after Net2Net, Chen, Goodfellow and Shlens, ICLR 2016).

Twice as wide, it begins as the small network and its mirror image side by side and answers with the mean of the two,
which is better than either (a self-ensemble, Timofte et al., CVPR 2016). And no channel has to be learned from nothing:
beside a trained network random ones stay idle for thousands of steps.
"""
from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from .context import GlobalContext
from .stream import StreamGenerator

_SHUFFLED = {"head": (1,), "up4": (0,), "up2": (0,), "tail": (0,)}  # axes whose channels are 2 x 2 pixels, row by row


@torch.no_grad()
def grow(small: StreamGenerator, large: StreamGenerator) -> None:
    """Give a fresh network the function of a smaller one, or, twice as wide, of it and its mirror image in the mean.

    The small networks take the first channels, one after the other (pixel_shuffle keeps their order), and do not listen
    to each other yet; the mirror image is exact in frames whose width is a multiple of eight. Channels after them keep
    their random weights, but none of the first listens to them. Blocks that the small network lacks start as the
    identity. Blocks that the large one lacks are left out, and the function is then not the same.

    Args:
        small: what to start from.
        large: at least as wide at every resolution; changed in place.

    Raises:
        ValueError: large is narrower somewhere.
    """
    copies = 2 if all(2 * own <= new for own, new in zip(small.config.widths, large.config.widths, strict=True)) else 1
    models, grown = ({n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)} for net in (small, large))
    for name, model in models.items():
        if (new := grown.get(name)) is None:
            continue
        if new.in_channels < model.in_channels or new.out_channels < model.out_channels:
            channels = f"{model.in_channels} to {model.out_channels} channels"
            raise ValueError(f"{name} has {channels} in the weights to start from, more than here")
        _place(name, model, new, copies)
    if small.context is not None and large.context is not None:
        _grow_context(small.context, large.context, copies)


def _place(name: str, model: nn.Conv2d, new: nn.Conv2d, copies: int) -> None:
    """Put a convolution, and its mirror image beside it, into a wider one; the picture itself is there once."""
    before, after = model.in_channels, model.out_channels
    sides = 1 if name == "tail" else copies
    assert new.bias is not None
    new.weight[: sides * after] = 0
    new.bias[: sides * after] = 0
    for copy in range(copies):
        one = _mirrored(name, model) if copy else model
        assert one.bias is not None
        inputs = slice(0, before) if name == "head" else slice(copy * before, (copy + 1) * before)
        outputs = slice(0, after) if name == "tail" else slice(copy * after, (copy + 1) * after)
        new.weight[outputs, inputs] += one.weight * (sides / copies)
        new.bias[outputs] += one.bias * (sides / copies)


def _mirrored(name: str, model: nn.Conv2d) -> nn.Conv2d:
    """The convolution that does to a mirrored picture what this one does to the picture."""
    mirrored = deepcopy(model)
    assert mirrored.bias is not None
    mirrored.weight.copy_(model.weight.flip(-1))
    for axis in _SHUFFLED.get(name, ()):
        mirrored.weight.copy_(_columns_exchanged(mirrored.weight, axis))
        if axis == 0:
            mirrored.bias.copy_(_columns_exchanged(mirrored.bias, 0))
    return mirrored


def _columns_exchanged(tensor: Tensor, axis: int) -> Tensor:
    """Channels of 2 x 2 pixels, row by row, with left and right exchanged."""
    return tensor.unflatten(axis, (-1, 2)).flip(axis + 1).flatten(axis, axis + 1)


def _grow_context(small: GlobalContext, large: GlobalContext, copies: int) -> None:
    """The same for what the whole picture says: each channel is read twice, above zero and below."""
    count = len(small.say.bias)
    for model, grown in ((small.read, large.read), (small.say, large.say)):
        kept = grown.weight.reshape(len(grown.bias), -1, len(grown.bias))  # a view: (out, readings, in)
        kept[: copies * count] = 0
        for n in range(0, copies * count, count):
            kept[n : n + count, :, n : n + count] = model.weight.reshape(count, -1, count)
            grown.bias[n : n + count] = model.bias
