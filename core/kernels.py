"""Numba kernels of the search, for the CPU: they take ready arrays, fill ready outputs and raise nothing.

The public functions that check and explain stand in matching.py and companions.py; each kernel has a plain twin in
tests/naive.py. One thread of ours at a time calls those that spread over threads (Numba's work queue
stands one caller).
"""
import numpy as np
from numba import njit, prange, uint8, uint16, uint32, uint64

from .kernels_vector import BLOCKS, CELL, patch_costs

# A cell is CELL x CELL pixels; its patch is two blocks of CELL pixels wide and high. A tile is TILE_ROWS x TILE_COLS
# cells that share one list of candidate offsets, so that the sums of a block are computed once for its four patches.
TILE_ROWS = 8
TILE_COLS = BLOCKS - 1
INDEX_BITS = 12  # a key is cost << 12 | raster index of the offset: one unsigned minimum orders by cost, then raster
INDEX_MASK = (1 << INDEX_BITS) - 1
NO_MATCH = 0xFFFFFFFF


@njit(cache=True)
def _erode_row(source, out):
    """Minimum of each pixel and its two neighbours in the row; the ends have one."""
    last = source.shape[0] - 1
    out[0], out[last] = min(source[0], source[min(1, last)]), min(source[last], source[max(last - 1, 0)])
    before, here, after, target = source[: last - 1], source[1:last], source[2:], out[1:last]
    for x in range(last - 1):  # slices of equal length: no index can wrap, so it vectorises
        target[x] = min(min(before[x], here[x]), after[x])


@njit(nogil=True, cache=True)
def erode_and_blur(luma, reach, out, top, left):
    """Minimum over 2 * reach + 1 pixels of each row, then 1-2-1 along columns, into out[top:, left:]."""
    height, width = luma.shape
    eroded = np.empty((height, width), np.uint8)
    for y in range(height):
        row, spare = luma[y].copy(), np.empty(width, np.uint8)
        for _ in range(reach):
            _erode_row(row, spare)
            row, spare = spare, row
        eroded[y] = row
    for y in range(height):
        above, here, below = eroded[max(y - 1, 0)], eroded[y], eroded[min(y + 1, height - 1)]
        target = out[top + y, left : left + width]
        for x in range(width):
            target[x] = uint8((uint16(above[x]) + uint16(2) * uint16(here[x]) + uint16(below[x]) + uint16(2)) >> 2)


@njit(cache=True)
def _keep_best(costs, first_key, best):
    """Insert the costs' keys into the k ascending bests of each patch, without branches; costs are consumed."""
    key, last = costs.reshape(-1), best[best.shape[0] - 1].reshape(-1)
    if best.shape[0] == 1:
        for x in range(key.shape[0]):
            last[x] = min(last[x], (key[x] << uint32(INDEX_BITS)) + first_key)
        return
    better = uint32(0)
    for x in range(key.shape[0]):
        key[x] = (key[x] << uint32(INDEX_BITS)) + first_key
        better |= uint32(key[x] < last[x])
    if better == 0:
        return
    for j in range(best.shape[0]):
        row = best[j].reshape(-1)
        for x in range(key.shape[0]):
            old, new = row[x], key[x]
            row[x], key[x] = min(old, new), max(old, new)


@njit(parallel=True, nogil=True, cache=True)
def match_tiles(query, reference, stride, origin, radius, truncation, penalty, candidates, counts, keys):
    """Fill keys (k, cell rows, cell columns) with the best candidates of each tile, ascending.

    query and reference are flattened padded guides with the same stride; origin is the flat place of the first patch.
    candidates (T, N) holds raster indices of offsets, counts (T,) how many count; T is 1 (all share) or one per tile.
    """
    k, cell_rows, cell_columns = keys.shape
    across = (cell_columns + TILE_COLS - 1) // TILE_COLS
    down = (cell_rows + TILE_ROWS - 1) // TILE_ROWS
    side = 2 * radius + 1
    for tile in prange(across * down):
        top, left = tile // across * TILE_ROWS, tile % across * TILE_COLS
        rows = min(TILE_ROWS, cell_rows - top)
        costs = np.empty((rows, BLOCKS), np.uint32)
        best = np.full((k, rows, BLOCKS), NO_MATCH, np.uint32)
        own = tile % candidates.shape[0]
        place = origin + top * CELL * stride + left * CELL
        for n in range(counts[own]):
            index = candidates[own, n]
            dy, dx = index // side - radius, index % side - radius
            patch_costs(query, place, reference, place + dy * stride + dx, stride, truncation, costs)
            offset_cost = uint32(penalty * (abs(dy) + abs(dx)))
            _keep_best(costs, (offset_cost << uint32(INDEX_BITS)) + uint32(index), best)
        for j in range(k):
            for i in range(rows):
                for c in range(min(TILE_COLS, cell_columns - left)):
                    keys[j, top + i, left + c] = best[j, i, c]


@njit(cache=True)
def _add(index, seen, candidates, count):
    """Append an offset to a tile's candidates unless it is there already or the list is full."""
    if seen[index] or count >= candidates.shape[0]:
        return count
    seen[index] = 1
    candidates[count] = index
    return count + 1


@njit(cache=True)
def _add_around(index, reach, radius, seen, candidates, count):
    """Append the offsets within reach of one, inside the window."""
    side = 2 * radius + 1
    y, x = index // side, index % side
    for near_y in range(max(y - reach, 0), min(y + reach, side - 1) + 1):
        for near_x in range(max(x - reach, 0), min(x + reach, side - 1) + 1):
            count = _add(near_y * side + near_x, seen, candidates, count)
    return count


@njit(cache=True)
def _random_below(state, bound):
    """One step of a 32-bit mixing generator: the next state and a number in [0, bound).

    All in 64 bits, masked: no product can overflow, with the compiler or without.
    """
    low = uint64(0xFFFFFFFF)
    state = (state + uint64(0x9E3779B9)) & low
    mixed = ((state ^ (state >> uint64(16))) * uint64(0x85EBCA6B)) & low
    mixed = ((mixed ^ (mixed >> uint64(13))) * uint64(0xC2B2AE35)) & low
    return state, np.int64(((mixed ^ (mixed >> uint64(16))) * uint64(bound)) >> uint64(32))


@njit(nogil=True, cache=True)
def block_means(padded, out):
    """Fill out (H / CELL, W / CELL) with the mean of each block of padded."""
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            total = uint32(CELL * CELL // 2)
            for y in range(i * CELL, (i + 1) * CELL):
                for x in range(c * CELL, (c + 1) * CELL):
                    total += uint32(padded[y, x])
            out[i, c] = uint8(total // uint32(CELL * CELL))


@njit(cache=True)
def _add_differences(here, there, truncation, sums):
    """Add the truncated absolute differences of two rows of bytes to sums."""
    for x in range(sums.shape[0]):
        sums[x] += uint16(min(uint8(max(here[x], there[x]) - min(here[x], there[x])), truncation))


@njit(parallel=True, nogil=True, cache=True)
def coarse_motion(query, reference, origin, cell_rows, radius, truncation, motion):
    """Fill motion (tile rows, tile columns, 2) with the offset, in blocks, at which a tile's block means differ least.

    query and reference are block means of padded guides, the first block of the picture at (origin, origin). A block
    of offset costs a little, so that a flat tile stays where it is.
    """
    width = motion.shape[1] * TILE_COLS + 1
    for i in prange(motion.shape[0]):
        top = origin + i * TILE_ROWS
        rows = min(TILE_ROWS, cell_rows - i * TILE_ROWS) + 1
        best, sums = np.full(motion.shape[1], NO_MATCH, np.uint32), np.empty(width, np.uint16)
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                sums[:] = 0
                for r in range(top, top + rows):
                    here = query[r, origin : origin + width]
                    there = reference[r + dy, origin + dx : origin + dx + width]
                    _add_differences(here, there, truncation, sums)
                for j in range(motion.shape[1]):
                    cost = uint32(abs(dy) + abs(dx))
                    for x in range(j * TILE_COLS, (j + 1) * TILE_COLS + 1):
                        cost += uint32(sums[x])
                    if cost < best[j]:
                        best[j], motion[i, j, 0], motion[i, j, 1] = cost, dy, dx


@njit(cache=True)
def _vote(keys, offsets):
    """The different offsets that keys (k, rows, columns) hold, and how many hold each; a cell without a match has none.

    The list is short where its index space is not, and is walked once for every winner.
    """
    place = np.zeros(INDEX_MASK + 1, np.int32)  # one more than the place in the list
    answers, votes = np.zeros(keys.size + 1, np.int64), np.zeros(keys.size + 1, np.int32)
    listed = 0
    for j in range(keys.shape[0]):
        for i in range(keys.shape[1]):
            for c in range(keys.shape[2]):
                answer = np.int64(keys[j, i, c] & uint32(INDEX_MASK))
                if answer >= offsets:
                    continue
                if place[answer] == 0:
                    answers[listed] = answer
                    listed += 1
                    place[answer] = listed
                votes[place[answer] - 1] += 1
    return answers[: listed + 1], votes[: listed + 1]


@njit(cache=True)
def _leader(answers, votes):
    """The place of the offset with the most votes, of equal ones the first in raster order."""
    leader = 0
    for n in range(1, answers.shape[0]):
        if votes[n] > votes[leader] or (votes[n] == votes[leader] and answers[n] < answers[leader]):
            leader = n
    return leader


@njit(parallel=True, nogil=True, cache=True)
def propose(motion, previous, radius, winners, reach, probes, seed, candidates, counts):
    """List each tile's candidates: where it moved as a whole, and what the previous field answered in and around it.

    motion is what coarse_motion filled. Candidates are the offsets around zero, those within half a cell of the
    tile's coarse motion, the most frequent previous offsets (winners) with all within reach of each, and probes at
    random in shrinking squares around the first winner.
    """
    across = motion.shape[1]
    side = 2 * radius + 1
    for tile in prange(counts.shape[0]):
        top, left = tile // across * TILE_ROWS, tile % across * TILE_COLS
        seen = np.zeros(side * side, np.uint8)
        own = candidates[tile]
        count = _add_around(side * radius + radius, 1, radius, seen, own, 0)
        y, x = motion[tile // across, tile % across]
        first = (y * CELL + radius) * side + x * CELL + radius
        count = _add_around(first, CELL // 2, radius, seen, own, count)
        rows = previous[:, max(top - 2, 0) : top + TILE_ROWS + 2, max(left - 2, 0) : left + TILE_COLS + 2]
        answers, votes = _vote(rows, side * side)
        for n in range(winners):
            leader = _leader(answers, votes)
            if votes[leader] == 0:
                break
            first = answers[leader] if n == 0 else first
            votes[leader] = 0
            count = _add_around(answers[leader], reach, radius, seen, own, count)
        state, size = uint64((seed * 0x10001 + tile * 0x9E37) & 0xFFFFFFFF), radius
        for _ in range(probes):
            state, y = _random_below(state, 2 * size + 1)
            state, x = _random_below(state, 2 * size + 1)
            y, x = first // side + y - size, first % side + x - size
            if 0 <= y < side and 0 <= x < side:
                count = _add(y * side + x, seen, own, count)
            size = max(size // 2, 1)
        counts[tile] = count
