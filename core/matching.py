"""Non-local patch search: where each place of a frame stands in another frame, carried from frame to frame.

A field holds, for each cell of 4x4 pixels, the k best offsets of the 8x8 patch around it, found by truncated absolute
difference of rain-suppressed luma plus a small cost per pixel of offset. The next frame's search starts from the
field before (Barnes et al., PatchMatch, SIGGRAPH 2009, propagates in the same spirit): the cells of a tile share one
list of candidate offsets, voted by the previous field, so that all patches of the tile are compared at once.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import kernels

CELL = kernels.CELL
MAX_RADIUS = 31  # (2 * 31 + 1)**2 offsets fit in the key's index
MAX_PENALTY = 1000  # 64 * 255 + 62 * 1000 fits in the key's cost
PATCH_PIXELS = (2 * CELL) ** 2
CUT_COST = 0.22  # mean cost as a share of the largest: neighbours in real clips reach 0.12, strangers begin at 0.31
BEFORE = 2  # a patch begins two pixels above and left of its cell


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What a search does; the defaults are the measured choice (benchmarks/search.py).

    Attributes:
        radius: the window is +-radius pixels in both directions, 1 to 31.
        k: matches kept for each cell, 1 or more.
        truncation: a pixel's absolute difference counts at most this much (0 to 255), so that a streak which is in
            one frame alone cannot outvote the scene.
        penalty: cost added for each pixel of |dy| + |dx|, 0 to 1000.
        winners: most frequent previous offsets of a tile that are tried again.
        reach: offsets tried around each winner.
        probes: random offsets tried for each tile.
    """

    radius: int = 24
    k: int = 1
    truncation: int = 40
    penalty: int = 10
    winners: int = 4
    reach: int = 1
    probes: int = 6

    def __post_init__(self) -> None:
        if not 1 <= self.radius <= MAX_RADIUS:
            raise ValueError(f"radius is {self.radius}; it must be 1 to {MAX_RADIUS}")
        if self.k < 1 or not 0 <= self.truncation <= 255 or not 0 <= self.penalty <= MAX_PENALTY:
            raise ValueError(f"k {self.k}, truncation {self.truncation} or penalty {self.penalty} is out of range")
        if min(self.winners, self.reach, self.probes) < 0:
            raise ValueError(f"winners {self.winners}, reach {self.reach} or probes {self.probes} is negative")


@dataclass(frozen=True, slots=True)
class Guide:
    """Luma made ready for the search: rain-suppressed and padded by repeating its border.

    Attributes:
        padded: uint8, (height + rest) x (width + rest) around the picture.
        coarse: uint8, the means of padded's blocks of 4x4 pixels.
        height, width: of the picture, pixels.
        margin: padding before the picture, pixels.
    """

    padded: np.ndarray
    coarse: np.ndarray
    height: int
    width: int
    margin: int


@dataclass(frozen=True, slots=True)
class MatchField:
    """The k best offsets of every cell and their costs.

    Attributes:
        keys: (k, ceil(H / 4), ceil(W / 4)) uint32, ascending along k: cost << 12 | raster index of the offset.
        radius: of the window the raster index counts in.
    """

    keys: np.ndarray
    radius: int

    @property
    def offsets(self) -> np.ndarray:
        """(k, rows, columns, 2) int16: (dy, dx) pixels from a place in the query to its match in the reference."""
        index = (self.keys & kernels.INDEX_MASK).astype(np.int16)
        side = 2 * self.radius + 1
        return np.stack((index // side - self.radius, index % side - self.radius), axis=-1)

    @property
    def costs(self) -> np.ndarray:
        """(k, rows, columns) uint32: truncated difference summed over 64 pixels, plus the offset's penalty."""
        return self.keys >> kernels.INDEX_BITS


def make_guide(luma: np.ndarray, *, suppress: int = 1) -> Guide:
    """Suppress rain in luma and pad it for the search.

    Streaks are bright and a few pixels wide: the minimum over a short horizontal stretch removes them or thins them,
    the slight vertical blur takes the noise away.

    Args:
        luma: (H, W) uint8.
        suppress: reach of the horizontal minimum in pixels to each side; 0 keeps the luma (blurred).

    Raises:
        ValueError: luma is not a (H, W) uint8 array.
    """
    if luma.ndim != 2 or luma.dtype != np.uint8 or not luma.size:
        raise ValueError(f"luma is {luma.dtype} {luma.shape}; it must be uint8 (H, W)")
    height, width = luma.shape
    margin = MAX_RADIUS + 1 + BEFORE
    tile_height, tile_width = kernels.TILE_ROWS * CELL, kernels.TILE_COLS * CELL
    full_height = -(-height // tile_height) * tile_height + 2 * margin + CELL
    full_width = -(-width // tile_width) * tile_width + 2 * margin + CELL
    padded = np.empty((full_height, full_width), np.uint8)
    kernels.erode_and_blur(luma, suppress, padded, margin, margin)
    rows, bottom, right = slice(margin, margin + height), margin + height, margin + width
    padded[rows, :margin] = padded[rows, margin, None]
    padded[rows, right:] = padded[rows, right - 1, None]
    padded[:margin] = padded[margin]
    padded[bottom:] = padded[bottom - 1]
    coarse = np.empty((full_height // CELL, full_width // CELL), np.uint8)
    kernels.block_means(padded, coarse)
    return Guide(padded, coarse, height, width, margin)


def search(
    query: Guide,
    reference: Guide,
    settings: SearchSettings,
    *,
    previous: MatchField | None = None,
    seed: int = 0,
) -> MatchField:
    """Find each cell's best matches: exactly, or from the previous frame's field.

    Args:
        query, reference: guides of equal size.
        previous: the field of the frame before in the same role; without it every offset of the window is tried.
        seed: drives the random probes; pass the frame's number.

    Raises:
        ValueError: the guides differ in size, or previous does not fit them.
    """
    if (query.height, query.width) != (reference.height, reference.width):
        raise ValueError(f"query is {query.height}x{query.width}, reference {reference.height}x{reference.width}")
    cells = (-(-query.height // CELL), -(-query.width // CELL))
    if previous is None:
        candidates, counts = _every_offset(settings.radius)
    else:
        if previous.keys.shape[1:] != cells or previous.radius != settings.radius:
            raise ValueError("previous has another size or radius")
        candidates, counts = _proposals(query, reference, previous, settings, seed)
    keys = np.empty((settings.k, *cells), np.uint32)
    stride = query.padded.shape[1]
    origin = (query.margin - BEFORE) * stride + query.margin - BEFORE
    kernels.match_tiles(
        query.padded.reshape(-1), reference.padded.reshape(-1), stride, origin, settings.radius,
        np.uint8(settings.truncation), settings.penalty, candidates, counts, keys,
    )  # fmt: skip
    return MatchField(keys, settings.radius)


def is_cut(field: MatchField, settings: SearchSettings) -> bool:
    """Whether a field's two frames show different scenes."""
    return float(field.costs[0].mean()) > CUT_COST * PATCH_PIXELS * settings.truncation


def tile_count(cells: tuple[int, int]) -> int:
    """How many tiles cover a grid of (rows, columns) cells."""
    return -(-cells[0] // kernels.TILE_ROWS) * -(-cells[1] // kernels.TILE_COLS)


def _every_offset(radius: int) -> tuple[np.ndarray, np.ndarray]:
    """All raster indices of the window as one shared candidate list."""
    candidates = np.arange((2 * radius + 1) ** 2, dtype=np.int32)[None]
    return candidates, np.array([candidates.shape[1]], np.int32)


def _proposals(
    query: Guide, reference: Guide, previous: MatchField, settings: SearchSettings, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each tile's own candidate list: its motion as a whole, and the previous field's votes."""
    rows, columns = previous.keys.shape[1:]
    motion = np.zeros((-(-rows // kernels.TILE_ROWS), -(-columns // kernels.TILE_COLS), 2), np.int64)
    kernels.coarse_motion(
        query.coarse, reference.coarse, (query.margin - BEFORE) // CELL, rows, settings.radius // CELL,
        np.uint8(settings.truncation), motion,
    )  # fmt: skip
    side, around, half_cell = 2 * settings.radius + 1, 2 * settings.reach + 1, CELL + 1
    longest = 9 + half_cell**2 + settings.winners * around**2 + settings.probes
    candidates = np.empty((tile_count((rows, columns)), min(longest, side * side)), np.int32)
    counts = np.empty(len(candidates), np.int32)
    kernels.propose(
        motion, previous.keys, settings.radius, settings.winners, settings.reach, settings.probes, seed,
        candidates, counts,
    )  # fmt: skip
    return candidates, counts
