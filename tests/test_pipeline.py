"""The three threads: order, look-ahead, bounds, and an end whichever stage dies."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from streamderain import pipeline
from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame


def frames(count):
    for index in range(count):
        yield Frame((np.full((2, 2), index, np.uint8),), PixelFormat("grey"), pts=index, corrupt=index == 3)


class Source:
    def __init__(self, count, fails_at=None, pause=0.0):
        self.count, self.fails_at, self.pause = count, fails_at, pause
        self.given, self.closed = 0, 0

    def __iter__(self):
        for frame in frames(self.count):
            if frame.pts == self.fails_at:
                raise RuntimeError("source died")
            time.sleep(self.pause)
            self.given += 1
            yield frame

    def close(self):
        self.closed += 1


class Sink:
    def __init__(self, fails_at=None, fails_to_finish=False, fails_to_abort=False, pause=0.0):
        self.fails_at, self.fails_to_finish, self.fails_to_abort = fails_at, fails_to_finish, fails_to_abort
        self.pause = pause
        self.written, self.finished, self.aborted = [], 0, 0

    def write(self, frame):
        if frame.pts == self.fails_at:
            raise RuntimeError("sink died")
        time.sleep(self.pause)
        self.written.append(frame.pts)

    def finish(self):
        self.finished += 1
        if self.fails_to_finish:
            raise RuntimeError("finish died")

    def abort(self):
        self.aborted += 1
        if self.fails_to_abort:
            raise RuntimeError("abort died")


@pytest.fixture(autouse=True)
def no_thread_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("look_ahead", [True, False])
def test_every_frame_once_in_order_with_the_next(count, look_ahead):
    source, sink, seen = Source(count), Sink(), []

    def derain(frame, following):
        seen.append((frame.pts, None if following is None else following.pts))
        return frame

    counts = pipeline.run(source, derain, sink, look_ahead=look_ahead)
    assert sink.written == list(range(count))
    assert seen == [(n, n + 1 if look_ahead and n + 1 < count else None) for n in range(count)]
    assert (counts.frames_in, counts.frames_out, counts.stopped) == (count, count, False)
    assert counts.corrupt == (1 if count > 3 else 0)
    assert (sink.finished, sink.aborted, source.closed) == (1, 0, 1)


def test_on_frame_sees_both_in_the_calling_thread():
    seen = []
    pipeline.run(
        Source(5),
        lambda frame, following: frame.with_planes((frame.planes[0] + 1,)),
        Sink(),
        on_frame=lambda before, after: seen.append(
            (
                int(before.planes[0][0, 0]),
                int(after.planes[0][0, 0]),
                threading.current_thread() is threading.main_thread(),
            )
        ),
    )
    assert seen == [(n, n + 1, True) for n in range(5)]


@pytest.mark.parametrize("fault", ["source", "sink", "derain", "finish", "on_frame", "interrupt"])
@pytest.mark.parametrize("at", [0, 1, 20, 39])
def test_whichever_stage_dies_ends_the_run_once(fault, at):
    source = Source(40, fails_at=at if fault == "source" else None)
    sink = Sink(fails_at=at if fault == "sink" else None, fails_to_finish=fault == "finish", fails_to_abort=True)

    def derain(frame, following):
        if fault == "derain" and frame.pts == at:
            raise RuntimeError("derain died")
        if fault == "interrupt" and frame.pts == at:
            raise KeyboardInterrupt
        return frame

    def on_frame(before, after):
        if fault == "on_frame" and before.pts == at:
            raise RuntimeError("on_frame died")

    counts = pipeline.Counts()
    expected = KeyboardInterrupt if fault == "interrupt" else RuntimeError
    with pytest.raises(expected, match=None if fault == "interrupt" else f"{fault} died"):
        pipeline.run(source, derain, sink, on_frame=on_frame, counts=counts)
    assert source.closed == 1
    assert sink.aborted + sink.finished == 1 and sink.finished == (fault == "finish")
    assert sink.written == list(range(len(sink.written))) and counts.frames_out == len(sink.written)


@pytest.mark.parametrize("slow", ["derain", "sink"])
def test_the_source_is_never_far_ahead(slow):
    source, sink = Source(60), Sink(pause=0.002 if slow == "sink" else 0)
    most = 0

    def derain(frame, following):
        nonlocal most
        time.sleep(0.002 if slow == "derain" else 0)
        most = max(most, source.given - len(sink.written))
        return frame

    pipeline.run(source, derain, sink)
    assert pipeline.QUEUE_FRAMES < most <= 2 * pipeline.QUEUE_FRAMES + 5


def test_stop_ends_early_and_aborts():
    source, sink, stop = Source(1000, pause=0.0005), Sink(), threading.Event()

    def derain(frame, following):
        if frame.pts == 10:
            stop.set()
        return frame

    counts = pipeline.run(source, derain, sink, stop=stop)
    assert counts.stopped and counts.frames_in < 30
    assert (sink.finished, sink.aborted, source.closed) == (0, 1, 1)


def test_stop_ends_a_run_whose_source_gives_nothing():
    asked, release, stop = threading.Event(), threading.Event(), threading.Event()

    class Silent(Source):
        def __iter__(self):
            asked.set()
            release.wait(5)
            yield from ()

    def end():
        asked.wait(5)
        stop.set()
        time.sleep(0.2)
        release.set()

    sink, ending = Sink(), threading.Thread(target=end)
    ending.start()
    counts = pipeline.run(Silent(0), lambda frame, following: frame, sink, stop=stop)
    ending.join()
    assert counts.stopped and sink.aborted == 1


def test_times_of_the_stages_are_busy_times():
    counts = pipeline.run(Source(10, pause=0.004), lambda frame, following: frame, Sink())
    assert counts.ms["decode"] >= 40
    assert counts.ms["derain"] < counts.ms["decode"]
