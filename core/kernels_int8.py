"""Numba kernels between the convolutions of the int8 network: what oneDNN does not do on the way.

bfloat16 travels as its bits in uint16. Called and checked by int8.py, from several threads at once: each is too short
to be worth waking others.
"""
import numpy as np
from numba import njit, uint32

_CHUNK = 1 << 14  # values that stay in the first caches
_HALF = np.float32(0.5)


@njit(cache=True)
def _widened(bits, out):
    """The float32 values of bfloat16's bits."""
    wide = out.view(np.uint32)
    for x in range(bits.shape[0]):
        wide[x] = uint32(bits[x]) << uint32(16)


@njit(cache=True)
def _narrowed(values, out):
    """The bits of values rounded to bfloat16, to nearest, ties to even."""
    bits = values.view(np.uint32)
    for x in range(bits.shape[0]):
        out[x] = np.uint16((bits[x] + uint32(0x7FFF) + ((bits[x] >> uint32(16)) & uint32(1))) >> uint32(16))


@njit(cache=True)
def _coded(values, per_unit, zero, out):
    """out = round(values * per_unit) + zero, clamped to a byte."""
    shift = np.float32(zero) + _HALF
    for x in range(values.shape[0]):
        out[x] = np.uint8(min(max(np.int32(values[x] * per_unit + shift), np.int32(0)), np.int32(255)))


@njit(nogil=True, cache=True)
def quantise(bits, per_unit, zero, out):
    """Fill out (N,) uint8 with the codes of bits (N,): value * per_unit + zero, rounded and clamped."""
    for chunk in range((bits.shape[0] + _CHUNK - 1) // _CHUNK):
        begin = chunk * _CHUNK
        source = bits[begin : begin + _CHUNK]
        values = np.empty(source.shape[0], np.float32)
        _widened(source, values)
        _coded(values, per_unit, zero, out[begin : begin + _CHUNK])


@njit(nogil=True, cache=True)
def add(change, bits, per_unit, zero, out):
    """Add change (N,) to bits (N,), both bfloat16, and fill out (N,) uint8 with the sum's codes."""
    far, near = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    for begin in range(0, bits.shape[0], _CHUNK):
        line = bits[begin : begin + _CHUNK]
        more, values = far[: line.shape[0]], near[: line.shape[0]]
        _widened(change[begin : begin + _CHUNK], more)
        _widened(line, values)
        for n in range(values.shape[0]):
            values[n] += more[n]
        _narrowed(values, line)
        _coded(values, per_unit, zero, out[begin : begin + _CHUNK])


@njit(nogil=True, cache=True)
def squeeze(bits, out):
    """Add to out (2, C) float64 the sums over bits (N, C), bfloat16, of what is above zero and of what is below."""
    values = np.empty(bits.shape[1], np.float32)
    for n in range(bits.shape[0]):
        _widened(bits[n], values)
        for c in range(values.shape[0]):
            out[0, c] += max(values[c], np.float32(0))
            out[1, c] += max(-values[c], np.float32(0))


@njit(cache=True)
def _enlarged_row(small, below, out):
    """Fill out (w * C,), pairs of bfloat16 in words, with one of the two rows that small (w, 2, C) makes."""
    width, words = small.shape[0], small.shape[2]
    for x in range(width):
        for n in range(words):
            out[x * words + n] = small[x, below, n]


@njit(nogil=True, cache=True)
def add_enlarged(small, skip, per_unit, zero, out):
    """Add small (h, w, 2, C) to skip (2h, 2w * C) and fill out like skip with the sum's codes.

    small holds four pixels of C channels for each of its places, two rows of two; pairs of bfloat16 in uint32.
    """
    for i in range(small.shape[0]):
        row = np.empty(skip.shape[1] // 2, np.uint32)
        far, near = np.empty(skip.shape[1], np.float32), np.empty(skip.shape[1], np.float32)
        for below in range(2):
            line = skip[2 * i + below]
            _enlarged_row(small[i], below, row)
            _widened(row.view(np.uint16), far)
            _widened(line, near)
            for n in range(far.shape[0]):
                near[n] += far[n]
            _narrowed(near, line)
            _coded(near, per_unit, zero, out[2 * i + below])


@njit(nogil=True, cache=True)
def unblock(blocks, first, out):
    """Fill rows of out (C, H, W) float32, from the first on, with blocks (rows / 2, columns / 2, C, 2, 2).

    What exceeds H and W is left out.
    """
    channels, height, width = out.shape
    for i in range(blocks.shape[0]):
        row = first + 2 * i
        values = np.empty(blocks.shape[1] * 4 * channels, np.float32)
        _widened(blocks[i].reshape(-1), values)
        for channel in range(channels):
            for below in range(min(2, height - row)):
                line = out[channel, row + below]
                for x in range(width):
                    line[x] = values[(x >> 1) * 4 * channels + channel * 4 + below * 2 + (x & 1)]
