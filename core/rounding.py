"""Weights rounded to whole numbers so that no even ground changes its brightness (after SQuant, Guo et al., ICLR 2022).

Rounded one by one, the errors of a kernel's nine weights add up to as much as two; before an even ground all of that
arrives, the same everywhere. Of a kernel whose errors sum to more than a half, those weights that were nearest to the
middle are rounded to the other side, until it is less.
"""
from __future__ import annotations

import torch
from torch import Tensor


def rounded(weight: Tensor) -> Tensor:
    """Round kernels, keeping their sums.

    Args:
        weight: (O, I, KH, KW) float32, in units of a step, within -127 to 127.

    Returns:
        (O, I, KH, KW) int8: each less than one from its weight, each kernel's sum at most a half from the weights' sum.
    """
    kernels = weight.flatten(2)
    whole = kernels.round()
    error = whole - kernels
    excess = error.sum(-1, keepdim=True).round()
    way = excess.sign()
    rank = (error * way).argsort(-1, descending=True).argsort(-1)
    whole -= torch.where(rank < excess.abs(), way, 0)
    return whole.to(torch.int8).view_as(weight)
