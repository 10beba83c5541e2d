"""Before/after pictures are exact on pixels wherever no letters stand, in every format."""
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from streamderain import compare, labels
from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame

FORMATS = [
    PixelFormat(subsampling=(1, 1)),
    PixelFormat(subsampling=(1, 0), bit_depth=10),
    PixelFormat(subsampling=(2, 0)),
    PixelFormat(subsampling=(0, 0), bit_depth=16, full_range=True),
    PixelFormat(family="rgb", full_range=True),
    PixelFormat(family="rgb", bit_depth=12),
    PixelFormat(family="grey", bit_depth=9),
]
SMALL = (13, 11)  # width, height: odd, and too small for letters


def noise(format, size, seed, *, rotation=0, alpha=False, pts=7):
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if format.bit_depth == 8 else np.uint16
    width, height = size
    planes = []
    for index in range(1 if format.family == "grey" else 3):
        down, across = labels.shifts(format, index)
        low, high = labels.limits(format, index)
        shape = (-(-height // (1 << down)), -(-width // (1 << across)))
        planes.append(rng.integers(low, high, shape, dtype, endpoint=True))
    opacity = rng.integers(0, 200, (height, width), dtype) if alpha else None
    return Frame(tuple(planes), format, pts=pts, time_base=Fraction(1, 1000), duration=40, alpha=opacity,
                 rotation=rotation, side={"sar": 2})


def pair(format, size, **more):
    return noise(format, size, 1, **more), noise(format, size, 2, **more)


def upright(plane, rotation):
    return np.rot90(plane, rotation // 90)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [SMALL, (1, 1), (16, 12)])
def test_side_holds_both_halves_whole(format, size):
    before, after = pair(format, size)
    both = compare.side(before, after)
    for index, plane in enumerate(both.planes):
        half = plane.shape[1] // 2
        own_width = before.planes[index].shape[1]
        assert_array_equal(plane[:, :own_width], before.planes[index])
        assert_array_equal(plane[:, half : half + own_width], after.planes[index])
        assert plane.dtype == before.planes[index].dtype


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [SMALL, (1, 1), (200, 30), (5000, 3), (321, 241)])
@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_side_is_as_large_as_side_size_says_and_its_planes_fit_together(format, size, rotation):
    both = compare.side(*pair(format, size, rotation=rotation))
    assert (both.width, both.height) == compare.side_size(*size, format, rotation=rotation)
    for index, plane in enumerate(both.planes):
        down, across = labels.shifts(format, index)
        assert plane.shape == (-(-both.height // (1 << down)), -(-both.width // (1 << across)))


@pytest.mark.parametrize("size, rotation, expected", [
    ((640, 480), 0, (1280, 480)),
    ((641, 480), 0, (1284, 480)),
    ((640, 480), 90, (640, 960)),
    ((4098, 2304), 0, (4098, 4608)),
    ((1200, 300), 0, (1200, 600)),
    ((300, 1200), 270, (600, 1200)),
    ((300, 1200), 0, (600, 1200)),
])
def test_very_wide_pictures_stand_one_above_the_other(size, rotation, expected):
    assert compare.side_size(*size, PixelFormat(subsampling=(1, 1)), rotation=rotation) == expected


@pytest.mark.parametrize("rotation", [0, 90, 180, 270, -90])
@pytest.mark.parametrize("shape", [SMALL, (5, 40), (40, 5)])
def test_before_is_on_the_left_or_on_top_as_displayed(rotation, shape):
    before, after = pair(PixelFormat(), shape, rotation=rotation)
    shown = upright(compare.side(before, after).planes[0], rotation)
    old, new = (upright(frame.planes[0], rotation) for frame in (before, after))
    stacked = old.shape[1] > 3 * old.shape[0]
    assert_array_equal(shown, np.concatenate([old, new], axis=0 if stacked else 1))


@pytest.mark.parametrize("show", [compare.side, compare.rain, lambda b, a: compare.wipe(b, a, 0.5)])
def test_time_and_everything_else_stay(show):
    before, after = pair(FORMATS[0], SMALL, alpha=True, pts=1234)
    frame = show(before, after)
    assert (frame.pts, frame.time_base, frame.duration) == (1234, Fraction(1, 1000), 40)
    assert frame.side == before.side and frame.format == before.format
    assert frame.alpha.shape == frame.planes[0].shape
    assert_array_equal(frame.alpha[: SMALL[1], : SMALL[0]], before.alpha)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("position", [0, 0.3, 0.5, 1])
def test_wipe_takes_each_side_from_its_own_frame(format, position):
    before, after = pair(format, SMALL)
    cut = int(position * SMALL[0]) // 4 * 4
    shown = compare.wipe(before, after, position)
    for index, plane in enumerate(shown.planes):
        own_cut = cut >> labels.shifts(format, index)[1]
        assert_array_equal(plane[:, :own_cut], before.planes[index][:, :own_cut])
        assert_array_equal(plane[:, own_cut:], after.planes[index][:, own_cut:])


@pytest.mark.parametrize("format", FORMATS)
def test_wipe_draws_a_white_line_of_a_few_pixels(format):
    before, after = (noise(format, (64, 12), seed) for seed in (1, 2))
    shown = compare.wipe(before, after, 0.5)
    for index, plane in enumerate(shown.planes):
        across = labels.shifts(format, index)[1]
        line = slice(30 >> across, 34 >> across)
        assert (plane[:, line] == labels.tone(format, index, 1.0)).all()
        assert_array_equal(plane[:, : line.start], before.planes[index][:, : line.start])
        assert_array_equal(plane[:, line.stop :], after.planes[index][:, line.stop :])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_wipe_follows_the_rotation(rotation):
    before, after = pair(PixelFormat(family="grey"), (12, 12), rotation=rotation)
    shown = upright(compare.wipe(before, after, 1 / 3).planes[0], rotation)
    assert_array_equal(shown[:, :4], upright(before.planes[0], rotation)[:, :4])
    assert_array_equal(shown[:, 4:], upright(after.planes[0], rotation)[:, 4:])


@pytest.mark.parametrize("position", [-0.1, 1.01, float("nan")])
def test_wipe_refuses_a_place_outside(position):
    with pytest.raises(ValueError, match=r"share of the width in 0\.\.1"):
        compare.wipe(*pair(PixelFormat(), SMALL), position)


def test_the_moving_line_stays_inside_and_returns():
    places = [compare.wipe_position(seconds) for seconds in np.linspace(0, compare.WIPE_SECONDS, 33)]
    assert min(places) == pytest.approx(0.1) and max(places) == pytest.approx(0.9)
    assert places[0] == pytest.approx(places[-1])


@pytest.mark.parametrize("format", FORMATS)
def test_rain_is_four_times_the_difference_on_mid_grey(format):
    before, after = pair(format, SMALL)
    shown = compare.rain(before, after)
    for index, plane in enumerate(shown.planes):
        difference = before.planes[index].astype(int) - after.planes[index].astype(int)
        expected = np.clip(2 ** (format.bit_depth - 1) + 4 * difference, *labels.limits(format, index))
        assert_array_equal(plane, expected)


def test_no_rain_is_plain_grey_and_inputs_stay_untouched():
    before = noise(PixelFormat(subsampling=(1, 1)), (320, 240), 1)
    copies = [plane.copy() for plane in before.planes]
    shown = compare.rain(before, before)
    outside = shown.planes[0][120:]
    assert (outside == 128).all() and (shown.planes[1][60:] == 128).all()
    compare.side(before, before), compare.wipe(before, before, 0.5)
    for plane, copy in zip(before.planes, copies, strict=True):
        assert_array_equal(plane, copy)


@pytest.mark.parametrize("show", [compare.side, compare.rain, lambda b, a: compare.wipe(b, a, 0.5)])
@pytest.mark.parametrize("other", [noise(FORMATS[0], (14, 11), 3), noise(FORMATS[1], SMALL, 3)])
def test_frames_that_do_not_match_are_refused(show, other):
    with pytest.raises(ValueError, match="before and after differ"):
        show(noise(FORMATS[0], SMALL, 1), other)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [(80, 80), (480, 270)])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("right", [False, True])
def test_letters_stand_in_their_corner_and_nowhere_else(format, size, rotation, right):
    frame = noise(format, size, 1, rotation=rotation)
    drawn = labels.label(frame, "before", right=right)
    changed = upright(drawn.planes[0] != frame.planes[0], rotation)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    height, width = changed.shape
    assert 7 <= np.ptp(rows) + 1 <= height / 2  # legible
    assert rows[-1] < height * 0.75 and rows[0] <= height * 0.25
    assert (columns[0] > width * 0.1 if right else columns[-1] < width * 0.95)
    box = upright(drawn.planes[0], rotation)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.min() == labels.tone(format, 0, 0.0)
    assert box.max() > labels.tone(format, 0, 0.75)
    if format.family == "yuv":  # letters are grey
        grey = 1 << (format.bit_depth - 1)
        assert (drawn.planes[1] == grey).sum() > (frame.planes[1] == grey).sum()


def test_a_picture_too_small_for_letters_gets_none():
    frame = noise(PixelFormat(), (30, 20), 1)
    assert labels.label(frame, "before") is frame


@pytest.mark.parametrize("mode", ["side", "wipe", "rain"])
def test_overlay_shows_the_mode(mode):
    before, after = pair(PixelFormat(), SMALL, pts=3000)
    expected = {
        "side": compare.side(before, after),
        "wipe": compare.wipe(before, after, compare.wipe_position(3.0)),
        "rain": compare.rain(before, after),
    }[mode]
    for plane, wanted in zip(compare.overlay(mode, before, after).planes, expected.planes, strict=True):
        assert_array_equal(plane, wanted)


def test_letters_grow_with_the_picture():
    heights = [labels._text_box("before", width, width * 9 // 16).shape[0] for width in (160, 1280, 3840)]
    assert heights == sorted(set(heights)) and heights[2] > 2160 / 20
