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
