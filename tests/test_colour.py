"""The frame's planes to the network's RGB, and the rain layer back into the frame's own planes."""
import itertools
from dataclasses import replace

import av
import naive
import numba
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numpy.testing import assert_array_equal

from streamderain.core import colour, transfer
from streamderain.core.colour import PixelFormat

MATRICES = ["bt601", "bt709", "bt2020", "smpte240m", "fcc"]
SUBSAMPLINGS = list(itertools.product(range(3), range(3)))
FAMILIES = [
    PixelFormat("yuv", 8, (1, 1)),
    PixelFormat("yuv", 10, (1, 0), "bt2020"),
    PixelFormat("yuv", 16, (0, 0), "bt601", full_range=True),
    PixelFormat("yuv", 12, (2, 2), "fcc"),
    PixelFormat("rgb", 8, full_range=True),
    PixelFormat("rgb", 10, full_range=True),
    PixelFormat("rgb", 16),
    PixelFormat("grey", 8),
    PixelFormat("grey", 12, full_range=True),
]
HDR = [
    PixelFormat(family, 10, subsampling, "bt2020", transfer=curve)
    for curve in ("pq", "hlg")
    for family, subsampling in (("yuv", (1, 1)), ("rgb", (0, 0)), ("grey", (0, 0)))
]


def name(value):
    """A readable test id for a format."""
    if not isinstance(value, PixelFormat):
        return None
    x, y = value.subsampling
    span = "full" if value.full_range else "limited"
    return f"{value.family}{value.bit_depth}-{x}{y}-{value.matrix}-{span}-{value.transfer}"


def random_planes(pixel_format, seed=0, shape=(7, 9), margin=0):
    """Planes of whole numbers over all codes of the format, at least margin away from its ends; read-only."""
    rng = np.random.default_rng(seed)
    H, W = shape
    x, y = pixel_format.subsampling if pixel_format.family == "yuv" else (0, 0)
    shapes = [(H, W), (-(-H >> y), -(-W >> x)), (-(-H >> y), -(-W >> x))]
    dtype = np.uint8 if pixel_format.bit_depth == 8 else np.uint16
    planes = []
    for size in shapes[: 1 if pixel_format.family == "grey" else 3]:
        plane = rng.integers(margin, 2**pixel_format.bit_depth - margin, size).astype(dtype)
        plane.flags.writeable = False
        planes.append(plane)
    return tuple(planes)


def random_rain(seed=0, shape=(7, 9), scale=0.3):
    return (np.random.default_rng(seed).uniform(-0.2, 1.0, (3, *shape)) * scale).astype(np.float32)


def assert_shows(planes, pixel_format):
    """to_rgb is the standard's value rounded: half a level, and what float32 costs."""
    shown = colour.to_rgb(planes, pixel_format)
    assert shown.dtype == np.uint8
    assert np.abs(shown - naive.to_rgb(planes, pixel_format)).max() <= 0.51


def assert_subtracts(planes, rain, pixel_format):
    """subtract_rain takes the twin's whole levels; nearer than 0.02 to a half, float32 may round either way."""
    top = 2**pixel_format.bit_depth - 1
    outs = colour.subtract_rain(planes, rain, pixel_format)
    for plane, out, level in zip(planes, outs, naive.rain_levels(rain, pixel_format), strict=True):
        assert out.dtype == plane.dtype and out.shape == plane.shape
        off = out != np.clip(plane - np.rint(level), 0, top)
        assert np.all(np.abs(np.abs(level[off]) % 1 - 0.5) < 0.02)
        assert np.abs(out - np.clip(plane - level, 0, top)).max() <= 0.52


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("bit_depth", [8, 10, 16])
@pytest.mark.parametrize("matrix", MATRICES)
def test_yuv_matches_naive(matrix, bit_depth, subsampling, full_range):
    pixel_format = PixelFormat("yuv", bit_depth, subsampling, matrix, full_range)
    planes = random_planes(pixel_format, seed=bit_depth)
    assert_shows(planes, pixel_format)
    assert_subtracts(planes, random_rain(), pixel_format)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bit_depth", range(8, 17))
@pytest.mark.parametrize("family", ["yuv", "rgb", "grey"])
def test_every_depth_matches_naive(family, bit_depth, full_range):
    pixel_format = PixelFormat(family, bit_depth, full_range=full_range)
    planes = random_planes(pixel_format, seed=bit_depth)
    assert_shows(planes, pixel_format)
    assert_subtracts(planes, random_rain(), pixel_format)


@pytest.mark.parametrize("pixel_format", FAMILIES, ids=name)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (2, 3), (4, 8)])
def test_small_and_odd_sizes_match_naive(pixel_format, shape):
    planes = random_planes(pixel_format, shape=shape)
    assert_shows(planes, pixel_format)
    assert_subtracts(planes, random_rain(shape=shape), pixel_format)


def test_a_larger_odd_picture_matches_naive():
    pixel_format = PixelFormat("yuv", 8, (1, 1))
    planes = random_planes(pixel_format, shape=(241, 321))
    assert_subtracts(planes, random_rain(shape=(241, 321)), pixel_format)
    corner = tuple(plane[-samples:, -samples:] for plane, samples in zip(planes, (21, 11, 11), strict=True))
    shown = colour.to_rgb(planes, pixel_format)[:, -21:, -21:]
    assert np.abs(shown - naive.to_rgb(corner, pixel_format)).max() <= 0.51


@pytest.mark.parametrize(
    "matrix, bit_depth, full_range, rgb, codes",
    [
        ("bt709", 8, False, (255, 255, 255), (235, 128, 128)),
        ("bt709", 8, False, (0, 0, 0), (16, 128, 128)),
        ("bt709", 8, False, (255, 0, 0), (63, 102, 240)),
        ("bt709", 8, False, (0, 255, 0), (173, 42, 26)),
        ("bt709", 8, False, (0, 0, 255), (32, 240, 118)),
        ("bt601", 8, False, (255, 0, 0), (81, 90, 240)),
        ("bt601", 8, False, (0, 255, 0), (145, 54, 34)),
        ("bt601", 8, False, (0, 0, 255), (41, 240, 110)),
        ("bt601", 8, True, (255, 255, 255), (255, 128, 128)),
        ("bt601", 8, True, (0, 0, 0), (0, 128, 128)),
        ("bt601", 8, True, (255, 0, 0), (76, 85, 255)),
        ("bt601", 8, True, (0, 255, 0), (150, 44, 21)),
        ("bt601", 8, True, (0, 0, 255), (29, 255, 107)),
        ("bt2020", 10, False, (255, 255, 255), (940, 512, 512)),
        ("bt2020", 10, False, (0, 0, 0), (64, 512, 512)),
        ("bt2020", 10, False, (255, 0, 0), (294, 387, 960)),
        ("smpte240m", 8, False, (0, 0, 255), (35, 240, 116)),
        ("fcc", 8, False, (255, 0, 0), (82, 90, 240)),
    ],
)
def test_golden_colours(matrix, bit_depth, full_range, rgb, codes):
    pixel_format = PixelFormat("yuv", bit_depth, (0, 0), matrix, full_range)
    picture = np.full((3, 2, 2), np.array(rgb).reshape(3, 1, 1), np.uint8)
    planes = colour.from_rgb(picture, pixel_format)
    assert [int(plane[0, 0]) for plane in planes] == list(codes)
    # 8-bit limited blue moves by 2.1 of 255 for a level of chroma, so rounding chroma and luma may cost 2
    assert np.abs(colour.to_rgb(planes, pixel_format).astype(int) - picture).max() <= (2 if bit_depth == 8 else 1)


@pytest.mark.parametrize("pixel_format", [f for f in FAMILIES if f.family != "grey"], ids=name)
def test_round_trip_of_blocks(pixel_format):
    """Blocks as large as the coarsest chroma sample lose nothing to subsampling, only half a level per plane."""
    blocks = np.random.default_rng(3).integers(0, 256, (3, 5, 6)).astype(np.uint8)
    picture = np.kron(blocks, np.ones((1, 4, 4), np.uint8))
    shown = colour.to_rgb(colour.from_rgb(picture, pixel_format), pixel_format)
    deep = pixel_format.bit_depth > 8 or pixel_format.family == "rgb"
    assert np.abs(shown.astype(int) - picture).max() <= (0 if deep else 2)


@pytest.mark.parametrize("pixel_format", HDR, ids=name)
def test_round_trip_of_hdr(pixel_format):
    """A step of 10-bit PQ is at most a level of what is shown, and chroma brings twice that."""
    picture = np.kron(np.random.default_rng(3).integers(0, 240, (3, 5, 6)), np.ones((1, 4, 4))).astype(np.uint8)
    if pixel_format.family == "grey":
        picture[:] = picture[0]
    shown = colour.to_rgb(colour.from_rgb(picture, pixel_format), pixel_format)
    assert np.abs(shown.astype(int) - picture).max() <= 3


def test_from_rgb_takes_float_as_it_takes_bytes():
    pixel_format = PixelFormat("yuv", 10, (1, 1))
    picture = np.random.default_rng(0).integers(0, 256, (3, 5, 7)).astype(np.uint8)
    as_bytes = colour.from_rgb(picture, pixel_format)
    for bytes_plane, float_plane in zip(as_bytes, colour.from_rgb(picture / 255.0, pixel_format), strict=True):
        assert_array_equal(bytes_plane, float_plane)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("matrix", MATRICES)
def test_to_rgb_agrees_with_ffmpeg(matrix, bit_depth, full_range):
    """4:4:4, because FFmpeg interpolates chroma; its integer arithmetic differs by a level here and there."""
    pixel_format = PixelFormat("yuv", bit_depth, (0, 0), matrix, full_range)
    picture = np.random.default_rng(1).integers(0, 256, (3, 16, 64)).astype(np.uint8)
    planes = colour.from_rgb(picture, pixel_format)
    frame = av.VideoFrame(64, 16, "yuv444p" if bit_depth == 8 else "yuv444p10le")
    for theirs, ours in zip(frame.planes, planes, strict=True):
        np.frombuffer(memoryview(theirs), ours.dtype).reshape(16, -1)[:, :64] = ours
    space = {"bt601": "ITU601", "bt709": "ITU709", "bt2020": "BT2020", "smpte240m": "SMPTE240M", "fcc": "FCC"}[matrix]
    expected = frame.reformat(
        format="rgb24",
        src_colorspace=Colorspace[space],
        dst_colorspace=Colorspace[space],
        src_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    ).to_ndarray()
    assert np.abs(colour.to_rgb(planes, pixel_format).astype(int) - expected.transpose(2, 0, 1)).max() <= 1


@pytest.mark.parametrize("pixel_format", [*FAMILIES, PixelFormat("yuv", 8, (1, 0), "smpte240m", True)], ids=name)
@pytest.mark.parametrize("seed", range(4))
def test_rain_below_half_a_level_changes_nothing(pixel_format, seed):
    (_, span), (_, chroma_span) = naive.code_spans(pixel_format)
    amplitude = 0.49 / max(span, chroma_span)  # no row of the matrix sums above 1 in absolute value
    rain = np.random.default_rng(seed).choice(np.array([-amplitude, amplitude], np.float32), (3, 8, 12))
    planes = random_planes(pixel_format, seed, (8, 12))
    for plane, out in zip(planes, colour.subtract_rain(planes, rain, pixel_format), strict=True):
        assert out is plane


@pytest.mark.parametrize("pixel_format", [f for f in FAMILIES if f.family != "rgb"], ids=name)
@pytest.mark.parametrize("levels, wanted", [(0.51, 1), (1.0, 1), (7.4, 7), (-3.2, -3)])
def test_grey_rain_moves_luma_alone(pixel_format, levels, wanted):
    (_, span), _ = naive.code_spans(pixel_format)
    planes = random_planes(pixel_format, shape=(8, 12), margin=8)
    outs = colour.subtract_rain(planes, np.full((3, 8, 12), levels / span, np.float32), pixel_format)
    assert_array_equal(outs[0].astype(int), planes[0].astype(int) - wanted)
    for plane, out in zip(planes[1:], outs[1:], strict=True):
        assert out is plane


@pytest.mark.parametrize("pixel_format", FAMILIES, ids=name)
def test_result_saturates_at_both_ends(pixel_format):
    planes = random_planes(pixel_format)
    rain = np.full((3, 7, 9), 2.0, np.float32)
    assert not colour.subtract_rain(planes, rain, pixel_format)[0].any()
    assert np.all(colour.subtract_rain(planes, -rain, pixel_format)[0] == 2**pixel_format.bit_depth - 1)


@pytest.mark.parametrize("pixel_format", [*FAMILIES, *HDR], ids=name)
def test_rain_touches_only_where_it_falls(pixel_format):
    """Left half rain, right half none: super-white, super-black and the low bits of the right half are kept."""
    planes = random_planes(pixel_format, shape=(8, 16))
    rain = np.zeros((3, 8, 16), np.float32)
    rain[:, :, :8] = [[[0.3]], [[0.1]], [[0.2]]]
    for plane, out in zip(planes, colour.subtract_rain(planes, rain, pixel_format), strict=True):
        half = plane.shape[1] // 2
        assert_array_equal(out[:, half:], plane[:, half:])
        assert (out[:, :half] != plane[:, :half]).any()


def test_strength_scales_the_rain():
    pixel_format = PixelFormat("yuv", 10, (1, 1))
    planes, rain = random_planes(pixel_format), random_rain()
    assert all(a is b for a, b in zip(colour.subtract_rain(planes, rain, pixel_format, 0.0), planes, strict=True))
    halved = colour.subtract_rain(planes, rain, pixel_format, 0.5)
    for a, b in zip(halved, colour.subtract_rain(planes, rain / 2, pixel_format), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("pixel_format", FAMILIES[:2], ids=name)
def test_strides_do_not_matter(pixel_format):
    planes = random_planes(pixel_format, shape=(8, 12))
    rain = random_rain(shape=(8, 12))
    padded = tuple(np.pad(plane, ((0, 0), (3, 5)))[:, 3:-5] for plane in planes)
    turned = np.ascontiguousarray(rain.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert_array_equal(colour.to_rgb(padded, pixel_format), colour.to_rgb(planes, pixel_format))
    expected = colour.subtract_rain(planes, rain, pixel_format)
    for out, wanted in zip(colour.subtract_rain(padded, turned, pixel_format), expected, strict=True):
        assert_array_equal(out, wanted)


@pytest.mark.parametrize("pixel_format", [*FAMILIES, *HDR], ids=name)
def test_input_is_not_modified(pixel_format):
    planes = tuple(plane.copy() for plane in random_planes(pixel_format))
    rain = random_rain()
    before = [array.copy() for array in (*planes, rain)]
    colour.to_rgb(planes, pixel_format)
    colour.luma(planes, pixel_format)
    outs = colour.subtract_rain(planes, rain, pixel_format)
    assert not any(np.shares_memory(out, plane) for out, plane in zip(outs, planes, strict=True))
    for array, kept in zip((*planes, rain), before, strict=True):
        assert_array_equal(array, kept)
        assert array.flags.writeable


@pytest.mark.parametrize("pixel_format", [FAMILIES[0], FAMILIES[3], HDR[0]], ids=name)
def test_one_thread_gives_what_many_give(pixel_format):
    planes = random_planes(pixel_format, shape=(33, 50))
    rain = random_rain(shape=(33, 50))
    threads = numba.get_num_threads()
    many = (colour.to_rgb(planes, pixel_format), *colour.subtract_rain(planes, rain, pixel_format))
    numba.set_num_threads(1)
    try:
        one = (colour.to_rgb(planes, pixel_format), *colour.subtract_rain(planes, rain, pixel_format))
    finally:
        numba.set_num_threads(threads)
    for a, b in zip(many, one, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("pixel_format", FAMILIES, ids=name)
def test_codes_beyond_the_depth_saturate(pixel_format):
    """A raw 10-bit file may hold any 16 bits; they must neither wrap nor read past a table."""
    if pixel_format.bit_depth in (8, 16):
        pixel_format = replace(pixel_format, bit_depth=10)
    legal = random_planes(pixel_format)
    broken = tuple(plane.copy() for plane in legal)
    for plane in broken if pixel_format.family == "rgb" else broken[:1]:
        plane[0, 0] = 65535
    assert np.all(colour.to_rgb(broken, pixel_format)[:, 0, 0] == 255)
    out = colour.subtract_rain(broken, np.zeros((3, 7, 9), np.float32), pixel_format)[0]
    assert out[0, 0] == 2**pixel_format.bit_depth - 1
    assert_array_equal(out.ravel()[1:], legal[0].ravel()[1:])


def test_luma_of_8_bits_is_the_plane_itself():
    planes = random_planes(FAMILIES[0])
    assert colour.luma(planes, FAMILIES[0]) is planes[0]


@pytest.mark.parametrize("pixel_format", [f for f in FAMILIES if f.family != "rgb" and f.bit_depth > 8], ids=name)
def test_luma_drops_the_low_bits(pixel_format):
    planes = random_planes(pixel_format)
    guide = colour.luma(planes, pixel_format)
    assert guide.dtype == np.uint8
    assert_array_equal(guide, planes[0] // 2 ** (pixel_format.bit_depth - 8))


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_luma_of_rgb_weighs_as_bt709(bit_depth):
    planes = random_planes(PixelFormat("rgb", bit_depth, full_range=True))
    red, green, blue = (plane / 2 ** (bit_depth - 8) for plane in planes)
    guide = colour.luma(planes, PixelFormat("rgb", bit_depth, full_range=True))
    # up to 1 for the low bits that are dropped, 0.5 for rounding, 255 / 512 for the weights in 1/256
    assert np.abs(guide - (0.2126 * red + 0.7152 * green + 0.0722 * blue)).max() < 2.0


@pytest.mark.parametrize("pixel_format", HDR, ids=name)
def test_hdr_is_shown_on_the_curve(pixel_format):
    """Within a level: the picture passes through 12 bits between matrix and curve."""
    planes = random_planes(pixel_format)
    assert np.abs(colour.to_rgb(planes, pixel_format) - naive.to_rgb(planes, pixel_format)).max() <= 1.0


@pytest.mark.parametrize("curve, signal, nits", [("pq", 0.5081, 100), ("pq", 0.5807, 203), ("pq", 0.7518, 1000)])
def test_pq_light(curve, signal, nits):
    """Points of ITU-R BT.2408; the knee turns x times white into 1 - 1 / (4 x)."""
    assert transfer.to_sdr(np.array(signal), curve) ** 2.4 == pytest.approx(1 - 203 / (4 * nits), abs=0.01)


def test_hlg_light():
    """Peak is 1000 cd/m2, and HLG's reference white is 75 % of the signal: about 203 cd/m2 (ITU-R BT.2408)."""
    assert transfer.to_sdr(np.array(1.0), "hlg") ** 2.4 == pytest.approx(1 - 0.203 / 4, abs=1e-4)
    assert transfer.to_sdr(np.array(0.75), "hlg") ** 2.4 == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("curve", ["sdr", "pq", "hlg"])
def test_curves_rise_and_turn_back(curve):
    signal = np.linspace(0.0, 1.0, 1000)
    shown = transfer.to_sdr(signal, curve)
    assert np.all(np.diff(shown) > 0) and shown[0] >= 0 and shown[-1] <= 1
    assert np.abs(transfer.from_sdr(shown, curve) - signal).max() < 1e-3


@pytest.mark.parametrize("curve", ["pq", "hlg"])
def test_slope_of_curve_is_followed_up_to_four(curve):
    signal, step = np.linspace(0.02, 0.98, 60), 1e-4
    rise = [naive.sdr_of(s + step, curve) - naive.sdr_of(s - step, curve) for s in signal]
    expected = np.minimum(2 * step / np.array(rise), 4.0)
    assert expected.min() < 1 and expected.max() == 4.0  # both sides of the limit are looked at
    assert transfer.signal_per_shown(signal, curve) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("curve", ["pq", "hlg"])
def test_faint_rain_leaves_an_hdr_picture_as_seen(curve):
    """On mid-tones the slope brings back what was seen: within a shown level and the rounding of 10-bit codes."""
    pixel_format = PixelFormat("yuv", 12, (0, 0), "bt2020", transfer=curve)
    picture = np.random.default_rng(5).uniform(0.4, 0.8, (3, 8, 8))
    planes = colour.from_rgb(picture, pixel_format)
    rain = np.full((3, 8, 8), 0.02, np.float32)
    before = colour.to_rgb(planes, pixel_format).astype(int)
    after = colour.to_rgb(colour.subtract_rain(planes, rain, pixel_format), pixel_format).astype(int)
    assert np.abs(before - after - 0.02 * 255).max() <= 1.5


def test_out_is_filled_and_returned():
    planes = random_planes(FAMILIES[0])
    out = np.zeros((3, 7, 9), np.uint8)
    assert colour.to_rgb(planes, FAMILIES[0], out) is out
    assert_array_equal(out, colour.to_rgb(planes, FAMILIES[0]))


@pytest.mark.parametrize(
    "planes, message",
    [
        ((np.zeros((4, 6), np.uint8),), r"must be uint8 \[\(4, 6\), \(2, 3\), \(2, 3\)\], got \['uint8 \(4, 6\)'\]"),
        ((np.zeros((4, 6), np.uint16), *[np.zeros((2, 3), np.uint16)] * 2), "must be uint8"),
        ((np.zeros((4, 6), np.uint8), *[np.zeros((2, 2), np.uint8)] * 2), "must be uint8"),
    ],
)
def test_planes_that_do_not_fit_are_refused(planes, message):
    for call in (colour.to_rgb, colour.luma):
        with pytest.raises(ValueError, match=message):
            call(planes, FAMILIES[0])
    with pytest.raises(ValueError, match=message):
        colour.subtract_rain(planes, np.zeros((3, 4, 6), np.float32), FAMILIES[0])


@pytest.mark.parametrize("rain", [np.zeros((3, 7, 9)), np.zeros((3, 9, 7), np.float32), np.zeros((7, 9), np.float32)])
def test_rain_that_does_not_fit_is_refused(rain):
    with pytest.raises(ValueError, match=r"rain must be float32 \(3, 7, 9\)"):
        colour.subtract_rain(random_planes(FAMILIES[0]), rain, FAMILIES[0])


@pytest.mark.parametrize("out", [np.zeros((3, 7, 8), np.uint8), np.zeros((3, 7, 9)), np.zeros((7, 9, 3), np.uint8).T])
def test_out_that_does_not_fit_is_refused(out):
    with pytest.raises(ValueError, match=r"out must be C-contiguous uint8 \(3, 7, 9\)"):
        colour.to_rgb(random_planes(FAMILIES[0]), FAMILIES[0], out)


@pytest.mark.parametrize("rgb", [np.zeros((3, 4, 4), np.int32), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4))])
def test_pictures_that_do_not_fit_are_refused(rgb):
    with pytest.raises(ValueError, match=r"rgb must be \(3, H, W\) of uint8 or float"):
        colour.from_rgb(rgb, FAMILIES[0])
