"""The frame's kernels for NVIDIA GPUs: planes to RGB and luma, companions to the network's input, rain off the planes.

Twins of the kernels in kernels.py and of core.companions, sample for sample. Products are rounded before they are
added up, as on the CPU, so that not even float sums differ. A turn (y0, yi, yj, x0, xi, xj) says which sample (y, x)
of the lying frame stands at (i, j) of the upright one: y = y0 + yi * i + yj * j, x likewise.

A frame of 1920x1080 in 4:2:0 and 8 bits reads 3.1 MB and writes 8.3 MB to be shown, reads 21.8 MB and writes 49.8 MB
of float16 to be laid beside its companions, reads 28 MB and writes 3.1 MB to lose its rain: 114 MB in all, 37
microseconds of an H100's memory.
"""
# mypy: no-check-untyped-defs
from numba import config, cuda, float32, int32, uint32

from .kernels import CELL, INDEX_BITS, INDEX_MASK
from .kernels_cuda import greater, lesser

PICTURE_THREADS = (32, 8)
BLOCK_THREADS = 64  # of fill_blocks, side by side
BLOCK_WORDS = 24  # twelve channels of a block of 2x2 pixels in 16 bits: each word holds two neighbours of a row
_STAGE = BLOCK_THREADS * BLOCK_WORDS

if config.ENABLE_CUDASIM:  # type: ignore[attr-defined]  # set from the environment

    def _times(a, b):
        return a * b

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True)
    def _times(a, b):
        """A product that no compiler fuses with the sum after it."""
        return libdevice.fmul_rn(a, b)


@cuda.jit(device=True)
def _code(y, u, v, matrix, channel, top):
    """A channel of a pixel from its YUV codes, rounded and clamped: kernels.yuv_to_rgb."""
    chroma = _times(matrix[channel, 1], float32(u)) + _times(matrix[channel, 2], float32(v)) + matrix[channel, 3]
    value = _times(matrix[channel, 0], float32(y)) + chroma
    return int32(lesser(greater(value, float32(0)), top) + float32(0.5))


@cuda.jit(cache=True)
def show_yuv(luma, u, v, shift_x, shift_y, matrix, top, table, drop, turn, rgb, grey):
    """Fill rgb (3, H, W) with table[codes of the matrix in 0..top] and grey (H, W) with luma >> drop, both upright."""
    j, i = cuda.grid(2)
    if i >= grey.shape[0] or j >= grey.shape[1]:
        return
    y, x = turn[0] + turn[1] * i + turn[2] * j, turn[3] + turn[4] * i + turn[5] * j
    here, blue, red = luma[y, x], u[y >> shift_y, x >> shift_x], v[y >> shift_y, x >> shift_x]
    grey[i, j] = (int32(here) >> drop) & 255
    for channel in range(3):
        rgb[channel, i, j] = table[_code(here, blue, red, matrix, channel, top)]


@cuda.jit(cache=True)
def show_rgb(red, green, blue, table, drop, weighted, turn, rgb, grey):
    """Fill rgb (3, H, W) with table[codes] and grey (H, W) with their BT.709 sum in 8 bits, or with red alone."""
    j, i = cuda.grid(2)
    if i >= grey.shape[0] or j >= grey.shape[1]:
        return
    y, x = turn[0] + turn[1] * i + turn[2] * j, turn[3] + turn[4] * i + turn[5] * j
    r, g, b = int32(red[y, x]), int32(green[y, x]), int32(blue[y, x])
    rgb[0, i, j], rgb[1, i, j], rgb[2, i, j] = table[r], table[g], table[b]
    if weighted:
        grey[i, j] = (54 * (r >> drop) + 183 * (g >> drop) + 19 * (b >> drop) + 128 & 0xFFFF) >> 8
    else:
        grey[i, j] = (r >> drop) & 255


@cuda.jit(cache=True)
def gain_yuv(luma, u, v, shift_x, shift_y, matrix, top, gains, turn, rain, out):
    """Fill out (3, H, W), lying, with the upright rain times gains[codes of the matrix in 0..top]."""
    j, i = cuda.grid(2)
    height, width = out.shape[1], out.shape[2]
    if i >= (width if turn[1] == 0 else height) or j >= (height if turn[1] == 0 else width):
        return
    y, x = turn[0] + turn[1] * i + turn[2] * j, turn[3] + turn[4] * i + turn[5] * j
    here, blue, red = luma[y, x], u[y >> shift_y, x >> shift_x], v[y >> shift_y, x >> shift_x]
    for channel in range(3):
        out[channel, y, x] = _times(rain[channel, i, j], gains[_code(here, blue, red, matrix, channel, top)])


@cuda.jit(cache=True)
def gain_rgb(red, green, blue, gains, turn, rain, out):
    """Fill out (3, H, W), lying, with the upright rain times gains[codes]."""
    j, i = cuda.grid(2)
    height, width = out.shape[1], out.shape[2]
    if i >= (width if turn[1] == 0 else height) or j >= (height if turn[1] == 0 else width):
        return
    y, x = turn[0] + turn[1] * i + turn[2] * j, turn[3] + turn[4] * i + turn[5] * j
    out[0, y, x] = _times(rain[0, i, j], gains[red[y, x]])
    out[1, y, x] = _times(rain[1, i, j], gains[green[y, x]])
    out[2, y, x] = _times(rain[2, i, j], gains[blue[y, x]])


@cuda.jit(device=True)
def _share(weights, plane, rain, i, j):
    """Levels of a plane that the rain at an upright place is worth."""
    red, green = _times(weights[plane, 0], rain[0, i, j]), _times(weights[plane, 1], rain[1, i, j])
    return red + green + _times(weights[plane, 2], rain[2, i, j])


@cuda.jit(device=True)
def _less(code, levels, top):
    """A code without whole levels (halves to even), saturated."""
    return lesser(greater(int32(code) - int32(round(levels)), int32(0)), top)


@cuda.jit(cache=True)
def subtract_levels(planes, count, shift_x, shift_y, weights, turn, rain, top, outs):
    """Take weights (P, 3) . rain off count planes: kernels.subtract_levels. One thread for each chroma sample.

    planes and outs are always three; of the others than count asks for nothing is read. turn goes from a lying place to
    the upright one here.
    """
    column, row = cuda.grid(2)
    height, width = planes[0].shape
    left, above = column << shift_x, row << shift_y
    if above >= height or left >= width:
        return
    right, below = lesser(left + (1 << shift_x), width), lesser(above + (1 << shift_y), height)
    blue_sum, red_sum = float32(0), float32(0)
    for x in range(left, right):
        blue, red = float32(0), float32(0)
        for y in range(above, below):
            i, j = turn[0] + turn[1] * y + turn[2] * x, turn[3] + turn[4] * y + turn[5] * x
            outs[0][y, x] = _less(planes[0][y, x], _share(weights, 0, rain, i, j), top)
            if count > 1:
                blue += _share(weights, 1, rain, i, j)
                red += _share(weights, 2, rain, i, j)
        blue_sum += blue
        red_sum += red
    if count > 1:
        samples = float32((below - above) * (right - left))
        if right - left == 1 << shift_x:  # as on the CPU: at the right edge a quotient, else a product
            share = float32(1) / samples
            blue_sum, red_sum = _times(blue_sum, share), _times(red_sum, share)
        else:
            blue_sum, red_sum = blue_sum / samples, red_sum / samples
        outs[1][row, column] = _less(planes[1][row, column], blue_sum, top)
        outs[2][row, column] = _less(planes[2][row, column], red_sum, top)


@cuda.jit(device=True)
def _pair(low, high):
    return uint32(low) | uint32(high) << uint32(16)


@cuda.jit(device=True)
def _fill_half(stage, at, rgb, reference, keys, full, radius, i, c, below, difference, cost):
    """A slot's four channels for one pixel row of block (i, c): the reference gathered through the block's cell, minus
    rgb, and the cost of the match; or of an empty slot no difference and the greatest cost."""
    if full == 0:
        for channel in range(3):
            stage[at + 2 * channel] = _pair(difference[255], difference[255])
        stage[at + 6] = _pair(cost[cost.shape[0] - 1], cost[cost.shape[0] - 1])
        return
    height, width = int32(rgb.shape[1]), int32(rgb.shape[2])
    row, column = lesser(2 * i // CELL, int32(keys.shape[1] - 1)), lesser(2 * c // CELL, int32(keys.shape[2] - 1))
    key = keys[0, row, column]
    index, side = int32(key & uint32(INDEX_MASK)), int32(2 * radius + 1)
    dy, dx = int32(index // side - radius), int32(index % side - radius)
    worth = cost[lesser(int32(key >> uint32(INDEX_BITS)), int32(cost.shape[0] - 1))]
    y, left, right = lesser(2 * i + below, height - 1), lesser(2 * c, width - 1), lesser(2 * c + 1, width - 1)
    from_y = lesser(greater(y + dy, 0), height - 1)
    from_left, from_right = lesser(greater(left + dx, 0), width - 1), lesser(greater(right + dx, 0), width - 1)
    for channel in range(3):
        low = int32(reference[channel, from_y, from_left]) - int32(rgb[channel, y, left])
        high = int32(reference[channel, from_y, from_right]) - int32(rgb[channel, y, right])
        stage[at + 2 * channel] = _pair(difference[low + 255], difference[high + 255])
    stage[at + 6] = _pair(worth, worth)


@cuda.jit(device=True)
def _doubt_half(doubt, keys, full, radius, i, c, below, height, width, colour):
    """The doubt about one pixel row of block (i, c), gathered as the first reference is; full where there is none."""
    if full == 0:
        return _pair(colour[255], colour[255])
    row, column = lesser(2 * i // CELL, int32(keys.shape[1] - 1)), lesser(2 * c // CELL, int32(keys.shape[2] - 1))
    index, side = int32(keys[0, row, column] & uint32(INDEX_MASK)), int32(2 * radius + 1)
    dy, dx = int32(index // side - radius), int32(index % side - radius)
    from_y = lesser(greater(lesser(2 * i + below, height - 1) + dy, 0), height - 1)
    from_left = lesser(greater(lesser(2 * c, width - 1) + dx, 0), width - 1)
    from_right = lesser(greater(lesser(2 * c + 1, width - 1) + dx, 0), width - 1)
    return _pair(colour[doubt[from_y, from_left]], colour[doubt[from_y, from_right]])


@cuda.jit(cache=True)
def fill_blocks(rgb, first, first_keys, second, second_keys, doubt, full, radius, colour, difference, cost, words):
    """Fill words (H / 2, W / 2 * 24) uint32 with the network's input: companions.network_blocks in 16 bits.

    first and second (3, H, W) are the references, their keys (k, rows, columns), doubt (H, W) that about the first;
    full says with bits 0, 1 and 2 which of the three is there. colour (256,), of the frame and of doubt, difference
    (511,) and cost (L,) int32 hold the channels' values in bits. One block of threads for BLOCK_THREADS blocks of
    pixels beside each other, which are put together in shared memory so that they leave in whole lines.
    """
    stage = cuda.shared.array(_STAGE, uint32)
    t = int32(cuda.threadIdx.x)
    i, c = int32(cuda.blockIdx.y), int32(cuda.blockIdx.x * BLOCK_THREADS + t)
    height, width = int32(rgb.shape[1]), int32(rgb.shape[2])
    across = int32(words.shape[1] // BLOCK_WORDS)
    own = t * BLOCK_WORDS
    if c < across:
        left, right = lesser(2 * c, width - 1), lesser(2 * c + 1, width - 1)
        for below in range(2):
            y = lesser(2 * i + below, height - 1)
            for channel in range(3):
                stage[own + 2 * channel + below] = _pair(colour[rgb[channel, y, left]], colour[rgb[channel, y, right]])
            at = own + 6 + below
            _fill_half(stage, at, rgb, first, first_keys, full & 1, radius, i, c, below, difference, cost)
            _fill_half(stage, at + 8, rgb, second, second_keys, full & 2, radius, i, c, below, difference, cost)
            stage[at + 16] = _doubt_half(doubt, first_keys, full & 4, radius, i, c, below, height, width, colour)
    cuda.syncthreads()
    begin = int32(cuda.blockIdx.x * _STAGE)
    for n in range(t, lesser(_STAGE, words.shape[1] - begin), BLOCK_THREADS):
        words[i, begin + n] = stage[n]
