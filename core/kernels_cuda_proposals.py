"""Which offsets each tile of a GPU's search tries: where it moved as a whole, and what the previous field answered.

The twin of kernels.coarse_motion and kernels.propose in one kernel, a block of threads for each tile; see there for
what is tried and why. Votes, their ranking and the list live in shared memory.
"""
# mypy: no-check-untyped-defs
from numba import cuda, int32, uint32, uint64

from .kernels import BLOCKS, CELL, INDEX_BITS, INDEX_MASK, NO_MATCH, TILE_COLS, TILE_ROWS
from .kernels_cuda import LARGEST_RADIUS, OFFSET_BITS, greater, lesser

_TILE_BLOCKS = (TILE_ROWS + 1) * BLOCKS  # means of a tile
_REACH = LARGEST_RADIUS // CELL  # in blocks
_COARSE_COLS = BLOCKS + 2 * _REACH
_COARSE_WINDOW = (TILE_ROWS + 1 + 2 * _REACH) * _COARSE_COLS
_VOTES = INDEX_MASK + 1
_SEEN_WORDS = _VOTES // 32
PROPOSE_THREADS = 128


@cuda.jit(device=True)
def _offer(y, x, side, seen, candidates, tile, count):
    """Append an offset to a tile's candidates where it lies in the window and is not there yet; any thread may."""
    if 0 <= y < side and 0 <= x < side:
        index = int32(y * side + x)
        bit = uint32(uint32(1) << uint32(index & 31))
        if cuda.atomic.or_(seen, index >> 5, bit) & bit == 0:
            candidates[tile, cuda.atomic.add(count, 0, 1)] = y << OFFSET_BITS | x


@cuda.jit(device=True)
def _offer_around(y, x, reach, side, seen, candidates, tile, count, t):
    """Offer all offsets within reach of one, shared out among the threads."""
    around = 2 * reach + 1
    for n in range(t, around * around, PROPOSE_THREADS):
        _offer(y - reach + n // around, x - reach + n % around, side, seen, candidates, tile, count)


@cuda.jit(device=True)
def _load_means(query, reference, row, column, rows, reach, here, there, t):
    """Block means of a tile and of its window in the reference; the tile's first block stands at (row, column)."""
    for n in range(t, rows * BLOCKS, PROPOSE_THREADS):
        here[n] = query[row + n // BLOCKS, column + n % BLOCKS]
    across = BLOCKS + 2 * reach
    for n in range(t, (rows + 2 * reach) * across, PROPOSE_THREADS):
        y, x = n // across, n % across
        there[y * _COARSE_COLS + x] = reference[row - reach + y, column - reach + x]


@cuda.jit(device=True)
def _coarse_motion(here, there, rows, reach, truncation, best, t):
    """Lower best to cost << 12 | raster index of the offset, in blocks, at which a tile's block means differ least."""
    span = 2 * reach + 1
    own = uint32(NO_MATCH)
    for n in range(t, span * span, PROPOSE_THREADS):
        dy, dx = n // span, n % span
        cost = int32(abs(dy - reach) + abs(dx - reach))
        for r in range(rows):
            place = int32((r + dy) * _COARSE_COLS + dx)
            for c in range(BLOCKS):
                difference = int32(here[uint32(r * BLOCKS + c)] - there[uint32(place + c)])
                cost = int32(cost + lesser(abs(difference), truncation))
        own = lesser(own, uint32(cost << INDEX_BITS | n))
    cuda.atomic.min(best, 0, own)


@cuda.jit(device=True)
def _vote(previous, top, left, votes, t):
    """Count what the previous field answered in a tile and two cells around it."""
    k, cell_rows, cell_columns = previous.shape
    above, before = greater(top - 2, 0), greater(left - 2, 0)
    down = lesser(int32(top + TILE_ROWS + 2), int32(cell_rows)) - above
    wide = lesser(int32(left + TILE_COLS + 2), int32(cell_columns)) - before
    for n in range(t, k * down * wide, PROPOSE_THREADS):
        cell = n % (down * wide)
        key = previous[n // (down * wide), above + cell // wide, before + cell % wide]
        cuda.atomic.add(votes, int32(key & uint32(INDEX_MASK)), 1)


@cuda.jit(device=True)
def _next_winner(votes, most, winner, side, t):
    """The offset with the most votes, of equal ones the first in raster order, which then has none; -1 if none has.

    most has a place for this round, the next and the last, so that one barrier a round is enough.
    """
    own = uint32(0)
    for n in range(t, side * side, PROPOSE_THREADS):
        own = greater(own, uint32(votes[n] << INDEX_BITS | INDEX_MASK - n))
    slot = winner % 3
    cuda.atomic.max(most, slot, own)
    if t == 0:
        most[(winner + 1) % 3] = 0
    cuda.syncthreads()
    if most[slot] >> uint32(INDEX_BITS) == 0:
        return int32(-1)
    index = int32(INDEX_MASK - int32(most[slot] & uint32(INDEX_MASK)))
    if index % PROPOSE_THREADS == t:  # the thread that looks at it; no other reads it any more
        votes[index] = 0
    return index


@cuda.jit(device=True)
def _random_below(state, bound):
    """The number in [0, bound) that belongs to a state of kernels._random_below; the next state is the caller's."""
    low = uint64(0xFFFFFFFF)
    mixed = ((state ^ (state >> uint64(16))) * uint64(0x85EBCA6B)) & low
    mixed = ((mixed ^ (mixed >> uint64(13))) * uint64(0xC2B2AE35)) & low
    return int32(((mixed ^ (mixed >> uint64(16))) * uint64(bound)) >> uint64(32))


@cuda.jit(device=True)
def _offer_probes(first, radius, probes, state, seen, candidates, tile, count):
    """Offer random offsets in shrinking squares around the first one; by a single thread."""
    low, step = uint64(0xFFFFFFFF), uint64(0x9E3779B9)
    side, size = int32(2 * radius + 1), int32(radius)
    for _ in range(probes):
        state = uint64((state + step) & low)
        y = int32(first // side + _random_below(state, 2 * size + 1) - size)
        state = uint64((state + step) & low)
        x = int32(first % side + _random_below(state, 2 * size + 1) - size)
        _offer(y, x, side, seen, candidates, tile, count)
        size = greater(int32(size // 2), int32(1))


@cuda.jit(cache=True)
def propose(query, reference, previous, origin, radius, truncation, winners, reach, probes, seed, candidates, counts):
    """List each tile's candidates as kernels.coarse_motion and kernels.propose do, in any order. One block a tile.

    query and reference are block means of guides, the picture's first block at (origin, origin); previous (k, rows,
    columns) uint32 the keys of the field before; seed is the frame's share of the random state, uint32. candidates
    (T, N) int32 receives offsets from the window's corner, dy << 8 | dx, counts (T,) int32 how many there are.
    """
    here = cuda.shared.array(_TILE_BLOCKS, int32)
    there = cuda.shared.array(_COARSE_WINDOW, int32)
    votes = cuda.shared.array(_VOTES, int32)
    seen = cuda.shared.array(_SEEN_WORDS, uint32)
    most = cuda.shared.array(3, uint32)
    best = cuda.shared.array(1, uint32)
    count = cuda.shared.array(1, int32)
    t = int32(cuda.threadIdx.x)
    tile = int32(cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x)
    top, left = int32(cuda.blockIdx.y * TILE_ROWS), int32(cuda.blockIdx.x * TILE_COLS)
    rows = lesser(int32(TILE_ROWS), int32(previous.shape[1] - top)) + 1
    side, coarse = int32(2 * radius + 1), int32(radius // CELL)
    for n in range(t, _VOTES, PROPOSE_THREADS):
        votes[n] = 0
    for n in range(t, _SEEN_WORDS, PROPOSE_THREADS):
        seen[n] = 0
    if t == 0:
        best[0], count[0] = NO_MATCH, 0
        most[0], most[1], most[2] = 0, 0, 0
    _load_means(query, reference, origin + top, origin + left, rows, coarse, here, there, t)
    cuda.syncthreads()
    _coarse_motion(here, there, rows, coarse, truncation, best, t)
    _vote(previous, top, left, votes, t)
    cuda.syncthreads()
    _offer_around(radius, radius, 1, side, seen, candidates, tile, count, t)
    moved = int32(best[0] & uint32(INDEX_MASK))
    y = int32((moved // (2 * coarse + 1) - coarse) * CELL + radius)
    x = int32((moved % (2 * coarse + 1) - coarse) * CELL + radius)
    first = int32(y * side + x)
    _offer_around(y, x, CELL // 2, side, seen, candidates, tile, count, t)
    for winner in range(winners):
        index = _next_winner(votes, most, winner, side, t)
        if index < 0:
            break
        if winner == 0:
            first = index
        _offer_around(index // side, index % side, reach, side, seen, candidates, tile, count, t)
    if t == 0:
        state = uint64((uint64(seed) + uint64(tile) * uint64(0x9E37)) & uint64(0xFFFFFFFF))
        _offer_probes(first, radius, probes, state, seen, candidates, tile, count)
    cuda.syncthreads()
    if t == 0:
        counts[tile] = count[0]
