"""Slow, plain twins of the kernels: what the fast functions must equal."""
import math

import numpy as np

# --- colour: the standards' equations written out in float64, one sample at a time ---
LUMA_SHARES = {  # Kr, Kb
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}


def code_spans(pixel_format):
    """(black, span) of luma, R, G and B, then (middle, span) of chroma, in codes (H.273, BT.2100 table 9)."""
    if pixel_format.full_range:
        span = 2**pixel_format.bit_depth - 1
        return (0, span), (2 ** (pixel_format.bit_depth - 1), span)
    unit = 2 ** (pixel_format.bit_depth - 8)
    return (16 * unit, 219 * unit), (128 * unit, 224 * unit)


def sdr_of(signal, transfer):
    """One signal 0..1 on the curve that the network sees: light, squeezed above half of white, display gamma."""
    if transfer == "sdr":
        return signal
    if transfer == "pq":
        p = signal ** (1 / 78.84375)
        nits = 10000 * (max(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)) ** (1 / 0.1593017578125)
    else:
        scene = signal**2 / 3 if signal <= 0.5 else (math.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        nits = 1000 * scene**1.2
    light = nits / 203
    return (light if light <= 0.5 else 1 - 0.25 / light) ** (1 / 2.4)


def to_rgb(planes, pixel_format):
    """What colour.to_rgb shows, before rounding: float64 (3, H, W) in 0..255."""
    (black, span), (middle, chroma_span) = code_spans(pixel_format)
    red, blue = LUMA_SHARES[pixel_format.matrix]
    shift_x, shift_y = pixel_format.subsampling
    H, W = planes[0].shape
    out = np.empty((3, H, W))
    for y, x in np.ndindex(H, W):
        first = (float(planes[0][y, x]) - black) / span
        if pixel_format.family == "grey":
            pixel = [first] * 3
        elif pixel_format.family == "rgb":
            pixel = [(float(plane[y, x]) - black) / span for plane in planes]
        else:
            cb = (float(planes[1][y >> shift_y, x >> shift_x]) - middle) / chroma_span
            cr = (float(planes[2][y >> shift_y, x >> shift_x]) - middle) / chroma_span
            r, b = first + 2 * (1 - red) * cr, first + 2 * (1 - blue) * cb
            pixel = [r, (first - red * r - blue * b) / (1 - red - blue), b]
        out[:, y, x] = [255 * sdr_of(min(max(value, 0.0), 1.0), pixel_format.transfer) for value in pixel]
    return out


def rain_levels(rain, pixel_format):
    """How far a rain layer (3, H, W) moves every sample of every plane, in codes before rounding: float64 planes."""
    (_, span), (_, chroma_span) = code_spans(pixel_format)
    red, blue = LUMA_SHARES[pixel_format.matrix]
    if pixel_format.family == "rgb":
        return tuple(span * rain.astype(np.float64))
    r, g, b = rain.astype(np.float64)
    brightness = red * r + (1 - red - blue) * g + blue * b
    if pixel_format.family == "grey":
        return (span * brightness,)
    wide, high = (2**shift for shift in pixel_format.subsampling)
    planes = [span * brightness]
    for difference in ((b - brightness) / (2 * (1 - blue)), (r - brightness) / (2 * (1 - red))):
        H, W = difference.shape
        blocks = [[difference[y : y + high, x : x + wide].mean() for x in range(0, W, wide)] for y in range(0, H, high)]
        planes.append(chroma_span * np.array(blocks))
    return tuple(planes)


# --- search: every patch of every cell against every offset, one at a time ---
NO_MATCH = 0xFFFFFFFF


def guide(luma, reach):
    """Minimum over 2 * reach + 1 pixels of each row, then (1, 2, 1) / 4 along columns, rounded; borders repeat."""
    H, W = luma.shape
    eroded = [[int(luma[y, max(x - reach, 0) : x + reach + 1].min()) for x in range(W)] for y in range(H)]
    out = np.empty((H, W), np.uint8)
    for y, x in np.ndindex(H, W):
        above, below = eroded[max(y - 1, 0)][x], eroded[min(y + 1, H - 1)][x]
        out[y, x] = (above + 2 * eroded[y][x] + below + 2) // 4
    return out


def patch(picture, y, x):
    """The 8x8 patch that begins at (y, x), int64; outside the picture its border repeats."""
    H, W = picture.shape
    rows, columns = np.clip(np.arange(y, y + 8), 0, H - 1), np.clip(np.arange(x, x + 8), 0, W - 1)
    return picture[np.ix_(rows, columns)].astype(np.int64)


def match_cost(query, reference, cell, offset, truncation, penalty):
    """Truncated absolute differences of a cell's patch and the patch an offset away, plus the offset's penalty."""
    y, x = (4 * place - 2 for place in cell)
    dy, dx = offset
    difference = np.abs(patch(query, y, x) - patch(reference, y + dy, x + dx))
    return int(np.minimum(difference, truncation).sum()) + penalty * (abs(dy) + abs(dx))


def search(query, reference, radius, k, truncation, penalty):
    """Keys (k, rows, columns) of the k cheapest offsets of each cell; equal costs in raster order of the offset."""
    cells = tuple(-(-size // 4) for size in query.shape)
    side = 2 * radius + 1
    keys = np.full((k, *cells), NO_MATCH, np.uint32)
    for cell in np.ndindex(*cells):
        found = []
        for index in range(side * side):
            offset = index // side - radius, index % side - radius
            found.append((match_cost(query, reference, cell, offset, truncation, penalty), index))
        for place, (cost, index) in enumerate(sorted(found)[:k]):
            keys[(place, *cell)] = cost * 4096 + index
    return keys


def block_mean(picture, row, column):
    """Rounded mean of the 4x4 block whose first pixel is two above and left of a cell; the border repeats."""
    return (int(patch(picture, 4 * row - 2, 4 * column - 2)[:4, :4].sum()) + 8) // 16


def coarse_motion(query, reference, tile, rows, radius, truncation):
    """The offset in steps of four pixels at which all block means of a tile differ least, plus its length in steps."""
    blocks = [(tile[0] + row, tile[1] + column) for row in range(rows + 1) for column in range(16)]
    here = [block_mean(query, *block) for block in blocks]
    reach = radius // 4
    found = []
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            there = [block_mean(reference, row + dy, column + dx) for row, column in blocks]
            differences = (min(abs(one - other), truncation) for one, other in zip(here, there, strict=True))
            found.append((sum(differences) + abs(dy) + abs(dx), dy, dx))
    return tuple(4 * step for step in min(found)[1:])


def proposals(query, reference, previous, settings, tile):
    """What a tile must try whatever chance adds, in order and without repetitions.

    The offsets around zero, those around the tile's coarse motion, those around its most frequent previous ones.
    previous (k, rows, columns) holds raster indices, those past the window count for nothing; tile is (row, column)
    of its first cell.
    """
    side = 2 * settings.radius + 1
    top, left = tile
    votes = [0] * (side * side)
    for index in previous[:, max(top - 2, 0) : top + 10, max(left - 2, 0) : left + 17].reshape(-1):
        if index < side * side:
            votes[index] += 1
    ranked = sorted((index for index in range(side * side) if votes[index]), key=lambda index: (-votes[index], index))
    rows = min(8, previous.shape[1] - top)
    moved = coarse_motion(query, reference, tile, rows, settings.radius, settings.truncation)
    starts = [((0, 0), 1), (moved, 2)]
    starts += [((i // side - settings.radius, i % side - settings.radius), settings.reach) for i in ranked]
    out = []
    for (y, x), reach in starts[: 2 + settings.winners]:
        for dy in range(y - reach, y + reach + 1):
            for dx in range(x - reach, x + reach + 1):
                index = (dy + settings.radius) * side + dx + settings.radius
                if max(abs(dy), abs(dx)) <= settings.radius and index not in out:
                    out.append(index)
    return out


# --- companions: one pixel at a time ---
def companion(rgb, reference, keys, radius):
    """Reference gathered through keys minus rgb in 0..1, then the cost over 2048 and at most 1: float64 (4, H, W)."""
    _, H, W = rgb.shape
    side = 2 * radius + 1
    out = np.empty((4, H, W))
    for y, x in np.ndindex(H, W):
        cost, index = divmod(int(keys[y // 4, x // 4]), 4096)
        from_y = min(max(y + index // side - radius, 0), H - 1)
        from_x = min(max(x + index % side - radius, 0), W - 1)
        for channel in range(3):
            out[channel, y, x] = (int(reference[channel, from_y, from_x]) - int(rgb[channel, y, x])) / 255
        out[3, y, x] = min(cost / 2048, 1)
    return out


def moved(plane, keys, radius):
    """A plane (H, W) gathered through keys."""
    H, W = plane.shape
    side = 2 * radius + 1
    out = np.empty_like(plane)
    for y, x in np.ndindex(H, W):
        index = int(keys[y // 4, x // 4]) % 4096
        from_y = min(max(y + index // side - radius, 0), H - 1)
        from_x = min(max(x + index % side - radius, 0), W - 1)
        out[y, x] = plane[from_y, from_x]
    return out


# --- exposure: one code after the other ---
def tone(before, wanted):
    """For each code the lowest one that as many of wanted reach as are below the middle of those of before."""
    total, asked = int(before.sum()), int(wanted.sum())
    out = []
    for code in range(256):
        middle = int(before[: code + 1].sum()) - before[code] / 2
        out.append(next(c for c in range(256) if int(wanted[: c + 1].sum()) >= middle / total * asked or c == 255))
    return out


def count(codes, step):
    """How often each code is there, of every step-th row and column: a list of 256."""
    seen = codes[::step, ::step].ravel().tolist()
    return [seen.count(code) for code in range(256)]


def difference(one, other, tone, most):
    """The sum of what tone[one] and other differ by, each at most most."""
    return sum(min(abs(int(tone[a]) - int(b)), most) for a, b in zip(one.flat, other.flat, strict=True))


def take_off(codes, answer):
    """Codes (3, H, W) less the first three planes of answer (4, H, W), and the fourth, both in codes: uint8."""
    def clamped(value):
        return min(max(round(value), 0), 255)

    left, doubt = np.empty_like(codes), np.empty(codes.shape[1:], np.uint8)
    for place in np.ndindex(*codes.shape):
        left[place] = clamped(int(codes[place]) - round(float(answer[place] * np.float32(255))))
    for place in np.ndindex(*doubt.shape):
        doubt[place] = clamped(float(answer[3][place] * np.float32(255)))
    return left, doubt


# --- rain: every streak over every pixel ---
def streaks(drops, shape):
    """Segments with a Gaussian cross-section, cut at three sigma, with soft ends: float64 layer of that shape.

    drops: rows of centre y, centre x, length, slope (x per y), sigma across, amplitude, softness of the ends, and of
    the oscillation turns, phase, beads, sway, hollow, lean.
    """
    layer = np.zeros(shape)
    for centre_y, centre_x, length, slope, sigma, amplitude, soft, turns, phase, beads, sway, hollow, lean in drops:
        cosine = math.cos(math.atan(slope))
        for y, x in np.ndindex(*shape):
            down = (y - centre_y) / (length * cosine)  # -1/2 at the upper end, 1/2 at the lower
            angle = phase + 2 * math.pi * turns * down
            sideways = (x - centre_x - (y - centre_y) * slope - sway * sigma * math.sin(angle)) * cosine / sigma
            beyond = abs(y - centre_y) - length * cosine / 2
            fade = min(max(0.5 - beyond / (soft + 1e-3), 0), 1)
            bead = 1 - beads + beads * (0.5 + 0.5 * math.cos(angle)) ** 2
            share = min(max(down + 0.5, 0), 1)
            slant = math.exp(-lean * share if lean > 0 else lean * (1 - share))
            if abs(sideways) <= 3:
                middle = 1 - hollow * math.exp(-2 * sideways**2)
                layer[y, x] += amplitude * fade * bead * slant * middle * math.exp(-0.5 * sideways**2)
    return layer


# --- anti-aliasing: one output sample at a time ---
def blur_pool(plane):
    """[1, 2, 1] x [1, 2, 1] / 16 around every second sample of (H, W); beyond the border the plane is reflected."""
    H, W = plane.shape
    out = np.zeros((-(-H // 2), -(-W // 2)))
    for y, x in np.ndindex(*out.shape):
        for dy, dx in np.ndindex(3, 3):
            row, column = 2 * y + dy - 1, 2 * x + dx - 1
            row = -row if row < 0 else min(row, 2 * (H - 1) - row)
            column = -column if column < 0 else min(column, 2 * (W - 1) - column)
            out[y, x] += (1, 2, 1)[dy] * (1, 2, 1)[dx] * plane[row, column] / 16
    return out


def blur_upsample(plane):
    """Every sample of (H, W) spread over 4x4 by [1, 3, 3, 1] x [1, 3, 3, 1] / 16, two apart; the border is repeated."""
    H, W = plane.shape
    spread = np.zeros((2 * H + 6, 2 * W + 6))
    for y, x in np.ndindex(H + 2, W + 2):
        value = plane[min(max(y - 1, 0), H - 1), min(max(x - 1, 0), W - 1)]
        for dy, dx in np.ndindex(4, 4):
            spread[2 * y + dy, 2 * x + dx] += (1, 3, 3, 1)[dy] * (1, 3, 3, 1)[dx] * value / 16
    return spread[3:-3, 3:-3]


# --- sampled patches: the published loop over a window's places ---
def patch_at(image, centre, side):
    """The patch of (C, H, W) that a centre stands for: side / 2 before it, the rest from it on."""
    y, x = (int(place) - side // 2 for place in centre)
    return image[:, y : y + side, x : x + side]


def candidates(shape, anchor, sampler):
    """Centres in the window around an anchor whose patches lie inside (H, W), in raster order."""
    half, reach = sampler.patch_size // 2, sampler.search_size // 2
    rows, columns = (
        [place for place in range(int(at) - reach, int(at) + reach, sampler.stride) if half <= place <= size - half]
        for at, size in zip(anchor, shape, strict=True)
    )
    return [(y, x) for y in rows for x in columns]


def patch_distance(image, one, other, side):
    """Squared Euclidean distance of two patches of (C, H, W), float64."""
    return float(((patch_at(image, one, side) - patch_at(image, other, side)) ** 2).sum())


def nonlocal_patches(image, anchor, k, sampler):
    """The k nearest candidates of an anchor, nearest first, ties in raster order; each min_distance from the others."""
    places = candidates(image.shape[1:], anchor, sampler)
    ranked = sorted(places, key=lambda place: patch_distance(image, place, anchor, sampler.patch_size))
    chosen = []
    for y, x in ranked:
        if all(max(abs(y - row), abs(x - column)) >= sampler.min_distance for row, column in chosen):
            chosen.append((y, x))
    return chosen[:k]


def reverse_nonlocal(image, query, pool, k, side):
    """Numbers of the k patches of a pool that are least like the query's."""
    ranked = sorted(range(len(pool)), key=lambda number: -patch_distance(image, query, pool[number], side))
    return set(ranked[:k])


# --- contrastive losses: one anchor and one pair at a time, as the sums are written ---
def patch_nce(query, key, temperature, pool=None, negative=None):
    """InfoNCE of each query's own key against the other keys, or against those of a pool that a mask names."""
    losses = []
    for s in range(len(query)):
        if pool is None:
            others = [key[t] for t in range(len(key)) if t != s]
        else:
            others = [pool[t] for t in range(len(pool)) if negative[s, t]]
        own = math.exp(query[s] @ key[s] / temperature)
        losses.append(-math.log(own / (own + sum(math.exp(query[s] @ other / temperature) for other in others))))
    return sum(losses) / len(losses)


def layer_loss(image, rain, temperature):
    """Supervised contrast of two labels: over all anchors, the mean over their positives of each one's log-share."""
    z = [*image, *rain]
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if (p < len(image)) == (i < len(image))]
        everything = sum(math.exp(z[i] @ z[a] / temperature) for a in others)
        shares = [math.log(math.exp(z[i] @ z[p] / temperature) / everything) for p in positives]
        total -= sum(shares) / len(positives)
    return total / len(z)


def loose_direction(own, other, temperature):
    """The sum over positives inside the logarithm."""
    losses = []
    for i in range(len(own)):
        near = sum(math.exp(own[i] @ own[p] / temperature) for p in range(len(own)) if p != i)
        far = sum(math.exp(own[i] @ negative / temperature) for negative in other)
        losses.append(-math.log(near / (near + far)))
    return sum(losses) / len(losses)


def tight_direction(own, other, temperature):
    """The mean over positives outside the logarithm, each against all negatives."""
    losses = []
    for j in range(len(own)):
        far = sum(math.exp(own[j] @ negative / temperature) for negative in other)
        near = [math.exp(own[j] @ own[p] / temperature) for p in range(len(own)) if p != j]
        losses.append(-sum(math.log(each / (each + far)) for each in near) / len(near))
    return sum(losses) / len(losses)


# --- structural similarity over zeros ---
def ssim_map(a, b):
    """Equation 13 of the SSIM paper around each pixel of (H, W), 0..1; beyond the border both pictures are 0."""
    steps = np.arange(11) - 5.0
    window = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = 0.01**2, 0.03**2
    padded_a, padded_b = np.pad(a.astype(np.float64), 5), np.pad(b.astype(np.float64), 5)
    out = np.empty(a.shape)
    for y, x in np.ndindex(*a.shape):
        p, q = padded_a[y : y + 11, x : x + 11], padded_b[y : y + 11, x : x + 11]
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
        both = (window * (p - mp) * (q - mq)).sum()
        out[y, x] = (2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2))
    return out


# --- int8: one value at a time ---
def squeezed(x):
    """For each picture and channel the mean of what is above zero, then, for each channel, of what is below."""
    batch, channels, height, width = x.shape
    out = np.zeros((batch, 2 * channels))
    for b in range(batch):
        for c in range(channels):
            for value in x[b, c].ravel():
                out[b, c if value > 0 else channels + c] += abs(float(value)) / (height * width)
    return out


def rounded(weight):
    """Weights (O, I, KH, KW) rounded to whole numbers; in each kernel the worst ones go the other way until its errors
    sum to a half at most."""
    whole = np.round(weight.astype(np.float64))
    for o, i in np.ndindex(*weight.shape[:2]):
        error = whole[o, i] - weight[o, i]
        while abs(error.sum()) > 0.5:
            way = np.sign(error.sum())
            worst = np.unravel_index(np.argmax(error * way), error.shape)
            whole[o, i][worst] -= way
            error[worst] -= way
    return whole.astype(np.int8)


def quantised(values, step, zero):
    """Codes of float values, rounded to the nearest with halves up, clamped to a byte."""
    return np.clip(np.floor(values.astype(np.float64) / step + zero + 0.5), 0, 255).astype(np.uint8)


def enlarged_sum(small, skip):
    """skip (2h, 2w, C) plus, for each place of small (h, w, 2, 2, C), the four pixels it makes; float64."""
    out = skip.astype(np.float64).copy()
    for i, j, below, right in np.ndindex(*small.shape[:4]):
        out[2 * i + below, 2 * j + right] += small[i, j, below, right]
    return out
