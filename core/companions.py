"""What the network sees: the frame, and its two companions gathered through their match fields."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import kernels
from .matching import MatchField

SLOTS = 2
SLOT_CHANNELS = 4  # RGB difference to the frame, cost of the match
CHANNELS = 3 + SLOTS * SLOT_CHANNELS
MULTIPLE = 8  # the network works on heights and widths that are multiples of this
COST_CAP = 2048  # of 64 pixels x truncation; costs from here on are all 1.0


@dataclass(frozen=True, slots=True)
class Companion:
    """A reference frame and where each cell of the current frame stands in it.

    Attributes:
        rgb: the reference, (3, H, W) uint8.
        field: from the current frame into the reference; its best match counts.
    """

    rgb: np.ndarray
    field: MatchField


Slots = tuple[Companion | None, Companion | None]


def network_input(rgb: np.ndarray, companions: Slots, dtype: torch.dtype = torch.float32) -> Tensor:
    """Lay a frame and its companions side by side for the generator.

    Args:
        rgb: the frame, (3, H, W) uint8.
        companions: the two slots; None is an empty one: no difference, cost 1 (nothing was found).
        dtype: torch.float32 or torch.bfloat16; written directly, without a float copy in between.

    Returns:
        (11, H, W): RGB 0..1, then for each slot RGB of the reference minus the frame (-1..1) and the cost (0..1).

    Raises:
        ValueError: the frame is not (3, H, W) uint8, a reference or its field does not fit it, or the dtype is
            another one.
    """
    rows, columns = _padded(rgb)
    out = torch.empty((CHANNELS, rows, columns), dtype=dtype)
    _fill(_bits(out).reshape(CHANNELS, rows // 2, 2, columns // 2, 2), rgb, companions, dtype)
    return out[:, : rgb.shape[1], : rgb.shape[2]]


def network_blocks(rgb: np.ndarray, companions: Slots, dtype: torch.dtype = torch.float32) -> Tensor:
    """What network_input returns, padded, pixel-unshuffled by two and channels last, without any of these steps.

    Args and Raises as in network_input.

    Returns:
        (44, H / 2, W / 2) with H and W rounded up to multiples of 8, for StreamGenerator.from_blocks.
    """
    rows, columns = _padded(rgb)
    out = torch.empty((rows // 2, columns // 2, CHANNELS * 4), dtype=dtype)
    # (H/2, W/2, 11, 2, 2) -> (11, H/2, 2, W/2, 2): the order of torch's pixel_unshuffle
    blocks = _bits(out).reshape(rows // 2, columns // 2, CHANNELS, 2, 2).transpose(2, 0, 3, 1, 4)
    _fill(blocks, rgb, companions, dtype)
    return out.permute(2, 0, 1)


def _fill(out: np.ndarray, rgb: np.ndarray, companions: Slots, dtype: torch.dtype) -> None:
    """Write all channels into out (11, rows / 2, 2, columns / 2, 2)."""
    colour, difference, cost = _tables(dtype)
    kernels.fill_scaled(rgb, colour, out[:3])
    for slot, companion in enumerate(companions):
        channels = out[3 + slot * SLOT_CHANNELS : 3 + (slot + 1) * SLOT_CHANNELS]
        if companion is None:
            channels[:3], channels[3] = difference[255], cost[-1]
            continue
        _check(companion, rgb)
        keys = companion.field.keys[0]
        kernels.fill_companion(rgb, companion.rgb, keys, companion.field.radius, difference, cost, channels)


def _padded(rgb: np.ndarray) -> tuple[int, int]:
    """Height and width rounded up for the network."""
    if rgb.ndim != 3 or rgb.shape[0] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"frame is {rgb.dtype} {rgb.shape}; it must be uint8 (3, H, W)")
    return rgb.shape[1] + -rgb.shape[1] % MULTIPLE, rgb.shape[2] + -rgb.shape[2] % MULTIPLE


def _bits(tensor: Tensor) -> np.ndarray:
    """A tensor's memory as numpy, which has no bfloat16: its bits travel as int16, as in _tables."""
    return tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _check(companion: Companion, rgb: np.ndarray) -> None:
    if companion.rgb.shape != rgb.shape or companion.rgb.dtype != rgb.dtype:
        reference = companion.rgb
        raise ValueError(f"reference is {reference.dtype} {reference.shape}, the frame {rgb.dtype} {rgb.shape}")
    cells = companion.field.keys.shape[1:]
    if cells != tuple(-(-size // kernels.CELL) for size in rgb.shape[1:]):
        raise ValueError(f"field of {cells} cells does not fit a frame of {rgb.shape}")


def _tables(dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of the colour, difference and cost channels, in the bits of dtype."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype is {dtype}; it must be torch.float32 or torch.bfloat16")
    values = (torch.arange(256) / 255, torch.arange(-255, 256) / 255, torch.arange(COST_CAP + 1) / COST_CAP)
    tables = [value.to(dtype) for value in values]
    return tuple((t if dtype == torch.float32 else t.view(torch.int16)).numpy() for t in tables)  # type: ignore[return-value]
