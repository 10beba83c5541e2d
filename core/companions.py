"""What the network sees: the frame, and its two companions gathered through their match fields."""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from . import kernels, kernels_blocks
from .matching import MatchField

SLOTS = 2
SLOT_CHANNELS = 4  # RGB difference to the frame, cost of the match
CHANNELS = 3 + SLOTS * SLOT_CHANNELS + 1  # and the doubt about the first companion
MULTIPLE = 8  # the network works on heights and widths that are multiples of this
_UNIT_SCALES = np.array([(1 / 255, 0), (1 / 255, 0)], np.float32)
_UNASKED = np.empty((0, 0), np.uint8)
COST_CAP = 2048  # of 64 pixels x truncation; costs from here on are all 1.0


@dataclass(frozen=True, slots=True)
class Companion:
    """A reference frame and where each cell of the current frame stands in it.

    Attributes:
        rgb: the reference, (3, H, W) uint8.
        field: from the current frame into the reference; its best match counts.
        doubt: where the reference is an answer of the network, how unsure it was of it, (H, W) uint8; None elsewhere.
    """

    rgb: np.ndarray
    field: MatchField
    doubt: np.ndarray | None = None


Slots = tuple[Companion | None, Companion | None]


@dataclass(frozen=True, slots=True)
class CodedForm:
    """How the network's input is written in bytes.

    Attributes:
        scales: factor and addend of 8-bit colours and of their differences, float32 (2, 2).
        costs: codes of the costs up to COST_CAP for the four places of a block, uint8 (COST_CAP + 1, 4).
        edge: codes of a block outside the picture, uint8 (48,).
    """

    scales: np.ndarray
    costs: np.ndarray
    edge: np.ndarray


def network_input(rgb: np.ndarray, companions: Slots, dtype: torch.dtype = torch.float32) -> Tensor:
    """Lay a frame and its companions side by side for the generator.

    Args:
        rgb: the frame, (3, H, W) uint8.
        companions: the two slots; None is an empty one: no difference, cost 1 (nothing was found).
        dtype: torch.float32 or torch.bfloat16.

    Returns:
        (12, H, W): RGB 0..1, then for each slot RGB of the reference minus the frame (-1..1) and the cost (0..1), and
        the doubt about the first slot's reference (0..1), 1 where nobody was asked.

    Raises:
        ValueError: the frame is not (3, H, W) uint8, a reference or its field does not fit it, or the dtype is
            another one.
    """
    blocks = network_blocks(rgb, companions, dtype)
    return torch.nn.functional.pixel_shuffle(blocks[None], 2)[0, :, : rgb.shape[1], : rgb.shape[2]]


def network_blocks(rgb: np.ndarray, companions: Slots, dtype: torch.dtype = torch.float32) -> Tensor:
    """What network_input returns, padded, pixel-unshuffled by two and channels last, without any of these steps.

    Args and Raises as in network_input.

    Returns:
        (48, H / 2, W / 2) with H and W rounded up to multiples of 8, for StreamGenerator.from_blocks.
    """
    rows, columns = _padded(rgb)
    costs = _cost_table(dtype)
    out = torch.empty((rows // 2, columns // 2, CHANNELS * 4), dtype=dtype)
    _fill(rgb, companions, _UNIT_SCALES, costs, 0, _bits(out))
    return out.permute(2, 0, 1)


def network_codes(rgb: np.ndarray, companions: Slots, form: CodedForm) -> Tensor:
    """What network_blocks returns as bytes, with blocks around the picture in place of the network's own padding.

    Args:
        rgb, companions: as in network_input.
        form: how values are written as codes, see int8.py.

    Returns:
        (48, H / 2 + 2, W / 2 + 2) uint8, H and W rounded up to multiples of 8.

    Raises:
        ValueError: as in network_input.
    """
    rows, columns = _padded(rgb)
    out = np.empty((rows // 2 + 2, columns // 2 + 2, CHANNELS * 4), np.uint8)
    out[[0, -1]], out[:, [0, -1]] = form.edge, form.edge
    _fill(rgb, companions, form.scales, form.costs, 1, out)
    return torch.from_numpy(out).permute(2, 0, 1)


def _fill(
    rgb: np.ndarray, companions: Slots, scales: np.ndarray, costs: np.ndarray, edge: int, out: np.ndarray
) -> None:
    """Write all channels into out (rows / 2 + 2 * edge, columns / 2 + 2 * edge, 48)."""
    for companion in companions:
        _check(companion, rgb)
    nothing = np.zeros([-(-size // kernels.CELL) for size in rgb.shape[1:]], np.uint32)
    references = tuple(companion.rgb if companion else rgb for companion in companions)
    keys = tuple(companion.field.keys[0] if companion else nothing for companion in companions)
    doubt = companions[0].doubt if companions[0] else None
    kernels_blocks.fill_blocks(
        np.ascontiguousarray(rgb),
        tuple(np.ascontiguousarray(reference) for reference in references),
        _UNASKED if doubt is None else np.ascontiguousarray(doubt),
        tuple(np.ascontiguousarray(each) for each in keys),
        np.array([companion is not None for companion in companions]),
        np.array([companion.field.radius if companion else 1 for companion in companions]),
        scales, costs, edge, _words(out),
    )  # fmt: skip


def _words(blocks: np.ndarray) -> np.ndarray:
    """Blocks (..., 48) as (..., 12, words): the four items of a block, two rows of two, packed into one or two words.

    That is the order of torch's pixel_unshuffle.
    """
    word = np.dtype(np.uint32 if blocks.itemsize == 1 else np.uint64)
    return blocks.view(word).reshape(*blocks.shape[:2], CHANNELS, -1)


def _padded(rgb: np.ndarray) -> tuple[int, int]:
    """Height and width rounded up for the network."""
    if rgb.ndim != 3 or rgb.shape[0] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"frame is {rgb.dtype} {rgb.shape}; it must be uint8 (3, H, W)")
    return rgb.shape[1] + -rgb.shape[1] % MULTIPLE, rgb.shape[2] + -rgb.shape[2] % MULTIPLE


def _bits(tensor: Tensor) -> np.ndarray:
    """A tensor's memory as integers of its width: numpy has no bfloat16."""
    return tensor.view(torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32).numpy()


def _check(companion: Companion | None, rgb: np.ndarray) -> None:
    if companion is None:
        return
    if companion.rgb.shape != rgb.shape or companion.rgb.dtype != rgb.dtype:
        reference = companion.rgb
        raise ValueError(f"reference is {reference.dtype} {reference.shape}, the frame {rgb.dtype} {rgb.shape}")
    if (doubt := companion.doubt) is not None and (doubt.shape != rgb.shape[1:] or doubt.dtype != np.uint8):
        raise ValueError(f"doubt is {doubt.dtype} {doubt.shape}; it must be uint8 {rgb.shape[1:]}")
    cells = companion.field.keys.shape[1:]
    if cells != tuple(-(-size // kernels.CELL) for size in rgb.shape[1:]):
        raise ValueError(f"field of {cells} cells does not fit a frame of {rgb.shape}")


@lru_cache
def _cost_table(dtype: torch.dtype) -> np.ndarray:
    """The bits of the cost channel for each cost up to the cap, for the four places of a block: (COST_CAP + 1, 4)."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype is {dtype}; it must be torch.float32 or torch.bfloat16")
    costs = _bits((torch.arange(COST_CAP + 1) / COST_CAP).to(dtype))
    return np.repeat(costs[:, None], 4, 1)
