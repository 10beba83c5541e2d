"""Numba kernels of colour, for the CPU, as kernels.py says of its own: codes to RGB, and rain off the codes."""
import numpy as np
from numba import njit

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
