"""Numba kernels of a frame's light and doubt on the CPU, where torch's threads cost more than so little work."""
import numpy as np
from numba import njit, prange


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
def to_codes(values, out):
    """Fill out (H, W) uint8 with values (H, W) float32 of 0..1 as codes, rounded to nearest, ties to even, clamped."""
    for y in prange(values.shape[0]):
        line, row = values[y], out[y]
        for x in range(values.shape[1]):
            row[x] = np.uint8(min(max(np.rint(line[x] * np.float32(255)), np.float32(0)), np.float32(255)))
