"""The search's kernels for NVIDIA GPUs: the twins of those in kernels.py, with the same answers bit for bit.

They take device arrays and int32 numbers, fill device arrays and raise nothing; cuda_search.py checks and explains, and
kernels_cuda_proposals.py lists the candidates. All arithmetic is in whole numbers. Where it is hot, indices are
unsigned, because Numba lets signed ones wrap, and sums are brought back to 32 bits, because Numba widens them to 64.

What a frame of 1920x1080 costs in one role, with k 8 and the 67 candidates that each of its 34 x 32 tiles has on
average (the drawn street, 24 winners); counted, not measured:
- guide_blocks reads 2.1 MB of luma, writes 2.3 MB of guide and 0.15 MB of means;
- propose reads 0.8 MB of means and 7.9 MB of keys, compares 26 M means, counts 2 M votes, ranks them by reading 63 M;
- match_tiles reads 2.5 MB of query and 10.6 MB of windows (a guide 4.6 times over, so most of it from the L2 cache),
  takes 168 M truncated differences of six operations each, offers 8.7 M keys to k places, writes 4.2 MB of keys.
That is 31 MB and 1.6 billion operations: 10 microseconds of an H100's memory, 110 of its integer units. Run time
takes k 1 and 36 candidates: 90 M differences.
"""
# mypy: no-check-untyped-defs
from functools import lru_cache

from numba import cuda, int32, uint32, uint64

from .kernels import BLOCKS, CELL, INDEX_BITS, NO_MATCH, TILE_COLS, TILE_ROWS

LARGEST_RADIUS = 31  # the shared windows below are as large as it needs
OFFSET_BITS = 8  # a candidate is its offset from the window's corner: dy << OFFSET_BITS | dx
OFFSET_MASK = (1 << OFFSET_BITS) - 1

_TILE_BLOCKS = (TILE_ROWS + 1) * BLOCKS  # blocks of 4x4 pixels that a tile's patches are made of
_CELL_LANES = TILE_ROWS * BLOCKS  # threads that keep a cell's best; the last of each row has none

GUIDE_THREADS = (32, 4)
MATCH_THREADS = 160  # five warps: one thread for each of the 144 blocks
_CHUNK = 8  # candidates between two barriers
_WINDOW_STRIDE = 36  # words; four rows are 16 banks apart, so that the two rows of blocks of a warp do not collide
_WINDOW = ((TILE_ROWS + 1) * CELL + 2 * LARGEST_RADIUS) * _WINDOW_STRIDE
_SUMS = 2 * _CHUNK * _TILE_BLOCKS
_PIXELS = CELL * CELL


@cuda.jit(device=True)
def lesser(a, b):
    """min, which the CUDA target inside Numba 0.68 cannot compile."""
    return a if a < b else b


@cuda.jit(device=True)
def greater(a, b):
    """max, likewise."""
    return a if a > b else b


@cuda.jit(cache=True)
def guide_blocks(luma, reach, margin, words, coarse):
    """Fill words (rows, columns / 4) uint32 with the padded guide, four pixels each, and coarse with its block means.

    luma (H, W) uint8 in any strides; minimum over 2 * reach + 1 pixels of each row, then 1-2-1 along columns, the
    border repeated for margin pixels before and as far as words goes after. One thread for each block of 4x4.
    """
    c, i = cuda.grid(2)
    if i >= coarse.shape[0] or c >= coarse.shape[1]:
        return
    height, width = int32(luma.shape[0]), int32(luma.shape[1])
    total = int32(CELL * CELL // 2)
    for r in range(CELL):
        y = lesser(greater(int32(i * CELL + r - margin), 0), height - 1)
        above, below = greater(y - 1, 0), lesser(y + 1, height - 1)
        word = uint32(0)
        for b in range(CELL):
            x = lesser(greater(int32(c * CELL + b - margin), 0), width - 1)
            upper, here, lower = int32(255), int32(255), int32(255)
            for near in range(greater(x - reach, 0), lesser(x + reach, width - 1) + 1):
                upper = lesser(upper, int32(luma[above, near]))
                here = lesser(here, int32(luma[y, near]))
                lower = lesser(lower, int32(luma[below, near]))
            value = int32((upper + 2 * here + lower + 2) >> 2)
            total = int32(total + value)
            word = uint32(word | uint32(value << (8 * b)))
        words[i * CELL + r, c] = word
    coarse[i, c] = total // (CELL * CELL)


@cuda.jit(device=True)
def _load_window(reference, row, word, rows, wide, window, t):
    """Rows of words of the reference from (row, word) on."""
    for n in range(t, rows * wide, MATCH_THREADS):
        y, x = n // wide, n % wide
        window[y * _WINDOW_STRIDE + x] = reference[row + y, word + x]


@cuda.jit(device=True)
def _load_block(query, row, word, pixels):
    """The sixteen pixels of a block."""
    for y in range(CELL):
        four = query[row + y, word]
        for b in range(CELL):
            pixels[y * CELL + b] = int32((four >> uint32(8 * b)) & uint32(255))


@cuda.jit(device=True)
def _block_sum(query, window, place, shift, truncation):
    """Truncated absolute differences of a block in registers and the one at a place in the window, in words."""
    total = int32(0)
    for y in range(CELL):
        at = uint32(place + y * _WINDOW_STRIDE)
        words = uint64(window[at]) | uint64(window[uint32(at + 1)]) << uint64(32)
        word = uint32(words >> uint64(shift) & uint64(0xFFFFFFFF))
        for b in range(CELL):
            pixel = int32((word >> uint32(8 * b)) & uint32(255))
            total = int32(total + lesser(abs(int32(query[y * CELL + b] - pixel)), truncation))
    return total


@cuda.jit(device=True)
def _key(sums, at, offset, radius, penalty):
    """The key of a cell's patch, whose four blocks' sums stand at and after a place, at an offset."""
    y, x = int32(offset >> OFFSET_BITS), int32(offset & OFFSET_MASK)
    cost = int32(sums[at] + sums[uint32(at + 1)])
    cost = int32(cost + sums[uint32(at + BLOCKS)] + sums[uint32(at + BLOCKS + 1)])
    cost = int32(cost + penalty * (abs(y - radius) + abs(x - radius)))
    return uint32(uint32(cost) << uint32(INDEX_BITS) | uint32(y * (2 * radius + 1) + x))


@lru_cache
def match_tiles(k):
    """The kernel for k places, which it keeps in registers: see its own docstring."""

    @cuda.jit(cache=True)
    def match_tiles_k(query, reference, origin, radius, truncation, penalty, candidates, counts, keys, costs):
        """Fill keys (k, cell rows, cell columns) uint32 with the best candidates of each tile, ascending.

        One block of threads a tile, in a grid of (tile columns, tile rows). query and reference are guides in words,
        (rows, words) uint32, the first patch at row origin and word origin / 4. candidates (T, N) int32 and counts
        (T,) as propose fills them; T is 1 (all tiles share) or one per tile. costs (tile rows, tile columns) int32
        receives the sum of the tile's best costs.
        """
        window = cuda.shared.array(_WINDOW, uint32)
        sums = cuda.shared.array(_SUMS, int32)
        tile_cost = cuda.shared.array(1, int32)
        pixels = cuda.local.array(_PIXELS, int32)
        best = cuda.local.array(k, uint32)
        t = int32(cuda.threadIdx.x)
        r, c = int32(t // BLOCKS), int32(t % BLOCKS)
        sees, keeps = t < _TILE_BLOCKS, t < _CELL_LANES and c < TILE_COLS
        top, left = int32(cuda.blockIdx.y * TILE_ROWS), int32(cuda.blockIdx.x * TILE_COLS)
        row, word = int32(origin + top * CELL), int32(origin // CELL + left)
        pad = int32((radius + CELL - 1) // CELL)  # the window begins at whole words
        rows, wide = int32((TILE_ROWS + 1) * CELL + 2 * radius), int32(BLOCKS + 1 + 2 * pad)
        _load_window(reference, row - radius, word - pad, rows, wide, window, t)
        if sees:
            _load_block(query, row + r * CELL, word + c, pixels)
        if t == 0:
            tile_cost[0] = 0
        for j in range(k):
            best[j] = NO_MATCH
        own = uint32((cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x) % candidates.shape[0])
        count = int32(counts[own])
        start_row, start_column = int32(r * CELL * _WINDOW_STRIDE), int32(c * CELL + pad * CELL - radius)
        cuda.syncthreads()
        for begin in range(0, count, _CHUNK):
            few = lesser(int32(_CHUNK), int32(count - begin))
            place = int32((begin & _CHUNK) * _TILE_BLOCKS + t)  # two halves in turn: one barrier a chunk is enough
            if sees:
                for n in range(few):
                    offset = candidates[own, uint32(begin + n)]
                    x = int32(start_column + (offset & OFFSET_MASK))
                    at = int32(start_row + (offset >> OFFSET_BITS) * _WINDOW_STRIDE + (x >> 2))
                    total = _block_sum(pixels, window, at, uint32((x & 3) << 3), truncation)
                    sums[uint32(place + n * _TILE_BLOCKS)] = total
            cuda.syncthreads()
            if keeps:
                for n in range(few):
                    offset = candidates[own, uint32(begin + n)]
                    key = _key(sums, uint32(place + n * _TILE_BLOCKS), offset, radius, penalty)
                    if key < best[k - 1]:
                        for j in range(k):
                            old = best[j]
                            best[j], key = lesser(old, key), greater(old, key)
        if keeps and top + r < keys.shape[1] and left + c < keys.shape[2]:
            for j in range(k):
                keys[j, top + r, left + c] = best[j]
            cuda.atomic.add(tile_cost, 0, int32(best[0] >> uint32(INDEX_BITS)))
        cuda.syncthreads()
        if t == 0:
            costs[cuda.blockIdx.y, cuda.blockIdx.x] = tile_cost[0]

    return match_tiles_k
