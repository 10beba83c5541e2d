"""The live run: the newest frame wins, its age is bounded, a connection ends the past, outputs never go without."""
from __future__ import annotations

import threading

import numpy as np
import pytest
from fake_device import moved
from live_fakes import FakeCamera, FakeClock, FakeNetwork, FakeOutput, captured, make_frame

from streamderain.errors import DerainError
from streamderain.live.controls import Controls, Settings
from streamderain.live.ladder import rungs_of
from streamderain.live.moments import Captured
from streamderain.live.run import LiveRun, watch
from streamderain.live.status import Status


class FakeNetworks:
    """Rungs and fake networks without weights."""

    def __init__(self, clock, profiles=("tiny", "realtime"), seconds=lambda profile, scale: 0.0):
        self.rungs, self.start = rungs_of(profiles), profiles[0]
        self.by_name = {name: FakeNetwork(clock, seconds, name) for name in profiles}
        self.warmed = []

    def take(self, rung):
        network = self.by_name[rung.profile]
        network.scale = rung.scale
        network.reset()
        return network

    def warm_up(self, rung):
        self.warmed.append(rung)


class Bench:
    """One run with fakes around it; `go` runs it until the camera has given all that was lined up."""

    def __init__(self, **options):
        self.clock = FakeClock()
        self.camera, self.output = FakeCamera(self.clock), FakeOutput()
        self.status, self.controls = Status("fake", self.clock), Controls(options.pop("settings", None))
        self.networks = FakeNetworks(self.clock, **options)
        self.run = LiveRun(
            self.camera, [self.output], self.networks, controls=self.controls, status=self.status, clock=self.clock
        )

    def line_up(self, count, *, every=0.04, **options):
        """Frames that come just when they are asked for."""
        for number in range(count):
            self.camera.moments.append(lambda n=number: self._tick(n, every, options))

    def _tick(self, number, every, options):
        self.clock.advance(every)
        return captured(number, self.clock, **options)

    def go(self):
        self.camera.moments.append(self.run._stop.set)  # by the run's own thread: a later one would let time go on
        self.run.start()
        assert self.run.over.wait(20)
        self.run.close()
        return self

    @property
    def lines(self):
        return [event.text for event in self.status.events]


def test_frames_on_a_gpu_come_out_in_memory_and_what_came_stays_there():
    bench = Bench()
    frames = [moved(make_frame(number)) for number in range(3)]
    bench.camera.moments.extend([Captured(frame, bench.clock.now(), 1) for frame in frames])
    bench.go()
    assert all(frame.on_device for frame in bench.networks.by_name["tiny"].seen)
    assert len(bench.output.pictures) == 3
    for number, picture in enumerate(bench.output.pictures):
        assert picture.before.on_device and not picture.after.on_device
        np.testing.assert_array_equal(picture.after.planes[0], make_frame(number).planes[0] - 5)


def test_a_frame_on_a_gpu_that_nothing_is_taken_from_is_one_picture_in_memory():
    bench = Bench(settings=Settings("auto", 0.0))
    bench.camera.moments.append(Captured(moved(make_frame(0)), bench.clock.now(), 1))
    (picture,) = bench.go().output.pictures
    assert picture.before is picture.after and not picture.after.on_device


def test_frames_come_out_derained_in_order():
    bench = Bench()
    bench.line_up(5)
    bench.go()
    assert [s.before.planes[0][0, 0] for s in bench.output.pictures] == [40, 41, 42, 43, 44]
    for picture in bench.output.pictures:
        assert np.array_equal(picture.after.planes[0], picture.before.planes[0] - 5)
    assert (bench.status.frames_out, bench.status.latency.total) == (5, 0.0)
    assert bench.camera.closed and bench.output.closed and bench.networks.warmed


def test_a_frame_that_is_too_old_is_dropped_before_any_work():
    bench = Bench()
    bench.line_up(1, age=0.51)
    bench.line_up(1, age=0.49)
    bench.go()
    assert bench.status.lost["late"] == 1 and bench.status.frames_out == 1
    assert len(bench.networks.by_name["tiny"].seen) == 1


def test_a_frame_that_became_too_old_while_derained_is_dropped():
    bench = Bench(seconds=lambda profile, scale: 0.3)
    bench.line_up(2, age=0.25)
    bench.go()
    assert (bench.status.frames_out, bench.status.lost["late"]) == (0, 2)


def test_no_frame_that_leaves_is_older_than_the_bound():
    rng = np.random.default_rng(0)
    bench = Bench(seconds=lambda profile, scale: rng.exponential(0.3))
    for _ in range(200):
        bench.line_up(1, age=float(rng.exponential(0.2)))
    bench.go()
    left = bench.status.frames_out
    assert 0 < left < 200
    counts, bounds = bench.status.latency.counts, bench.status.latency.bounds
    assert sum(counts[: bounds.index(0.5) + 1]) == left


def test_a_new_connection_ends_the_past():
    bench = Bench()
    bench.line_up(2, session=1)
    bench.line_up(2, session=2)
    bench.go()
    network = bench.networks.by_name["tiny"]
    assert network.resets >= 3  # when taken, and at each connection


def test_while_the_camera_is_lost_the_last_frame_stands_in_and_does_not_count():
    bench = Bench()
    bench.line_up(2, width=320, height=240)
    bench.camera.moments.append(lambda: setattr(bench.camera, "connected", False))
    bench.camera.moments.extend([lambda: None] * 5)
    bench.line_up(1, width=320, height=240, session=2)
    bench.go()
    live = [picture.live for picture in bench.output.pictures]
    assert live[:2] == [True, True] and live.count(False) >= 6 and live.count(True) == 3
    assert bench.status.frames_out == 3 and bench.status.stand_ins == live.count(False)
    times = [picture.after.pts for picture in bench.output.pictures]
    assert times == sorted(set(times))
    stand_in = bench.output.pictures[2]
    assert not np.array_equal(stand_in.after.planes[0], bench.output.pictures[1].after.planes[0])


def test_a_camera_that_hangs_without_a_word_is_stood_in_for_too():
    bench = Bench()
    bench.line_up(1, width=320, height=240)
    bench.camera.moments.extend([lambda: bench.clock.advance(0.2)] * 20)
    bench.go()
    assert bench.camera.connected and 5 <= bench.status.stand_ins <= 10


def test_a_camera_whose_every_frame_is_late_does_not_starve_the_outputs():
    bench = Bench()
    bench.line_up(1, width=320, height=240)
    bench.line_up(100, age=0.6)
    bench.go()
    assert bench.status.lost["late"] == 100 and bench.status.stand_ins > 5


def test_before_the_first_frame_nothing_stands_in():
    bench = Bench()
    bench.camera.connected = False
    bench.camera.moments.extend([lambda: None] * 3)
    bench.go()
    assert bench.output.pictures == [] and bench.status.stand_ins == 0


def test_strength_and_profile_are_followed_between_frames():
    bench = Bench(settings=Settings(strength=0.0))
    bench.line_up(1)
    bench.camera.moments.append(lambda: bench.controls.ask(strength=1.5, profile="realtime") and None)
    bench.line_up(1)
    bench.go()
    first, second = bench.output.pictures
    assert first.after is first.before
    assert bench.networks.by_name["realtime"].strength == 1.5 and second.after is not second.before
    assert bench.status.network["profile"] == "realtime"
    assert "now realtime: as asked" in bench.lines


def test_a_profile_that_cannot_be_loaded_leaves_the_camera_running(monkeypatch):
    bench = Bench()
    take = bench.networks.take

    def scarce(rung):
        if rung.profile == "realtime":
            raise RuntimeError("CUDA out of memory")
        return take(rung)

    monkeypatch.setattr(bench.networks, "take", scarce)
    bench.line_up(3)
    bench.camera.moments.append(lambda: bench.controls.ask(profile="realtime") and None)
    bench.line_up(200)
    bench.go()
    assert bench.run.failure is None and len(bench.output.pictures) == 203
    told = "realtime cannot be had now (CUDA out of memory); tiny goes on"
    assert [line for line in bench.lines if "out of memory" in line] == [told]


@pytest.mark.parametrize("refused, goes_on", [({"tiny"}, "no deraining"), ({"realtime"}, "tiny at 1/2 size")])
def test_a_step_down_to_a_network_that_cannot_be_loaded_is_tried_once(monkeypatch, refused, goes_on):
    start = {"tiny": "realtime", "realtime": "quality"}[min(refused)]
    bench = Bench(
        profiles=("tiny", "realtime", "quality"), settings=Settings(profile=start),
        seconds=lambda profile, scale: 0.1 if (profile, scale) == ("tiny", 2) else 0.6,
    )  # fmt: skip
    take = bench.networks.take

    def scarce(rung):
        if rung.profile in refused:
            raise DerainError("the file is damaged")
        return take(rung)

    monkeypatch.setattr(bench.networks, "take", scarce)
    for _ in range(40):
        bench.line_up(1)
    bench.go()
    assert bench.run.failure is None and str(bench.run._rung) == goes_on
    assert len([line for line in bench.lines if "cannot be had" in line]) == 1


def test_auto_steps_down_before_more_is_dropped_than_shown():
    bench = Bench(seconds=lambda profile, scale: 0.05 / scale)
    for _ in range(20):
        for _ in range(4):
            bench.line_up(1)
        bench.camera.moments.append(lambda: [bench.status.drop("newer") for _ in range(4)] and None)
    bench.go()
    assert bench.status.network["scale"] > 1
    assert any("tiny at 1/2 size" in line and "could not be shown" in line for line in bench.lines)


def test_auto_climbs_where_the_machine_has_time():
    bench = Bench(seconds=lambda profile, scale: 0.01)
    bench.line_up(200)
    bench.go()
    assert bench.status.network["profile"] == "realtime"
    assert any(line.startswith("now realtime: the machine had") for line in bench.lines)


def test_a_profile_asked_for_by_name_stays_although_frames_are_dropped():
    bench = Bench(settings=Settings(profile="realtime"), seconds=lambda profile, scale: 0.1)
    for _ in range(100):
        bench.line_up(1, every=0.1)
        bench.camera.moments.append(lambda: bench.status.drop("newer"))
    bench.go()
    assert bench.status.network == bench.status.network | {"profile": "realtime", "scale": 1}


def test_a_profile_that_could_show_nothing_at_all_is_left():
    slow = {"realtime": 0.9, "tiny": 0.4}
    bench = Bench(settings=Settings(profile="realtime"), seconds=lambda profile, scale: slow[profile] / scale)
    bench.line_up(10)
    bench.go()
    assert bench.status.network["profile"] == "tiny" and bench.status.frames_out > 0
    assert any("more than the latency allowed" in line for line in bench.lines)


def test_the_last_resort_shows_the_rain_and_says_so():
    bench = Bench(seconds=lambda profile, scale: 3.0)
    bench.line_up(30)
    bench.go()
    assert bench.status.network["profile"] is None
    assert bench.output.pictures and bench.output.pictures[-1].after is bench.output.pictures[-1].before
    assert any(line.startswith("frames pass with their rain") for line in bench.lines)


def test_a_frame_that_fails_is_shown_as_it_came():
    bench = Bench()
    bench.networks.by_name["tiny"].fail = [False, True, False]
    bench.line_up(3)
    bench.go()
    assert [picture.after is picture.before for picture in bench.output.pictures] == [False, True, False]
    assert any("could not be derained (no such luck)" in line for line in bench.lines)


def test_a_network_that_always_fails_ends_the_run():
    bench = Bench()
    bench.networks.by_name["tiny"].fail = [True] * 5
    bench.line_up(5)
    with pytest.raises(RuntimeError, match="no such luck"):
        watch(bench.run, threading.Event())
    assert bench.output.closed and bench.camera.closed


def test_the_cameras_first_error_is_raised():
    bench = Bench()
    bench.camera.moments.append(ValueError("no such camera"))
    with pytest.raises(ValueError, match="no such camera"):
        watch(bench.run, threading.Event())


def test_an_output_that_does_not_close_keeps_no_other_open():
    bench = Bench()
    bad, good = FakeOutput(OSError("stuck")), FakeOutput()
    bench.run.outputs = [bad, good]
    bench.go()
    assert good.closed and any("stuck" in line for line in bench.lines)


def test_the_window_ends_the_run():
    bench, calls = Bench(), []
    bench.line_up(3)
    watch(bench.run, threading.Event(), lambda: bool(calls.append(1)) or len(calls) < 3)
    assert len(calls) == 3 and bench.output.closed


def test_stop_ends_the_run():
    bench, stop = Bench(), threading.Event()
    bench.line_up(3)
    threading.Thread(target=lambda: (bench.camera.empty.wait(20), stop.set())).start()
    watch(bench.run, stop)
    assert bench.status.frames_out == 3
