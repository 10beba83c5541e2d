"""The ladder: which network the last seconds allow."""
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamderain.live.ladder import PASSING, WINDOW_SECONDS, Ladder, Tally, rungs_of


def ladder(start="tiny", profiles=("tiny", "realtime")):
    made = Ladder(rungs_of(profiles), start, 0.5)
    made.begin(Tally())
    return made


def window(made, tally, *, shown, lost, busy, frame_seconds=0.01):
    """The totals one window later; whether the ladder wants another rung."""
    after = Tally(tally.at + WINDOW_SECONDS, tally.shown + shown, tally.lost + lost, tally.busy + busy * WINDOW_SECONDS)
    return after, made.judge(after, frame_seconds)


def test_rungs_go_from_dear_to_cheap_and_end_with_rain():
    rungs = rungs_of(("tiny", "realtime", "quality"))
    assert [str(rung) for rung in rungs] == [
        "quality", "realtime", "tiny", "tiny at 1/2 size", "tiny at 1/4 size", "no deraining",
    ]  # fmt: skip
    costs = [rung.cost for rung in rungs]
    assert costs == sorted(costs, reverse=True)


def test_a_network_from_a_file_costs_as_its_pixels_do():
    full, half, quarter, none = rungs_of(("nlcl",))
    assert (half.cost, quarter.cost, none.cost) == (full.cost / 4, full.cost / 16, 0)
    known = rungs_of(("tiny",))
    assert known[1].cost / known[0].cost == pytest.approx(0.32)


@pytest.mark.parametrize("shown, lost, steps", [(60, 39, False), (60, 41, True), (3, 4, False), (0, 75, True)])
def test_the_step_down_comes_before_half_is_lost(shown, lost, steps):
    made = ladder()
    _, changed = window(made, Tally(), shown=shown, lost=lost, busy=0.99)
    assert changed == steps
    assert str(made.rung) == ("tiny at 1/2 size" if steps else "tiny")


def test_dropping_alone_never_takes_the_rain_back():
    made, tally = ladder(), Tally()
    for _ in range(10):
        tally, _ = window(made, tally, shown=1, lost=74, busy=1.0)
    assert str(made.rung) == "tiny at 1/4 size"


def test_a_step_up_waits_for_spare_time_and_no_loss():
    made, tally = ladder(), Tally()
    tally, changed = window(made, tally, shown=75, lost=0, busy=0.3)
    assert not changed  # realtime would be busy for 62 %
    tally, changed = window(made, tally, shown=74, lost=1, busy=0.1)
    assert not changed
    tally, changed = window(made, tally, shown=75, lost=0, busy=0.2)
    assert changed and made.rung.profile == "realtime"


def test_a_rung_that_failed_is_barred_longer_each_time():
    made, tally, waits = ladder("realtime"), Tally(), []
    for _ in range(3):
        tally, changed = window(made, tally, shown=10, lost=60, busy=1.0)
        assert changed and made.rung.profile == "tiny"
        down = tally.at
        while made.rung.profile == "tiny":
            tally, _ = window(made, tally, shown=75, lost=0, busy=0.05)
        waits.append(tally.at - down)
    assert waits == [60, 120, 240]


def test_a_named_profile_is_left_for_the_bound_only_and_returned_to():
    made, tally = ladder(), Tally()
    assert made.follow("realtime") and made.rung.profile == "realtime"
    tally, changed = window(made, tally, shown=1, lost=74, busy=1.0)
    assert not changed
    assert [made.judge(tally, 0.6) for _ in range(3)] == [False, False, True]
    assert made.rung.profile == "tiny"
    for _ in range(100):
        tally, _ = window(made, tally, shown=75, lost=0, busy=0.1)
    assert made.rung.profile == "realtime"


def test_one_slow_frame_is_no_reason():
    made = ladder()
    assert not any(made.judge(Tally(at=n), 0.6 if n % 3 else 0.4) for n in range(9))


def test_from_passing_the_way_up_is_open_again():
    made, tally = ladder(), Tally()
    for _ in range(9):
        made.judge(tally, 9.0)
    assert made.rung is PASSING
    for _ in range(30):
        tally, _ = window(made, tally, shown=75, lost=0, busy=0.0)
    assert made.rung is not PASSING


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.floats(0, 1), st.floats(0, 2)), max_size=60))
def test_the_rung_is_always_one_of_the_rungs(story):
    made, tally = ladder(), Tally()
    for shown, lost, busy, frame_seconds in story:
        before = made.rung
        tally, changed = window(made, tally, shown=shown, lost=lost, busy=busy, frame_seconds=frame_seconds)
        assert made.rung in made.rungs and changed == (made.rung != before)
        assert abs(made.rungs.index(made.rung) - made.rungs.index(before)) <= 1


def test_a_network_that_was_refused_is_passed_by_and_no_wish_exceeded():
    made, tally = ladder(profiles=("tiny", "realtime", "quality")), Tally()
    made.follow("realtime")
    made.refuse(made.rungs[2], tally)
    for _ in range(30):
        tally, changed = window(made, tally, shown=75, lost=0, busy=0.0)
        assert not changed
    made.follow("auto")
    made.refuse(made.rungs[1], tally)  # tiny, in all its sizes
    tally, changed = window(made, tally, shown=0, lost=75, busy=1.0)
    assert not changed and made.rung.profile == "realtime"
