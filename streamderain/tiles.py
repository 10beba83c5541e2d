"""A network without normalisation run piece by piece: a tile equals the same place of the whole inside its halo.

What the whole frame says (context.py) is found first, in tiles as well, and given to each.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from streamderain.core.context import squeeze

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
        seen: of the whole frame, (48, H / 2, W / 2).
        tile, halo: in pixels, see spans.
        device: where the result is.

    Returns:
        (C, H, W) float32, with the channels that rain_of returns.
    """
    rain: Tensor | None = None
    for rows, columns, part in _parts(seen, tile, halo):
        found = rain_of(part)[:, rows.keep - rows.start :, columns.keep - columns.start :]
        if rain is None:
            rain = torch.empty((len(found), *(side * _BLOCK for side in seen.shape[1:])), device=device)
        place = rain[:, rows.keep : rows.until, columns.keep : columns.until]
        place.copy_(found[:, : place.shape[1], : place.shape[2]])
    assert rain is not None  # there is at least one tile
    return rain


def squeezed_in_tiles(features_of: Callable[[Tensor], Tensor], seen: Tensor, tile: int, halo: int) -> Tensor:
    """The means that a frame's context is read from, tile by tile.

    Args:
        features_of: takes what the network sees of a tile and returns StreamGenerator.before_context of it, (C, h, w).
        seen, tile, halo: as in in_tiles.

    Returns:
        (1, 2 * C) float32 on the features' device, see context.squeeze.
    """
    means: Tensor | None = None
    for rows, columns, part in _parts(seen, tile, halo):
        found = features_of(part)
        step = part.shape[1] // found.shape[1]
        tall, wide = ((span.until - span.keep) // _BLOCK // step for span in (rows, columns))
        top, left = ((span.keep - span.start) // _BLOCK // step for span in (rows, columns))
        counted = found[None, :, top : top + tall, left : left + wide].float()
        share = squeeze(counted) * (tall * wide * step**2 / (seen.shape[1] * seen.shape[2]))
        means = share if means is None else means + share
    assert means is not None  # there is at least one tile
    return means


def _parts(seen: Tensor, tile: int, halo: int) -> Iterator[tuple[Span, Span, Tensor]]:
    """Each tile's rows, its columns and what the network sees of it."""
    height, width = (side * _BLOCK for side in seen.shape[1:])
    for rows in spans(height, tile, halo):
        for columns in spans(width, tile, halo):
            yield rows, columns, seen[:, rows.start // 2 : rows.stop // 2, columns.start // 2 : columns.stop // 2]
