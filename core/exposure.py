"""One frame in the light of another, where a camera or a lamp changed the light between them.

Exposure that is corrected while it rains, a lamp on alternating current: the whole picture is brighter than the one
before, and neither the search, which compares grey levels, nor the network, which is shown differences, can tell that
from motion or rain. So a neighbour's grey levels are mapped until they are as frequent as the frame's (histogram
specification; Gonzalez and Woods, Digital Image Processing, section 3.3), if that makes the two more alike.

On the CPU by kernels, elsewhere by torch, with the same answers; a GPU is not waited for.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from . import kernels_colour, kernels_light
from .matching import Guide

BETTER = 97  # hundredths of a difference may be left: what moves into a picture changes frequencies as well
MOST = 16.0  # mean change in grey levels of neighbours in time; more is another scene
LEAST = 8192  # pixels; in a smaller picture all that moves changes how frequent codes are
_TRUNCATION = 40  # grey levels of a difference: what moved shall not outvote what stands
UNCHANGED = np.arange(256, dtype=np.uint8)[None].repeat(4, 0)  # the tones of equal light
_COUNTED = 2**15  # pixels are enough to tell the light of a frame


@dataclass(frozen=True, slots=True)
class Light:
    """What of a frame its light is known by.

    Attributes:
        counts: (4, 256) int32, how often each code is in the search's luma, in red, green and blue.
        coarse: (h, w) uint8, means of blocks of that luma.
    """

    counts: Tensor
    coarse: Tensor


def light(guide: Tensor, coarse: Tensor, rgb: Tensor) -> Light:
    """The light of a frame.

    Args:
        guide: (H', W') uint8, the luma that the search compares, however padded.
        coarse: means of its blocks, uint8.
        rgb: (3, H, W) uint8.
    """
    if guide.device.type != "cpu":
        return Light(torch.stack([_counted(codes) for codes in (guide, *rgb)]), coarse)
    counts = np.zeros((4, 256), np.int32)
    for codes, row in zip((guide, *rgb), counts, strict=True):
        kernels_light.count(codes.numpy(), _step(codes), row)
    return Light(torch.from_numpy(counts), coarse)


def tones(there: Light, here: Light) -> Tensor:
    """What becomes of a neighbour's codes in the light of a frame.

    Returns:
        (4, 256) uint8, by luma, red, green and blue; unchanged where the light is the same, or the scene another.
    """
    return _tones_on_cpu(there, here) if there.counts.device.type == "cpu" else _tones(there, here)


def _tones_on_cpu(there: Light, here: Light) -> Tensor:
    """The same by numpy and a kernel."""
    before, wanted = (each.counts.numpy().astype(np.float64) for each in (there, here))
    ranks = (before.cumsum(1) - before / 2) * (wanted.sum(1) / before.sum(1))[:, None]
    found = np.stack([np.searchsorted(*each) for each in zip(wanted.cumsum(1), ranks, strict=True)]).clip(max=255)
    change = (np.abs(found - UNCHANGED) * before).sum(1) / before.sum(1)
    found = found.astype(np.uint8)
    left, was = (
        kernels_light.difference(there.coarse.numpy(), here.coarse.numpy(), tone, _TRUNCATION)
        for tone in (found[0], UNCHANGED[0])
    )
    right = change.max() <= MOST and 100 * left < BETTER * was and before[1].sum() >= LEAST
    return torch.from_numpy(found if right else UNCHANGED.copy())


def _tones(there: Light, here: Light) -> Tensor:
    """The same by torch, on any device."""
    before, wanted = there.counts.double(), here.counts.double()
    # the middle one of all that have a code goes where as many are darker here
    ranks = (before.cumsum(1) - before / 2) * (wanted.sum(1) / before.sum(1))[:, None]
    found = torch.searchsorted(wanted.cumsum(1), ranks).clamp_(max=255)
    unchanged = torch.arange(256, device=found.device)
    change = ((found - unchanged).abs() * before).sum(1) / before.sum(1)
    left = _difference(toned(there.coarse, found[0]), here.coarse)
    right = (change.max() <= MOST) & (100 * left < BETTER * _difference(there.coarse, here.coarse))
    right &= before[1].sum() >= LEAST
    return torch.where(right, found, unchanged).to(torch.uint8)


def guide_in_light(guide: Guide, tones: np.ndarray) -> Guide:
    """What the search sees of a neighbour in the light of a frame, by its tones, uint8 (4, 256)."""
    padded, coarse = (_through(codes, tones[0]) for codes in (guide.padded, guide.coarse))
    return replace(guide, padded=padded, coarse=coarse)


def colours_in_light(rgb: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """What the network sees of it: (3, H, W) uint8."""
    return np.stack([_through(*each) for each in zip(rgb, tones[1:], strict=True)])


def _through(codes: np.ndarray, tone: np.ndarray) -> np.ndarray:
    out = np.empty_like(codes)
    kernels_colour.look_up(codes, tone, out)
    return out


def toned(codes: Tensor, tone: Tensor) -> Tensor:
    """Codes, uint8 of any shape, through one row (256,) of tones."""
    return tone[codes.int()]


def _counted(codes: Tensor) -> Tensor:
    """How often each of 256 codes is in (H, W): (256,) int32, of every so many rows and columns."""
    step = _step(codes)
    places = codes[::step, ::step].reshape(-1).long()
    ones = torch.ones_like(places, dtype=torch.int32)
    return torch.zeros(256, dtype=torch.int32, device=codes.device).scatter_add_(0, places, ones)


def _step(codes: Tensor) -> int:
    """One of so many rows and columns of (H, W) is counted."""
    return max(1, math.isqrt(codes.numel() // _COUNTED))


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """The sum of the truncated differences, in whole numbers."""
    return (one.int() - other.int()).abs_().clamp_(max=_TRUNCATION).sum()
