"""Numba kernels for the CPU: they take ready arrays, fill ready outputs and raise nothing.

The public functions that check and explain stand in matching.py, companions.py and colour.py; each kernel has a
plain twin in tests/naive.py. One thread of ours at a time calls those that spread over threads (Numba's work queue
stands one caller).
"""
import numpy as np
from numba import njit, prange, uint8, uint16, uint32, uint64

from .kernels_vector import BLOCKS, CELL, patch_costs

# --- search ---
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


# --- colour ---
# float32 on purpose: it measures faster here than 32-bit fixed point (Numba widens integers to 64 bits), and codes
# beyond the format's depth saturate where integers would wrap. The literals are typed so that nothing turns float64.
_ZERO = np.float32(0)
_HALF = np.float32(0.5)


@njit(nogil=True, cache=True)
def yuv_to_rgb(luma, u, v, shift_x, shift_y, matrix, top, out):
    """Fill out (3, H, W) with matrix (3, 4: luma, u, v, constant) times the codes, rounded and clamped to 0..top.

    Chroma (ceil(H / 2**shift_y), ceil(W / 2**shift_x)) is replicated over the luma it covers.
    """
    H, W = luma.shape
    for block in range(u.shape[0]):  # one chroma row and the luma rows it covers
        chroma = np.empty((3, W), np.float32)
        for channel in range(3):
            _chroma_share(u[block], v[block], shift_x, matrix[channel], chroma[channel])
        for y in range(block << shift_y, min((block + 1) << shift_y, H)):
            for channel in range(3):
                _luma_share(luma[y], chroma[channel], matrix[channel, 0], top, out[channel, y])


@njit(cache=True)
def _chroma_share(u, v, shift_x, weights, out):
    weight_u, weight_v, constant = weights[1], weights[2], weights[3]
    W = out.shape[0]
    if shift_x == 0:  # the two usual cases are spelt out because only then do they become vector code
        for x in range(W):
            out[x] = weight_u * np.float32(u[x]) + weight_v * np.float32(v[x]) + constant
        return
    if shift_x == 1:
        for x in range(W // 2):
            share = weight_u * np.float32(u[x]) + weight_v * np.float32(v[x]) + constant
            out[2 * x] = share
            out[2 * x + 1] = share
    for x in range(W // 2 * 2 if shift_x == 1 else 0, W):
        out[x] = weight_u * np.float32(u[x >> shift_x]) + weight_v * np.float32(v[x >> shift_x]) + constant


@njit(cache=True)
def _luma_share(luma, chroma, weight, top, out):
    for x in range(luma.shape[0]):
        value = weight * np.float32(luma[x]) + chroma[x]
        out[x] = np.int32(min(max(value, _ZERO), top) + _HALF)


@njit(nogil=True, cache=True)
def look_up(codes, table, out):
    """out[y, x] = table[codes[y, x]]; the table has an entry for every value of the codes' type."""
    for y in range(codes.shape[0]):
        for x in range(codes.shape[1]):
            out[y, x] = table[codes[y, x]]


@njit(nogil=True, cache=True)
def subtract_levels(planes, shifts, weights, rain, top, outs, touched):
    """Take weights[p] . rain, averaged over each sample's block and rounded to whole levels, off every plane p.

    shifts[p] is log2 of the plane's reduction (x, y); results are clamped to 0..top; touched[block, p] says whether
    any sample of plane p differs from its input in that block of rows.
    """
    H, W = rain.shape[1:]
    tallest = shifts[:, 1].max()
    for block in range(touched.shape[0]):
        seen = np.empty(W, np.float32)
        end = min((block + 1) << tallest, H)
        for plane in range(len(planes)):
            shift_x, shift_y = shifts[plane]
            for first in range(block << tallest, end, 1 << shift_y):
                rows = min(1 << shift_y, end - first)
                _project(rain, first, rows, weights[plane], seen)
                _mean_columns(seen, rows, shift_x)
                y = first >> shift_y
                touched[block, plane] |= _subtract_row(planes[plane][y], seen, top, outs[plane][y])


@njit(cache=True)
def _project(rain, first, rows, weights, seen):
    red, green, blue = weights
    seen[:] = _ZERO
    for y in range(first, first + rows):
        r, g, b = rain[0, y], rain[1, y], rain[2, y]
        for x in range(seen.shape[0]):
            seen[x] += red * r[x] + green * g[x] + blue * b[x]


@njit(cache=True)
def _mean_columns(seen, rows, shift_x):
    """Leave in the first ceil(W / 2**shift_x) places the means over rows x 2**shift_x, fewer at the right edge."""
    W = seen.shape[0]
    whole = W >> shift_x
    share = np.float32(1 / (rows << shift_x))
    if shift_x == 0:
        for x in range(W):
            seen[x] *= share
    elif shift_x == 1:
        for x in range(whole):
            seen[x] = (seen[2 * x] + seen[2 * x + 1]) * share
    else:
        for x in range(whole):
            total = _ZERO
            for k in range(x << shift_x, (x + 1) << shift_x):
                total += seen[k]
            seen[x] = total * share
    if whole << shift_x < W:
        seen[whole] = seen[whole << shift_x :].sum() / np.float32(rows * (W - (whole << shift_x)))


@njit(cache=True)
def _subtract_row(plane, levels, top, out):
    changed = 0
    for x in range(plane.shape[0]):
        value = np.float32(plane[x]) - np.rint(levels[x])
        out[x] = np.int32(min(max(value, _ZERO), top))
        changed |= out[x] ^ plane[x]
    return changed != 0


# --- rain ---


@njit(cache=True)
def draw_streaks(streaks, layer):
    """Add streaks to layer (H, W) float32.

    streaks (N, 13) float32: centre y and x, length, slope (x per y), sigma across, amplitude, softness of the ends,
    all in pixels but slope and amplitude; then what the drop's oscillation does to it: turns along the length, phase
    in radians, beads (how dark it is between them, 0..1), sway (deviation from the axis, in sigmas), hollow (how
    dark the middle is between two bright edges, 0..1), lean (natural logarithm of the upper end's light over the
    lower end's). Without these a streak is a segment with a Gaussian cross-section.
    """
    height, width = layer.shape
    for n in range(streaks.shape[0]):
        centre_y, centre_x, length, slope, sigma, amplitude, soft = streaks[n, :7]
        turns, phase, beads, sway, hollow, lean = streaks[n, 7:]
        cosine = 1.0 / np.sqrt(1.0 + slope * slope)  # of the angle to the vertical
        half = 0.5 * length * cosine
        reach = 3.0 * sigma / cosine
        for y in range(max(int(centre_y - half - soft), 0), min(int(centre_y + half + soft) + 2, height)):
            beyond = abs(y - centre_y) - half
            fade = min(max(0.5 - beyond / (soft + 1e-3), 0.0), 1.0)
            angle = phase + np.pi * turns * (y - centre_y) / half
            light = amplitude * fade * _oscillation(angle, beads) * _leaning((y - centre_y) / half, lean)
            axis = centre_x + (y - centre_y) * slope + sway * sigma * np.sin(angle)
            for x in range(max(int(axis - reach), 0), min(int(axis + reach) + 2, width)):
                across = (x - axis) * cosine / sigma
                edge = np.exp(-0.5 * across * across)
                layer[y, x] += light * edge * (1.0 - hollow * edge**4)


@njit(cache=True)
def _oscillation(angle, beads):
    """Short bright beads: the square of a raised cosine."""
    raised = 0.5 + 0.5 * np.cos(angle)
    return 1.0 - beads * (1.0 - raised**2)


@njit(cache=True)
def _leaning(along, lean):
    """1 at the brighter end; along is -1 at the top and 1 at the bottom."""
    down = min(max(0.5 + 0.5 * along, 0.0), 1.0)
    return np.exp(-lean * down if lean > 0.0 else lean * (1.0 - down))
