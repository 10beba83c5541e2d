"""Live frames side by side: in order, no more than there are threads for, and every promise of a live run kept."""
from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from live_fakes import FakeCamera, FakeClock, FakeOutput, captured, make_frame

from streamderain import Derainer
from streamderain.live import run as live_run
from streamderain.live.controls import Controls, Settings
from streamderain.live.ladder import rungs_of
from streamderain.live.moments import Captured
from streamderain.live.run import LiveRun
from streamderain.live.side_by_side import SideBySide
from streamderain.live.status import Status

PATIENCE = 30.0  # seconds: for what must come, never for what must not


@pytest.fixture(autouse=True)
def cores(request):
    """As many as the test's mark says, else two."""
    before, mark = torch.get_num_threads(), request.node.get_closest_marker("parametrize")
    wanted = request.node.callspec.params.get("most", 2) if mark else 2
    torch.set_num_threads(wanted)
    yield wanted
    torch.set_num_threads(before)


class Camera(FakeCamera):
    """Waits for ever when it has nothing, unless it is woken."""

    def __init__(self, clock):
        super().__init__(clock)
        self.changed, self.awake, self.ended, self.taken = threading.Condition(), False, False, 0

    def give(self, *moments):
        with self.changed:
            self.moments.extend(moments)
            self.changed.notify_all()

    def wake(self):
        with self.changed:
            self.awake, self.woken = True, self.woken + 1
            self.changed.notify_all()

    def newest(self, seconds):
        with self.changed:
            self.changed.wait_for(lambda: self.moments or self.awake or self.ended)
            self.awake = False
            if not self.moments:
                return None
            moment = self.moments.popleft()
            self.taken += 1
            self.changed.notify_all()
        return moment() if callable(moment) else moment

    def end(self):
        with self.changed:
            self.ended = True
            self.changed.notify_all()


class Output(FakeOutput):
    """Can be waited for; writes into the log."""

    def __init__(self, log):
        super().__init__()
        self.log, self.changed = log, threading.Condition()

    def show(self, picture):
        with self.changed:
            self.log.append(f"show {number_of(picture.before)}")
            super().show(picture)
            self.changed.notify_all()

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.pictures) >= count, PATIENCE)


class Network:
    """Darkens by 5; a frame is finished when its gate opens."""

    device, precision, companions, recurrent = "cpu", "int8", True, False

    def __init__(self, log, backend="eager"):
        self.log, self.backend, self.scale, self.strength, self.resets = log, backend, 1, 1.0, 0
        self.gates, self.begun, self.finished = ([threading.Event() for _ in range(20)] for _ in range(3))
        self.bad_looks, self.bad_finishes, self.threads = set(), set(), {}

    def reset(self):
        self.log.append("reset")

    def look(self, frame, following=None):
        self.log.append(f"look {number_of(frame)}")
        if number_of(frame) in self.bad_looks:
            raise RuntimeError("blind")
        return frame

    def finish(self, seen):
        number = number_of(seen)
        self.threads[number] = threading.current_thread().name
        self.begun[number].set()
        assert self.gates[number].wait(PATIENCE)
        self.finished[number].set()
        if number in self.bad_finishes:
            raise RuntimeError("no such luck")
        return seen.with_planes((seen.planes[0] - 5, *seen.planes[1:]))

    def __call__(self, frame):
        return self.finish(self.look(frame))

    def open(self, *numbers):
        for number in numbers or range(20):
            self.gates[number].set()

    def await_begun(self, *numbers):
        assert all(self.begun[number].wait(PATIENCE) for number in numbers)


def number_of(frame):
    return frame.pts // 3600


class Bench:
    """A run whose network can do `most` frames at once, as a context: it is closed whatever happens."""

    def __init__(self, backend="eager", **settings):
        self.log, self.clock = [], FakeClock()
        self.network = Network(self.log, backend)
        self.camera, self.output = Camera(self.clock), Output(self.log)
        self.status, self.controls = Status("fake", self.clock), Controls(Settings(**settings))
        networks = SimpleNamespace(
            rungs=rungs_of(("tiny", "realtime")), start="tiny", take=self.take, warm_up=lambda rung: None
        )
        self.run = LiveRun(
            self.camera, [self.output], networks, controls=self.controls, status=self.status, clock=self.clock
        )

    def take(self, rung):
        self.log.append(f"take {rung}")
        self.network.scale = rung.scale
        return self.network

    def give(self, *numbers, age=0.1, session=1):
        """Frames that were there before the last one was done, so that they go side by side."""
        self.camera.give(*(captured(number, self.clock, age=age, session=session) for number in numbers))

    def await_taken(self, count):
        with self.camera.changed:
            assert self.camera.changed.wait_for(lambda: self.camera.taken >= count, PATIENCE)

    def order(self, *wanted):
        """Those lines of the log, as they came."""
        return [line for line in self.log if line in wanted]

    @property
    def shown(self):
        return [number_of(picture.before) for picture in self.output.pictures]

    def __enter__(self):
        self.run.start()
        return self

    def __exit__(self, *_):
        self.network.open()
        self.camera.end()
        self.run.close()
        assert not self.run._thread.is_alive()
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("derain")]


def test_order_is_kept_where_a_later_frame_is_done_first():
    with Bench() as bench:
        bench.give(0, 1)
        bench.network.await_begun(0, 1)
        bench.network.open(1)
        assert bench.network.finished[1].wait(PATIENCE)
        assert bench.shown == []
        bench.network.open(0)
        bench.output.wait_for(2)
    assert bench.shown == [0, 1]
    for picture in bench.output.pictures:
        np.testing.assert_array_equal(picture.after.planes[0], picture.before.planes[0] - 5)
    assert {name.split("_")[0] for name in bench.network.threads.values()} == {"derain"}
    assert "derain" not in bench.network.threads.values()


@pytest.mark.parametrize("most", [2, 3, 4])
def test_no_more_frames_are_under_way_than_can_be_worked_on(most):
    with Bench() as bench:
        bench.give(*range(12))
        bench.network.await_begun(*range(most))
        bench.network.open()
        bench.output.wait_for(12)
    assert bench.shown == list(range(12))
    under_way, found = 0, []
    for line in bench.log:
        under_way += line.startswith("look") - line.startswith("show")
        found.append(under_way)
    assert max(found) == most


def test_a_frame_that_is_done_does_not_wait_for_the_next_one():
    with Bench() as bench:
        bench.give(0)
        bench.network.await_begun(0)
        bench.network.open(0)
        bench.output.wait_for(1)  # the camera waits for ever, until it is woken
    assert bench.camera.woken == 1 and bench.network.threads[0].startswith("derain_")


def test_a_frame_that_was_waited_for_has_the_machine_for_itself():
    with Bench() as bench:
        bench.network.open()
        for number in range(3):
            bench.give(number, age=0.0)
            bench.output.wait_for(number + 1)
    assert set(bench.network.threads.values()) == {"derain"} and bench.camera.woken == 0


@pytest.mark.parametrize("backend", ["compile", "tensorrt"])
def test_where_one_frame_at_a_time_is_best_no_other_thread_is_begun(backend):
    with Bench(backend) as bench:
        bench.network.open()
        bench.give(*range(5))
        bench.output.wait_for(5)
    assert set(bench.network.threads.values()) == {"derain"} and bench.camera.woken == 0
    assert [line for line in bench.log if line[:4] in ("look", "show")] == [
        line for number in range(5) for line in (f"look {number}", f"show {number}")
    ]


def test_what_became_too_old_on_its_way_is_dropped_also_where_it_waited_for_its_turn():
    with Bench() as bench:
        bench.give(0, 1)
        bench.network.await_begun(0, 1)
        bench.network.open(1)
        assert bench.network.finished[1].wait(PATIENCE)
        bench.clock.advance(0.45)
        bench.network.open()
        bench.give(2)
        bench.output.wait_for(1)
    assert bench.shown == [2] and bench.status.lost["late"] == 2 and bench.status.frames_out == 1


def test_what_is_too_old_is_dropped_before_any_work():
    with Bench() as bench:
        bench.network.open(1, 2)
        bench.give(0)
        bench.network.await_begun(0)
        bench.give(1, age=0.51)
        bench.give(2)
        bench.network.await_begun(2)
        bench.network.open()
        bench.output.wait_for(2)
    assert bench.shown == [0, 2] and bench.status.lost["late"] == 1 and "look 1" not in bench.log


@pytest.mark.parametrize("trouble", ["bad_looks", "bad_finishes"])
def test_a_frame_that_fails_is_shown_as_it_came_in_its_turn(trouble):
    with Bench() as bench:
        getattr(bench.network, trouble).add(1)
        bench.give(0, 1, 2)
        bench.network.await_begun(0)
        bench.network.open()
        bench.output.wait_for(3)
    assert bench.shown == [0, 1, 2]
    assert [picture.after is picture.before for picture in bench.output.pictures] == [False, True, False]
    assert sum("could not be derained" in event.text for event in bench.status.events) == 1
    assert not bench.run.over.is_set() or bench.run.failure is None


@pytest.mark.parametrize("most", [3])
def test_after_a_look_that_failed_the_next_one_has_no_past(most):
    with Bench() as bench:
        bench.network.bad_looks.add(1)
        bench.give(0, 1, 2)
        bench.network.await_begun(0, 2)
    lines = bench.order("look 1", "reset", "look 2", "show 0")
    assert lines[lines.index("look 1") :][:3] == ["look 1", "reset", "look 2"]


@pytest.mark.parametrize("trouble", ["bad_looks", "bad_finishes"])
def test_three_failures_in_a_row_end_the_run(trouble):
    with Bench() as bench:
        getattr(bench.network, trouble).update({0, 2, 3, 4})
        bench.network.open()
        bench.give(*range(6))
        assert bench.run.over.wait(PATIENCE)
    assert bench.shown == [0, 1, 2, 3]
    assert isinstance(bench.run.failure, RuntimeError)


@pytest.mark.parametrize("most", [3])
def test_a_new_connection_waits_until_all_of_the_old_one_is_shown(most):
    with Bench() as bench:
        bench.give(0, 1)
        bench.network.await_begun(0, 1)
        bench.give(2, session=2)
        bench.await_taken(3)
        bench.network.open()
        bench.output.wait_for(3)
    lines = bench.order("show 0", "show 1", "show 2", "look 2", "reset")
    assert lines[-5:] == ["show 0", "show 1", "reset", "look 2", "show 2"]


@pytest.mark.parametrize("most", [3])
def test_another_network_waits_until_all_of_the_old_one_is_shown(most):
    with Bench() as bench:
        bench.give(0, 1)
        bench.network.await_begun(0, 1)
        bench.controls.ask(profile="realtime")
        bench.give(2)
        bench.await_taken(3)
        bench.network.open()
        bench.output.wait_for(3)
    lines = bench.order("show 0", "show 1", "show 2", "look 2", "take tiny", "take realtime")
    assert lines == ["take tiny", "show 0", "show 1", "take realtime", "look 2", "show 2"]


@pytest.mark.parametrize("most", [3])
def test_what_the_old_network_took_does_not_count_against_the_new_one(most):
    with Bench(profile="realtime") as bench:
        bench.give(0, 1)
        bench.network.await_begun(0, 1)
        bench.clock.advance(3.1)
        for _ in range(8):
            bench.status.drop("newer")
        bench.controls.ask(profile="auto")
        bench.give(2)
        bench.await_taken(3)
        bench.network.open()
        bench.output.wait_for(1)
    assert bench.order("take realtime", "take tiny", "take tiny at 1/2 size") == ["take realtime", "take tiny"]


@pytest.mark.parametrize("most", [3])
def test_a_frame_that_passes_keeps_its_place(most):
    with Bench() as bench:
        bench.give(0, 1)
        bench.network.await_begun(0, 1)
        bench.controls.ask(strength=0.0)
        bench.give(2)
        bench.await_taken(3)
        bench.network.open()
        bench.output.wait_for(3)
    assert bench.shown == [0, 1, 2] and "look 2" not in bench.log
    assert [picture.after is picture.before for picture in bench.output.pictures] == [False, False, True]


def test_a_stand_in_comes_after_all_that_the_camera_gave():
    with Bench() as bench:
        bench.camera.give(*(Captured(make_frame(n, width=320, height=240), bench.clock.now() - 0.1, 1) for n in (0, 1)))
        bench.network.await_begun(0, 1)
        bench.camera.connected = False
        bench.camera.wake()
        bench.network.open()
        bench.output.wait_for(2)
        bench.camera.wake()
        bench.output.wait_for(3)
    assert [picture.live for picture in bench.output.pictures[:3]] == [True, True, False]
    times = [picture.after.pts for picture in bench.output.pictures]
    assert times == sorted(set(times))


def test_what_is_under_way_at_the_end_is_shown():
    with Bench() as bench:
        bench.give(0, 1)
        bench.network.await_begun(0, 1)
        bench.run._stop.set()
    assert bench.shown == [0, 1]


def test_a_network_that_hangs_does_not_keep_the_run_open(monkeypatch):
    monkeypatch.setattr(live_run, "_CLOSE_SECONDS", 0.01)
    with Bench() as bench:
        bench.give(0, 1)
        bench.network.await_begun(0, 1)
        bench.run.close()
        assert bench.camera.closed and bench.output.closed and bench.run._thread.is_alive()
        bench.network.open()
        bench.run._thread.join(PATIENCE)


def test_side_by_side_each_frame_has_its_share_of_the_machine():
    clock, log = FakeClock(), []
    network = Network(log)
    under_way = SideBySide(network, lambda: None, clock)
    under_way.begin(captured(0, clock), 1.0, hurried=True)
    under_way.begin(captured(1, clock), 1.0, hurried=False)  # beside the first, whenever it came
    network.await_begun(0, 1)
    clock.advance(0.25)
    network.open(1)
    assert network.finished[1].wait(PATIENCE) and under_way.due
    network.open()
    dones = [under_way.oldest(), under_way.oldest()]
    under_way.begin(captured(2, clock), 1.0, hurried=False)
    dones.append(under_way.oldest())
    under_way.close()
    assert [(done.seconds, done.busy) for done in dones] == [(0.25, 0.125), (0.25, 0.125), (0.0, 0.0)]


def test_a_frame_alone_counts_whole():
    clock = FakeClock()
    network = Network([])
    network.finish = lambda seen: clock.advance(0.25) or seen
    under_way = SideBySide(network, lambda: None, clock)
    under_way.begin(captured(0, clock), 1.0, hurried=False)
    done = under_way.oldest()
    under_way.close()
    assert (done.seconds, done.busy) == (0.25, 0.25)


def test_frames_side_by_side_are_those_of_one_after_the_other():
    rng = np.random.default_rng(0)
    frames = []
    for number in range(6):
        frame = make_frame(number, width=64, height=48)
        frames.append(frame.with_planes((rng.integers(16, 235, (48, 64), np.uint8), *frame.planes[1:])))
    alone, beside = (Derainer(profile="tiny", device="cpu") for _ in range(2))
    clock = FakeClock()
    under_way, found = SideBySide(beside, lambda: None, clock), []
    for frame in frames:
        if under_way.due:
            found.append(under_way.oldest().after)
        under_way.begin(Captured(frame, clock.now(), 1), 1.0, hurried=True)
    while under_way:
        found.append(under_way.oldest().after)
    under_way.close()
    assert torch.get_num_threads() == 2
    for frame, twin in zip(frames, found, strict=True):
        for plane, other in zip(alone(frame).planes, twin.planes, strict=True):
            np.testing.assert_array_equal(plane, other)
