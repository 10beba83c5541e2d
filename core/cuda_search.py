"""The patch search of matching.py on a CUDA device: the same guides, the same fields, on torch's current stream.

Nothing here waits for the device; only reading a field's costs or keys on the host does.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import device_memory, exposure, kernels_cuda, kernels_cuda_proposals
from .device_memory import Shared
from .kernels import CELL, TILE_COLS, TILE_ROWS
from .matching import BEFORE, MAX_RADIUS, SearchSettings

MARGIN = MAX_RADIUS + 1 + BEFORE  # padding before the picture, pixels; less BEFORE it is whole words
_ORIGIN = MARGIN - BEFORE


@dataclass(frozen=True, slots=True)
class DeviceGuide:
    """A matching.Guide on the device.

    Attributes:
        words: uint32 (rows, columns / 4), the padded guide, four pixels in each with the first in the low bits.
        coarse: uint8 (rows / 4, columns / 4), the means of its blocks of 4x4 pixels.
        height, width: of the picture, pixels.
    """

    words: Shared
    coarse: Shared
    height: int
    width: int

    @property
    def cells(self) -> tuple[int, int]:
        return -(-self.height // CELL), -(-self.width // CELL)


@dataclass(frozen=True, slots=True)
class DeviceField:
    """A matching.MatchField on the device.

    Attributes:
        keys: uint32 (k, ceil(H / 4), ceil(W / 4)), as matching.MatchField.keys.
        tile_costs: int32 (tile rows, tile columns), the best costs of each tile's cells added up.
        radius: of the window.
    """

    keys: Shared
    tile_costs: Tensor
    radius: int


def make_guide(luma: Shared, *, suppress: int = 1) -> DeviceGuide:
    """matching.make_guide on the device.

    Args:
        luma: (H, W) uint8 in any strides.
        suppress: reach of the horizontal minimum in pixels to each side.

    Raises:
        ValueError: luma is not a (H, W) uint8 tensor.
    """
    if luma.tensor.ndim != 2 or luma.tensor.dtype != torch.uint8 or not luma.tensor.numel():
        raise ValueError(f"luma is {luma.tensor.dtype} {tuple(luma.tensor.shape)}; it must be uint8 (H, W)")
    height, width = luma.tensor.shape
    rows = -(-height // (TILE_ROWS * CELL)) * TILE_ROWS + (2 * MARGIN + CELL) // CELL
    columns = -(-width // (TILE_COLS * CELL)) * TILE_COLS + (2 * MARGIN + CELL) // CELL
    words = device_memory.empty((rows * CELL, columns), torch.uint32, luma.tensor.device)
    coarse = device_memory.empty((rows, columns), torch.uint8, luma.tensor.device)
    x, y = kernels_cuda.GUIDE_THREADS
    grid = -(-columns // x), -(-rows // y)
    kernels_cuda.guide_blocks[grid, (x, y), device_memory.stream()](
        luma.array, *_numbers(suppress, MARGIN), words.array, coarse.array
    )
    return DeviceGuide(words, coarse, height, width)


def toned(guide: DeviceGuide, tone: Tensor) -> DeviceGuide:
    """The guide with its codes replaced by tone (256,) uint8, see exposure.py."""
    words = exposure.toned(guide.words.tensor.view(torch.uint8), tone).view(torch.uint32)
    coarse = exposure.toned(guide.coarse.tensor, tone)
    return replace(guide, words=device_memory.shared(words), coarse=device_memory.shared(coarse))


def search(
    query: DeviceGuide,
    reference: DeviceGuide,
    settings: SearchSettings,
    *,
    previous: DeviceField | None = None,
    seed: int = 0,
) -> DeviceField:
    """matching.search on the device: the same keys, bit for bit.

    Args and Raises as there.
    """
    if (query.height, query.width) != (reference.height, reference.width):
        raise ValueError(f"query is {query.height}x{query.width}, reference {reference.height}x{reference.width}")
    rows, columns = query.cells
    grid = -(-columns // TILE_COLS), -(-rows // TILE_ROWS)
    device = query.words.tensor.device
    if previous is None:
        candidates, counts = _every_offset(settings.radius, device)
    else:
        if previous.keys.tensor.shape[1:] != (rows, columns) or previous.radius != settings.radius:
            raise ValueError("previous has another size or radius")
        candidates, counts = _proposals(query, reference, previous, settings, seed, grid)
    keys = device_memory.empty((settings.k, rows, columns), torch.uint32, device)
    costs = device_memory.empty((grid[1], grid[0]), torch.int32, device)
    kernels_cuda.match_tiles(settings.k)[grid, kernels_cuda.MATCH_THREADS, device_memory.stream()](
        query.words.array, reference.words.array,
        *_numbers(_ORIGIN, settings.radius, settings.truncation, settings.penalty),
        candidates, counts, keys.array, costs.array,
    )  # fmt: skip
    return DeviceField(keys, costs.tensor, settings.radius)


def _proposals(
    query: DeviceGuide,
    reference: DeviceGuide,
    previous: DeviceField,
    settings: SearchSettings,
    seed: int,
    grid: tuple[int, int],
) -> tuple[Any, Any]:
    """Each tile's own candidates, int32 (T, N) and (T,)."""
    longest = 9 + (CELL + 1) ** 2 + settings.winners * (2 * settings.reach + 1) ** 2 + settings.probes
    candidates, counts = _lists(grid[0] * grid[1], longest, query.words.tensor.device)
    kernels_cuda_proposals.propose[grid, kernels_cuda_proposals.PROPOSE_THREADS, device_memory.stream()](
        query.coarse.array, reference.coarse.array, previous.keys.array,
        *_numbers(_ORIGIN // CELL, settings.radius, settings.truncation, settings.winners, settings.reach),
        np.int32(settings.probes), np.uint32(seed * 0x10001 & 0xFFFFFFFF), candidates, counts,
    )  # fmt: skip
    return candidates, counts


def _numbers(*values: int) -> tuple[np.int32, ...]:
    """Numbers as the kernels take them: of a Python int Numba makes 64 bits."""
    return tuple(np.int32(value) for value in values)


def _lists(tiles: int, longest: int, device: torch.device) -> tuple[Any, Any]:
    """Room for the candidates of one search."""
    shapes: tuple[tuple[int, ...], ...] = ((tiles, longest), (tiles,))
    first, second = (device_memory.empty(shape, torch.int32, device).array for shape in shapes)
    return first, second


@lru_cache
def _every_offset(radius: int, device: torch.device) -> tuple[Any, Any]:
    """All offsets of the window as one list that all tiles share."""
    dy, dx = np.divmod(np.arange((2 * radius + 1) ** 2, dtype=np.int32), 2 * radius + 1)
    offsets = dy << kernels_cuda.OFFSET_BITS | dx
    count = np.full(1, len(offsets), np.int32)
    return device_memory.uploaded(offsets[None], device), device_memory.uploaded(count, device)
