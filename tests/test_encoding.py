"""What is settled before the first frame is encoded, and when each frame is shown; no encoder runs here."""
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from streamderain.core.colour import PixelFormat
from streamderain.encoding import Encoding, Ticks, settle
from streamderain.errors import DerainError
from streamderain.frame import Frame

ODD = Encoding("some", {}, "yuv420p", 33, 21, Fraction(1, 90_000))


def settled(works, first=ODD, offered=()):
    """What settle chooses where only some encodings work, and what it says."""
    warnings = []
    return settle(first, list(offered), lambda each: None if works(each) else "no", warnings), warnings


@pytest.mark.parametrize("works, offered, expected, said", [
    (lambda each: True, [], ODD, None),
    (lambda each: each.unit > Fraction(1, 65536), [], replace(ODD, unit=Fraction(1, 65525)), "nearest tick"),
    (lambda each: each.pixel_format == "yuv444p", ["yuv444p"], replace(ODD, pixel_format="yuv444p"), "as yuv444p"),
    (lambda each: each.width % 2 == 0, ["yuv420p"], replace(ODD, width=34, height=22), "grown to 34x22"),
])
def test_the_least_change_that_works_is_chosen_and_said(works, offered, expected, said):
    chosen, warnings = settled(works, offered=offered)
    assert chosen == expected
    assert (len(warnings) == 1 and said in warnings[0]) if said else not warnings


@pytest.mark.parametrize("first", [ODD, replace(ODD, width=32, height=20), replace(ODD, pixel_format="rgb24")])
def test_nothing_works_is_one_line(first):
    with pytest.raises(DerainError, match=r"encoder some does not start for .* \(no\); choose another"):
        settled(lambda each: False, first)


def frame(pts, duration=0, unit=Fraction(1, 1000)):
    return Frame((np.zeros((2, 2), np.uint8),), PixelFormat("grey"), pts, unit, duration)


def test_frames_keep_their_times_in_other_ticks():
    ticks = Ticks("matroska", ODD)
    assert [ticks.stamp(frame(pts, 40)) for pts in (7, 47, 500)] == [(630, 3600), (4230, 3600), (45000, 3600)]
    assert [ticks.take_duration(time) for time in (4230, 4230, None, 1)] == [3600, 0, 0, 0]


def test_frames_without_times_follow_at_the_rate():
    ticks = Ticks("matroska", ODD)
    assert [ticks.stamp(frame(None))[0] for _ in range(3)] == [0, 3600, 7200]


def test_a_format_without_a_clock_numbers_frames_and_refuses_a_gap():
    ticks = Ticks("yuv4mpegpipe", replace(ODD, unit=Fraction(1, 25)))
    assert [ticks.stamp(frame(pts))[0] for pts in (1000, 1041, 1079)] == [0, 1, 2]
    with pytest.raises(DerainError, match=r"frame 4 is not at its place at 25\.000 fps") as caught:
        ticks.stamp(frame(1300))
    assert caught.value.exit_code == 4
