"""Numba kernels of a frame's light and doubt on the CPU, where torch's threads cost more than so little work."""
import numpy as np
from numba import njit, prange

_CODES = np.float32(255)


@njit(nogil=True, cache=True)
def count(codes, step, counts):
    """Add to counts (256,) how often each code is in codes (H, W) uint8, of every step-th row and column."""
    for y in range(0, codes.shape[0], step):
        row = codes[y]
        for x in range(0, codes.shape[1], step):
            counts[row[x]] += 1


@njit(nogil=True, cache=True)
def difference(one, other, tone, most):
    """The sum of |tone[one] - other|, each at most most; one and other are (H, W) uint8, tone (256,) uint8."""
    total = np.int64(0)
    for y in range(one.shape[0]):
        line, twin = one[y], other[y]
        part = np.int32(0)
        for x in range(one.shape[1]):
            part += min(abs(np.int32(tone[line[x]]) - np.int32(twin[x])), np.int32(most))
        total += part
    return total


@njit(parallel=True, nogil=True, cache=True)
def take_off(codes, answer, left, doubt):
    """Fill left (3, H, W) with codes (3, H, W), all uint8, less answer[:3], and doubt (H, W) with answer[3].

    answer is (4, H, W) float32, the network's: rain and doubt in units of 255 codes. Each is rounded to whole codes,
    ties to even, results are clamped: what colour.subtract_rain makes of such planes, in one pass for all.
    """
    for y in prange(doubt.shape[0]):
        for channel in range(3):
            line, rain, row = codes[channel, y], answer[channel, y], left[channel, y]
            for x in range(row.shape[0]):
                row[x] = _code(np.float32(line[x]) - np.rint(rain[x] * _CODES))
        unsure, row = answer[3, y], doubt[y]
        for x in range(row.shape[0]):
            row[x] = _code(np.rint(unsure[x] * _CODES))


@njit(cache=True)
def _code(value):
    return np.uint8(np.int32(min(max(value, np.float32(0)), _CODES)))
