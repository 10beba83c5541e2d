"""Times of live frames: they rise over reconnections, keep the camera's spacing, and an age is never below zero."""
from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamderain.live.timeline import Timeline
from streamderain.live.timing import LIVE_UNIT

FRAME = Fraction(1, 25)


def test_frames_keep_the_spacing_of_their_own_clock():
    line = Timeline(1000.0)
    stamps = [line.stamp(77 + n * FRAME, 1000.5 + n * 0.04 + 0.01 * (n % 3))[0] for n in range(50)]
    assert stamps[0] == 45_000
    assert {after - before for before, after in pairwise(stamps)} == {3600}


def test_the_fastest_frame_counts_as_captured_at_its_arrival_and_others_are_older():
    line = Timeline(0.0)
    travel = [0.08, 0.05, 0.02, 0.12, 0.02]
    ages = []
    for n, seconds in enumerate(travel):
        arrival = 10 + n * 0.04 + seconds
        _, at = line.stamp(n * FRAME, arrival)
        ages.append(arrival - at)
    assert ages == pytest.approx([0, 0, 0, 0.10, 0], abs=1e-9)


def test_a_clock_that_drifts_is_followed():
    line, worst = Timeline(0.0), 0.0
    for n in range(0, 25 * 3600, 25):  # an hour; the camera's clock is 200 ppm slow
        arrival = n / 25 * 1.0002
        _, at = line.stamp(n * FRAME, arrival)
        worst = max(worst, arrival - at)
    assert worst < 0.0002 * 61 + 1e-6


def test_a_lagging_decoder_shows_as_age():
    line = Timeline(0.0)
    ages = []
    for n in range(200):
        arrival = n * 0.05  # 20 frames a second of a camera that makes 25
        ages.append(arrival - line.stamp(n * FRAME, arrival)[1])
    assert ages[-1] == pytest.approx(199 * 0.01, abs=1e-6)


@pytest.mark.parametrize("jump", [-50_000.0, -5.0, 5.0, 95_443.7])
def test_a_jump_of_the_cameras_clock_goes_unseen(jump):
    line, stamps = Timeline(0.0), []
    for n in range(100):
        own = 100_000 + n * FRAME + (Fraction(jump) if n >= 50 else 0)
        pts, at = line.stamp(own, 5 + n * 0.04)
        stamps.append(pts)
        assert 5 + n * 0.04 - at < 0.05
    steps = [after - before for before, after in pairwise(stamps)]
    assert line.discontinuities == 1 and all(3500 < step < 3700 for step in steps)


def test_a_clock_that_is_set_back_a_little_makes_nothing_older():
    line, stamps = Timeline(0.0), []
    for n in range(50):
        pts, at = line.stamp(n * FRAME - (Fraction(23, 100) if n else 0), 1 + n * 0.04)
        stamps.append(pts)
        assert 1 + n * 0.04 - at < 0.05
    assert line.discontinuities == 0 and stamps[-1] - stamps[0] == pytest.approx(49 * 3600, abs=2)


def test_a_clock_that_runs_slow_is_given_up_after_seconds():
    line, ages = Timeline(0.0), []
    for n in range(1000):  # ten frames a second, stamped as 25
        ages.append(n * 0.1 - line.stamp(n * FRAME, n * 0.1)[1])
    assert max(ages) < 5.2 and line.discontinuities == pytest.approx(12, abs=2)


def test_a_pause_of_camera_and_clock_alike_is_no_jump():
    line = Timeline(0.0)
    line.stamp(Fraction(0), 0.0)
    pts, _ = line.stamp(Fraction(30), 30.0)
    assert pts == 30 * 90_000 and line.discontinuities == 0


def test_a_burst_after_a_stall_is_no_jump():
    line = Timeline(0.0)
    for n in range(25):
        line.stamp(n * FRAME, n * 0.04)
    ages = [4.0 + k * 0.001 - line.stamp((25 + k) * FRAME, 4.0 + k * 0.001)[1] for k in range(70)]
    assert line.discontinuities == 0 and ages[0] == pytest.approx(3.0, abs=0.01)


def test_a_new_connection_goes_on_where_time_is():
    line = Timeline(0.0)
    first, _ = line.stamp(Fraction(5000), 1.0)
    line.begin()
    second, at = line.stamp(Fraction(3), 8.0)
    assert (first, second, at) == (90_000, 720_000, 8.0)
    assert line.place(Fraction(4)) == 810_000


def test_frames_without_time_follow_the_clock():
    line = Timeline(0.0)
    stamps = [line.stamp(None, 2 + n * 0.04)[0] for n in range(10)]
    assert stamps == [180_000 + n * 3600 for n in range(10)]


def test_a_day_on_a_camera_clock_that_is_fast_ends_at_the_clock():
    line = Timeline(0.0)
    for n in range(0, 25 * 86_400, 250):
        arrival = n / 25 * 0.9998
        pts, _ = line.stamp(n * FRAME, arrival)
    assert float(pts * LIVE_UNIT) == pytest.approx(arrival, abs=0.05)  # 17 seconds without


def test_a_first_frame_without_time_is_no_jump():
    line = Timeline(0.0)
    first, _ = line.stamp(None, 1.0)
    line.begin()
    stamps = [line.stamp(own, 2 + n * 0.04)[0] for n, own in enumerate([None, *(900 + n * FRAME for n in range(1, 9))])]
    assert line.discontinuities == 0 and {b - a for a, b in pairwise([*stamps])} == {3600} and first == 90_000


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.fractions(-100_000, 100_000, max_denominator=90_000)),
            st.floats(0, 30), st.booleans(),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_whatever_comes_times_rise_and_nothing_is_captured_in_the_future(story):
    line, now, last = Timeline(50.0), 50.0, -1
    for own, passed, again in story:
        now += passed
        if again:
            line.begin()
        pts, at = line.stamp(own, now)
        assert pts > last and at <= now
        last = pts
        assert pts * LIVE_UNIT >= 0
