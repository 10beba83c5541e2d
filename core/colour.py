"""Between a frame's own planes and the RGB that the network sees; the rain layer goes back the same way."""
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from streamderain.core import kernels_colour, transfer

Planes = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the numbers in a frame's planes are to be read.

    Attributes:
        family: "yuv" has planes Y, U, V; "rgb" has R, G, B; "grey" has Y alone.
        bit_depth: 8 to 16; planes are uint8 at 8, else uint16 with the value in the low bits.
        subsampling: log2 of the chroma planes' reduction, (horizontal, vertical): 4:2:0 is (1, 1), 4:4:4 is (0, 0).
        matrix: luma coefficients of the YUV families.
        full_range: True where black is 0 and white 2**bit_depth - 1; RGB and grey obey it too.
        transfer: "pq" and "hlg" are brought to an SDR-like curve for the network's eyes only.
    """

    family: Literal["yuv", "rgb", "grey"] = "yuv"
    bit_depth: int = 8
    subsampling: tuple[int, int] = (0, 0)
    matrix: Literal["bt601", "bt709", "bt2020", "smpte240m", "fcc"] = "bt709"
    full_range: bool = False
    transfer: Literal["sdr", "pq", "hlg"] = "sdr"


# Red and blue shares of luma (Kr, Kb), ITU-T H.273 table 4.
RED_BLUE = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}
SEEN_BITS = 12  # depth of the RGB between the matrix and the curve of PQ and HLG


def to_rgb(planes: Planes, pixel_format: PixelFormat, out: np.ndarray | None = None) -> np.ndarray:
    """The picture as the network sees it.

    Chroma is replicated, not interpolated, and PQ or HLG is shown on an SDR-like curve: neither reaches an output.

    Args:
        planes: the frame's planes, uint8 or uint16, shapes and order as in PixelFormat; never modified.
        pixel_format: how to read them.
        out: a C-contiguous uint8 (3, H, W) to fill, or None for a new one.

    Returns:
        RGB, uint8 (3, H, W), full range 0..255; grey is replicated.

    Raises:
        ValueError: the planes do not fit the format, or out does not fit the planes.
    """
    planes = _checked(planes, pixel_format)
    shape = (3, *planes[0].shape)
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous uint8 {shape}, got {out.dtype} {out.shape}")
    if pixel_format.family == "yuv" and pixel_format.transfer == "sdr":
        _through_matrix(planes, pixel_format, 255, out)
        return out
    planes, pixel_format = _without_matrix(planes, pixel_format)
    for channel, plane in enumerate(planes):
        kernels_colour.look_up(plane, shown_codes(pixel_format), out[channel])
    return out


def luma(planes: Planes, pixel_format: PixelFormat) -> np.ndarray:
    """Brightness in 8-bit codes of the frame's own range, the guide of the search.

    Args:
        planes: the frame's planes, as in to_rgb.
        pixel_format: how to read them.

    Returns:
        uint8 (H, W): the luma plane without the bits below the eighth (the plane itself where it has 8), for RGB the
        BT.709 weighted sum within one level.

    Raises:
        ValueError: the planes do not fit the format.
    """
    _checked(planes, pixel_format)
    shift = pixel_format.bit_depth - 8
    if pixel_format.family != "rgb":
        return (planes[0] >> shift).astype(np.uint8) if shift else planes[0]
    red, green, blue = ((plane >> shift).astype(np.uint16) for plane in planes)
    return ((54 * red + 183 * green + 19 * blue + 128) >> 8).astype(np.uint8)


def subtract_rain(planes: Planes, rain: np.ndarray, pixel_format: PixelFormat, strength: float = 1.0) -> Planes:
    """Take a rain layer off in the frame's own colour space, depth and chroma resolution (B = O - R).

    The layer passes through the matrix alone, is averaged over each chroma sample's block and rounded to whole levels;
    where it rounds to 0 the output is the input bit for bit. Results saturate at 0 and 2**bit_depth - 1, so that what
    lies outside limited range stays where it was. Rain seen through the curve of PQ or HLG is mapped back by the
    curve's local slope, channel by channel: right for faint rain, an approximation for strong.

    Args:
        planes: the frame's planes, as in to_rgb; never modified.
        rain: float32 (3, H, W), finite, in units of the 0..1 RGB that to_rgb shows (its codes / 255).
        pixel_format: how to read the planes.
        strength: multiplies the rain.

    Returns:
        Planes of the same shapes and dtype; a plane that nothing was taken from is the given one, not a copy.

    Raises:
        ValueError: the planes do not fit the format, or rain does not fit the planes.
    """
    ready = _checked(planes, pixel_format)
    if rain.shape != (3, *ready[0].shape) or rain.dtype != np.float32:
        raise ValueError(f"rain must be float32 {(3, *ready[0].shape)}, got {rain.dtype} {rain.shape}")
    if pixel_format.transfer != "sdr":
        rain = rain * _gain_of_curve(ready, pixel_format)
    weights = (strength * levels_per_rain(pixel_format)).astype(np.float32)
    shifts = _shifts(pixel_format)
    outs = tuple(np.empty(plane.shape, plane.dtype) for plane in ready)
    touched = np.zeros((-(-rain.shape[1] >> shifts[:, 1].max()), len(ready)), np.bool_)
    top = np.float32((1 << pixel_format.bit_depth) - 1)
    kernels_colour.subtract_levels(ready, shifts, weights, _ready(rain), top, outs, touched)
    return tuple(out if hit.any() else plane for plane, out, hit in zip(planes, outs, touched.T, strict=True))


def from_rgb(rgb: np.ndarray, pixel_format: PixelFormat) -> Planes:
    """Planes of a given format that show an RGB picture: for drawn pictures and labels, not for the path of a frame.

    Args:
        rgb: (3, H, W), uint8 0..255 or float 0..1.
        pixel_format: what to make; chroma is averaged over each sample's block, grey takes the luma.

    Returns:
        New planes, uint8 at 8 bits, else uint16.

    Raises:
        ValueError: rgb is not (3, H, W) of uint8 or float.
    """
    if rgb.ndim != 3 or rgb.shape[0] != 3 or not (rgb.dtype == np.uint8 or rgb.dtype.kind == "f"):
        raise ValueError(f"rgb must be (3, H, W) of uint8 or float, got {rgb.dtype} {rgb.shape}")
    shown = rgb / 255.0 if rgb.dtype == np.uint8 else np.clip(rgb, 0.0, 1.0)
    signal = transfer.from_sdr(shown, pixel_format.transfer)
    offsets, _ = _code_scale(pixel_format)
    dtype = np.uint8 if pixel_format.bit_depth == 8 else np.uint16
    top = (1 << pixel_format.bit_depth) - 1
    levels = np.tensordot(levels_per_rain(pixel_format), signal, axes=1)  # (P, H, W): a picture scales as rain does
    means = (_block_mean(plane, *shift) for plane, shift in zip(levels, _shifts(pixel_format), strict=True))
    return tuple(
        np.clip(np.rint(mean + offset), 0, top).astype(dtype) for mean, offset in zip(means, offsets, strict=True)
    )


def _checked(planes: Planes, pixel_format: PixelFormat) -> Planes:
    """The planes as the kernels take them; ValueError where they do not fit the format."""
    dtype = np.uint8 if pixel_format.bit_depth == 8 else np.uint16
    H, W = planes[0].shape
    expected = [(-(-H >> shift_y), -(-W >> shift_x)) for shift_x, shift_y in _shifts(pixel_format).tolist()]
    if [plane.shape for plane in planes] != expected or any(plane.dtype != dtype for plane in planes):
        given = [f"{plane.dtype} {plane.shape}" for plane in planes]
        raise ValueError(f"planes of {pixel_format} must be {np.dtype(dtype)} {expected}, got {given}")
    return tuple(_ready(plane) for plane in planes)


def _ready(array: np.ndarray) -> np.ndarray:
    """A contiguous read-only view: it keeps the kernels off their input and to one compiled version each."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _through_matrix(planes: Planes, pixel_format: PixelFormat, top: int, out: np.ndarray) -> None:
    shift_x, shift_y = pixel_format.subsampling
    luma_plane, blue, red = planes
    matrix = rgb_per_code(pixel_format, top)
    kernels_colour.yuv_to_rgb(luma_plane, blue, red, shift_x, shift_y, matrix, np.float32(top), out)


def _without_matrix(planes: Planes, pixel_format: PixelFormat) -> tuple[Planes, PixelFormat]:
    """Three planes that only a curve and a range separate from what is shown."""
    if pixel_format.family == "rgb":
        return planes, pixel_format
    if pixel_format.family == "grey":
        return planes * 3, replace(pixel_format, family="rgb")
    rgb = np.empty((3, *planes[0].shape), np.uint16)
    _through_matrix(planes, pixel_format, (1 << SEEN_BITS) - 1, rgb)
    seen = PixelFormat("rgb", SEEN_BITS, full_range=True, transfer=pixel_format.transfer)
    return tuple(_ready(channel) for channel in rgb), seen


def _gain_of_curve(planes: Planes, pixel_format: PixelFormat) -> np.ndarray:
    planes, pixel_format = _without_matrix(planes, pixel_format)
    gain = np.empty((3, *planes[0].shape), np.float32)
    for channel, plane in enumerate(planes):
        kernels_colour.look_up(plane, curve_gains(pixel_format), gain[channel])
    return gain


def _block_mean(plane: np.ndarray, shift_x: int, shift_y: int) -> np.ndarray:
    H, W = plane.shape
    rows, columns = np.arange(0, H, 1 << shift_y), np.arange(0, W, 1 << shift_x)
    sums = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
    return sums / np.outer(np.diff(rows, append=H), np.diff(columns, append=W))


@lru_cache
def _shifts(pixel_format: PixelFormat) -> np.ndarray:
    """log2 of each plane's reduction, int64 (P, 2: x, y)."""
    chroma = pixel_format.subsampling if pixel_format.family == "yuv" else (0, 0)
    return np.array([(0, 0), chroma, chroma][: 1 if pixel_format.family == "grey" else 3], np.int64)


def _code_scale(pixel_format: PixelFormat) -> tuple[np.ndarray, np.ndarray]:
    """Offset and span of every plane in codes, ITU-T H.273 clause 8.3: float64 (P,) each."""
    unit, top = 1 << (pixel_format.bit_depth - 8), (1 << pixel_format.bit_depth) - 1
    brightness = (0, top) if pixel_format.full_range else (16 * unit, 219 * unit)
    difference = (128 * unit, top if pixel_format.full_range else 224 * unit)
    others = difference if pixel_format.family == "yuv" else brightness
    offsets, spans = np.array([brightness, others, others][: len(_shifts(pixel_format))], np.float64).T
    return offsets, spans


@lru_cache
def levels_per_rain(pixel_format: PixelFormat) -> np.ndarray:
    """How many levels of each plane one unit of R, G, B is worth: float64 (P, 3)."""
    red, blue = RED_BLUE[pixel_format.matrix]
    brightness = np.array([red, 1.0 - red - blue, blue])
    _, spans = _code_scale(pixel_format)
    if pixel_format.family == "rgb":
        return np.diag(spans)
    if pixel_format.family == "grey":
        return spans[:, None] * brightness
    blue_difference = (np.array([0.0, 0.0, 1.0]) - brightness) / (2.0 * (1.0 - blue))
    red_difference = (np.array([1.0, 0.0, 0.0]) - brightness) / (2.0 * (1.0 - red))
    return spans[:, None] * np.stack([brightness, blue_difference, red_difference])


@lru_cache
def rgb_per_code(pixel_format: PixelFormat, top: int) -> np.ndarray:
    """RGB in 0..top from YUV codes: float32 (3, 4: Y, U, V, constant)."""
    offsets, _ = _code_scale(pixel_format)
    matrix = top * np.linalg.inv(levels_per_rain(pixel_format))
    return np.column_stack([matrix, -matrix @ offsets]).astype(np.float32)


def _signals(pixel_format: PixelFormat) -> np.ndarray:
    """The signal 0..1 that each possible value of an R, G or B sample stands for, values beyond the depth included."""
    offsets, spans = _code_scale(pixel_format)
    codes = np.arange(1 << (8 if pixel_format.bit_depth == 8 else 16))
    return np.clip((codes - offsets[0]) / spans[0], 0.0, 1.0)


@lru_cache
def shown_codes(pixel_format: PixelFormat) -> np.ndarray:
    return np.rint(255.0 * transfer.to_sdr(_signals(pixel_format), pixel_format.transfer)).astype(np.uint8)


@lru_cache
def curve_gains(pixel_format: PixelFormat) -> np.ndarray:
    return transfer.signal_per_shown(_signals(pixel_format), pixel_format.transfer).astype(np.float32)
