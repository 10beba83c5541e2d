"""Numba kernels that lay a frame and its moved companions out as the network reads them: 2 x 2 blocks, channels last.

Pixels are made in lines that vector code fills, whatever the match field does; only the last step, which puts pairs of
them into their blocks, jumps, within the first cache. Called and checked by companions.py.
"""
import numpy as np
from numba import njit, prange, uint32

from .kernels import INDEX_BITS, INDEX_MASK, NO_MATCH
from .kernels_vector import CELL, copy_cell_row

STRETCH = 256  # pixels whose blocks are filled at once: with all channels they stay in the first cache
_HALF = np.float32(0.5)


@njit(cache=True)
def _move_cells(reference, keys, radius, top, moved):
    """Fill moved (channels, CELL, width), the rows of a row of cells from top on, with the reference seen through keys.

    width is that of the cells, whole; places outside the reference take its border.
    """
    height, width = reference.shape[1], reference.shape[2]
    side = 2 * radius + 1
    flat, target = reference.reshape(-1), moved.reshape(-1)
    across, plane = moved.shape[2], height * width
    for c in range(keys.shape[0]):
        index = np.int64(keys[c] & uint32(INDEX_MASK))
        dy, dx = index // side - radius, index % side - radius
        first = c * CELL + dx
        inside = 0 <= first <= width - CELL and c * CELL + CELL <= width
        for y in range(CELL):
            from_y = min(max(min(top + y, height - 1) + dy, 0), height - 1)
            for channel in range(reference.shape[0]):
                begin, at = channel * plane + from_y * width, (channel * CELL + y) * across + c * CELL
                if inside:
                    copy_cell_row(flat, begin + first, target, at)
                else:
                    for x in range(CELL):
                        from_x = min(c * CELL + x, width - 1) + dx
                        target[at + x] = flat[begin + min(max(from_x, 0), width - 1)]


@njit(cache=True)
def _itemised(lines, out):
    """Write two lines (2, N) of float32 into out (2, N): as they are, as bfloat16's bits, or rounded to bytes."""
    for below in range(2):
        line, row = lines[below], out[below]
        bits = line.view(np.uint32)
        if out.itemsize == 4:
            for x in range(row.shape[0]):
                row[x] = np.int32(bits[x])
        elif out.itemsize == 2:
            for x in range(row.shape[0]):  # rounded to nearest, ties to even
                row[x] = np.int16((bits[x] + uint32(0x7FFF) + ((bits[x] >> uint32(16)) & uint32(1))) >> uint32(16))
        else:
            for x in range(row.shape[0]):
                row[x] = np.uint8(min(max(np.int32(line[x] + _HALF), np.int32(0)), np.int32(255)))


@njit(cache=True)
def _put(lines, rows, items, out):
    """Put two lines (2, N) of float32 into one channel of out (N / 2 blocks, words).

    A block's four items are written at once, as the one or two words that they are. rows (2, N) and items (2 * N,) are
    scratch.
    """
    _itemised(lines, rows)
    upper, lower = rows[0], rows[1]
    for b in range(out.shape[0]):
        items[4 * b] = upper[2 * b]
        items[4 * b + 1] = upper[2 * b + 1]
        items[4 * b + 2] = lower[2 * b]
        items[4 * b + 3] = lower[2 * b + 1]
    words = items.view(out.dtype)
    for part in range(out.shape[1]):
        every, target = words[part :: out.shape[1]], out[:, part]
        for b in range(target.shape[0]):
            target[b] = every[b]


@njit(cache=True)
def _put_colour(rgb, width, scale, scratch, out):
    """Fill the channels of out (blocks, channels, words) with scale[0] * rgb + scale[1].

    Of rgb (channels, 2, columns) width are used, the last is repeated.
    """
    lines, rows, items = scratch
    for channel in range(rgb.shape[0]):
        for below in range(2):
            source, line = rgb[channel, below, :width], lines[below]
            for x in range(width):
                line[x] = np.float32(source[x]) * scale[0] + scale[1]
            line[width:] = line[width - 1]
        _put(lines, rows, items, out[:, channel])


@njit(cache=True)
def _put_difference(rgb, moved, width, scale, scratch, out):
    """Fill three channels of out with scale[0] * (moved - rgb) + scale[1]; both are (3, 2, columns)."""
    lines, rows, items = scratch
    for channel in range(3):
        for below in range(2):
            here, there, line = rgb[channel, below, :width], moved[channel, below, :width], lines[below]
            for x in range(width):
                line[x] = np.float32(np.int32(there[x]) - np.int32(here[x])) * scale[0] + scale[1]
            line[width:] = line[width - 1]
        _put(lines, rows, items, out[:, channel])


@njit(cache=True)
def _put_cost(keys, costs, out):
    """Fill one channel of out (blocks, words) with the cost of its cell's match; the last cell is repeated."""
    words, last = costs.view(out.dtype), costs.shape[0] - 1
    for part in range(out.shape[1]):
        target = out[:, part]
        for b in range(target.shape[0]):
            key = keys[min(b * 2 // CELL, keys.shape[0] - 1)]
            target[b] = words[min(np.int64(key >> uint32(INDEX_BITS)), last), part]


@njit(cache=True)
def _fill_stretch(here, moved, doubt, keys, used, scales, costs, inside, scratch, out):
    """Fill out (blocks, channels, words) from two rows of pixels (3, 2, columns), their moved references, and doubt."""
    _put_colour(here, inside, scales[0], scratch, out[:, :3])
    for slot in range(used.shape[0]):
        channels = out[:, 3 + 4 * slot : 7 + 4 * slot]
        if used[slot]:
            _put_difference(here, moved[slot], inside, scales[1], scratch, channels[:, :3])
            _put_cost(keys[slot], costs, channels[:, 3])
        else:
            _put_difference(here, here, inside, scales[1], scratch, channels[:, :3])
            _put_cost(np.full(1, NO_MATCH, np.uint32), costs, channels[:, 3])
    _put_colour(doubt, inside, scales[0], scratch, out[:, 3 + 4 * used.shape[0] :])


@njit(parallel=True, nogil=True, cache=True)
def fill_blocks(rgb, references, doubt, keys, used, radius, scales, costs, edge, out):
    """Fill out (rows / 2, columns / 2, channels, words): the colours of rgb, four channels for each slot, doubt.

    Those are the slot's reference (slots, 3, H, W) gathered through its keys (slots, cell rows, cell columns), minus
    rgb, and the cost of the match; in a slot that is not used no difference and the largest cost. doubt (H, W) moves
    with the first slot's reference; where it is empty, or that slot is not used, all is doubtful. scales (2, 2: factor,
    addend) are of colours and doubt, and of differences, radius (slots,) is that of the keys' index, costs (L, 4) maps
    their cost to the items of a block, the last row for all larger ones; its type is that of all items. The 2 x 2
    items of a block are packed into words. out has edge more blocks on each side, which are left alone.
    """
    height, width = rgb.shape[1], rgb.shape[2]
    columns = (out.shape[1] - 2 * edge) * 2
    for row in prange((out.shape[0] - 2 * edge) * 2 // CELL):
        i = np.int64(row)  # prange counts unsigned, and min() of both kinds would be a float
        cells = min(i, keys[0].shape[0] - 1)
        wide = keys[0].shape[1] * CELL
        moved, here = np.empty((used.shape[0], 3, CELL, wide), np.uint8), np.empty((3, CELL, width), np.uint8)
        for slot in range(used.shape[0]):
            if used[slot]:
                _move_cells(references[slot], keys[slot][cells], radius[slot], i * CELL, moved[slot])
        doubtful = np.full((1, CELL, wide), 255, np.uint8)
        if used[0] and doubt.size > 0:
            _move_cells(doubt.reshape(1, height, width), keys[0][cells], radius[0], i * CELL, doubtful)
        for y in range(CELL):
            here[:, y] = rgb[:, min(i * CELL + y, height - 1)]
        lines, rows = np.empty(2 * STRETCH, np.float32), np.empty(2 * STRETCH, costs.dtype)
        items = np.empty(2 * STRETCH, costs.dtype)
        for begin in range(0, columns, STRETCH):
            inside, end = min(width - begin, STRETCH), min(begin + STRETCH, columns)
            count = 2 * (end - begin)
            scratch = (lines[:count].reshape(2, -1), rows[:count].reshape(2, -1), items[:count])
            near = (keys[0][cells, begin // CELL :], keys[1][cells, begin // CELL :])
            for y in range(0, CELL, 2):
                blocks = out[edge + (i * CELL + y) // 2, edge + begin // 2 : edge + end // 2]
                pixels, there = here[:, y : y + 2, begin:], moved[:, :, y : y + 2, begin:]
                unsure = doubtful[:, y : y + 2, begin:]
                _fill_stretch(pixels, there, unsure, near, used, scales, costs, inside, scratch, blocks)
