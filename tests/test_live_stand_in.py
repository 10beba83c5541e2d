"""A stand-in cannot be taken for a live picture, in any format, and is as large as what it stands in for."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from streamderain import labels
from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame
from streamderain.live.stand_in import stand_in

DEPTHS = st.sampled_from([8, 9, 10, 12, 16])
SUBSAMPLINGS = st.sampled_from([(0, 0), (1, 0), (1, 1), (2, 0), (2, 2), (0, 1)])
FORMATS = st.one_of(
    st.builds(PixelFormat, family=st.just("yuv"), bit_depth=DEPTHS, subsampling=SUBSAMPLINGS, full_range=st.booleans()),
    st.builds(PixelFormat, family=st.sampled_from(["rgb", "grey"]), bit_depth=DEPTHS, full_range=st.booleans()),
)
ROTATIONS = st.sampled_from([0, 90, 180, 270, -90])


def noise(format, size, *, rotation=0, seed=0, low=None, high=None):
    """Random numbers over all that the planes may hold, or between low and high."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if format.bit_depth == 8 else np.uint16
    planes = []
    for index in range(1 if format.family == "grey" else 3):
        down, across = labels.shifts(format, index)
        least, most = labels.limits(format, index)
        shape = (-(-size[1] // (1 << down)), -(-size[0] // (1 << across)))
        bounds = (least if low is None else low, most if high is None else high)
        planes.append(rng.integers(*bounds, shape, dtype, endpoint=True))
    return Frame(tuple(planes), format, pts=9, rotation=rotation)


@settings(max_examples=150, deadline=None)
@given(format=FORMATS, width=st.integers(1, 300), height=st.integers(1, 200), rotation=ROTATIONS,
       seconds=st.floats(0, 1e7))
def test_it_has_the_same_form_and_only_legal_numbers(format, width, height, rotation, seconds):
    last = noise(format, (width, height), rotation=rotation)
    copies = [plane.copy() for plane in last.planes]
    frame = stand_in(last, seconds)
    assert (frame.format, frame.pts, frame.rotation) == (last.format, last.pts, last.rotation)
    for index, (plane, old) in enumerate(zip(frame.planes, copies, strict=True)):
        low, high = labels.limits(format, index)
        assert (plane.shape, plane.dtype) == (old.shape, old.dtype)
        assert low <= plane.min() and plane.max() <= high
        assert_array_equal(last.planes[index], old)  # the last frame itself stays as it was


@settings(max_examples=60, deadline=None)
@given(format=FORMATS, seed=st.integers(0, 99))
def test_where_no_letters_stand_it_is_grey_and_dim(format, seed):
    last = noise(format, (20, 13), seed=seed)  # too small for letters
    frame = stand_in(last, 3)
    black, white = labels.limits(format, 0)
    light = 0.4 * (white - black)
    assert frame.planes[0].max() <= black + light + 1
    if format.family == "rgb":
        assert_array_equal(frame.planes[0], frame.planes[1])
        assert_array_equal(frame.planes[0], frame.planes[2])
    else:
        assert_array_equal(frame.planes[0], np.rint(black + 0.4 * (last.planes[0].astype(float) - black)))
        for plane in frame.planes[1:]:
            assert (plane == 1 << (format.bit_depth - 1)).all()


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("format", [
    PixelFormat("yuv", 8, (1, 1)), PixelFormat("yuv", 10, (1, 0)), PixelFormat("yuv", 16, (2, 0), full_range=True),
    PixelFormat("rgb", 12, full_range=True), PixelFormat("grey", 8),
])
def test_the_letters_stand_upright_in_the_middle(format, rotation):
    size = (320, 180) if rotation % 180 == 0 else (180, 320)
    black, white = labels.limits(format, 0)
    last = noise(format, size, rotation=rotation, low=(black + white) // 2, high=(black + white) // 2)
    shown = np.rot90(stand_in(last, 72).planes[0], rotation // 90).astype(float)
    background = shown[0, 0]
    rows, columns = (np.flatnonzero((shown != background).any(axis=axis)) for axis in (1, 0))
    assert abs(rows.mean() - 90) < 6 and abs(columns.mean() - 160) < 6
    assert columns.size > 2 * rows.size and rows.size >= 7  # legible, and a line, not a column
    box = shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.min() == black and box.max() > black + 0.75 * (white - black)
    top, bottom = box[: len(box) // 2], box[len(box) // 2 :]
    assert (top > background).sum() != (bottom > background).sum()  # so that turning it over would be noticed
    upright = stand_in(noise(format, (320, 180), low=(black + white) // 2, high=(black + white) // 2), 72).planes[0]
    assert abs((shown > background).sum() - (upright > background).sum()) == 0


def letters(seconds):
    """Where the letters of a stand-in are."""
    grey = PixelFormat("grey", 8)
    return stand_in(noise(grey, (480, 270), low=16, high=16), seconds).planes[0] > 16


def test_the_time_is_on_it(monkeypatch):
    texts = []
    monkeypatch.setattr("streamderain.live.stand_in.label", lambda frame, text, middle: texts.append((text, middle)))
    last = noise(PixelFormat("grey", 8), (8, 8))
    for seconds in (-1.0, 0.0, 12.9, 65, 3600, 90061):
        stand_in(last, seconds)
    words = ["00:00", "00:00", "00:12", "01:05", "1:00:00", "25:01:01"]
    assert texts == [(f"camera lost {word}", True) for word in words]


def test_the_time_goes_on():
    assert (letters(1) != letters(2)).any()
    assert_array_equal(letters(1.1), letters(1.9))


def test_before_the_first_frame_there_is_none():
    assert stand_in(None, 3) is None
