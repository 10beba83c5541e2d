"""A network without normalisation run piece by piece: a tile equals the same place of the whole inside its halo."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 2  # pixels of a place of what the network sees, see companions.network_blocks


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one side, in pixels.

    Attributes:
        start, stop: what of the picture the network sees.
        keep: from here to `until` its result counts.
        until: where the next tile's result begins.
    """

    start: int
    stop: int
    keep: int
    until: int


def spans(size: int, tile: int, halo: int) -> Iterator[Span]:
    """Cut one side of a picture into tiles of one length; the last one is moved back until it fits.

    Args:
        size: of the side in pixels.
        tile: length of a tile with its halos; a multiple of the grid, more than two halos.
        halo: what of a tile does not count, except where the picture itself ends.
    """
    if tile >= size:
        yield Span(0, size, 0, size)
        return
    keep = 0
    while keep < size:
        start = min(max(keep - halo, 0), size - tile)
        until = size if start + tile == size else start + tile - halo
        yield Span(start, start + tile, keep, until)
        keep = until


def in_tiles(rain_of: Callable[[Tensor], Tensor], seen: Tensor, tile: int, halo: int, device: str) -> Tensor:
    """Estimate the rain layer of one frame tile by tile.

    Args:
        rain_of: takes what the network sees of a tile, on any device, and returns its rain on `device`.
        seen: of the whole frame, (44, H / 2, W / 2).
        tile, halo: in pixels, see spans.
        device: where the result is.

    Returns:
        (3, H, W) float32.
    """
    height, width = (side * _BLOCK for side in seen.shape[1:])
    rain = torch.empty((3, height, width), device=device)
    for rows in spans(height, tile, halo):
        for columns in spans(width, tile, halo):
            part = seen[:, rows.start // 2 : rows.stop // 2, columns.start // 2 : columns.stop // 2]
            found = rain_of(part)[:, rows.keep - rows.start :, columns.keep - columns.start :]
            place = rain[:, rows.keep : rows.until, columns.keep : columns.until]
            place.copy_(found[:, : place.shape[1], : place.shape[2]])
    return rain
