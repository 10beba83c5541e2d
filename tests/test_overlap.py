"""Several frames of a file at once: the same frames, in order, whoever is done first."""
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch
from test_pipeline import Sink, Source

from streamderain import Derainer, overlap, pipeline
from streamderain.derainer import ARRAY_FORMAT
from streamderain.frame import Frame


@pytest.fixture
def two_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def clip(count, size=(32, 48)):
    rng = np.random.default_rng(0)
    scene = np.add.outer(np.linspace(40, 150, size[0]), np.linspace(0, 60, size[1]))
    for _ in range(count):
        rainy = scene.copy()
        rainy[4:20, rng.integers(0, size[1], 5)] += 60
        planes = tuple(np.clip(rainy + shift, 0, 255).astype(np.uint8) for shift in (0, 5, -5))
        yield Frame(planes, ARRAY_FORMAT)


def test_frames_side_by_side_are_those_of_one_after_the_other(two_cores):
    frames = list(clip(9))
    pairs = list(zip(frames, [*frames[1:], None], strict=True))
    alone = Derainer(profile="tiny", device="cpu")
    expected = [alone(now, following) for now, following in pairs]
    beside = Derainer(profile="tiny", device="cpu")
    with overlap.overlapped(beside, lambda before, after: after) as made:
        assert made.frames == 2
        found = [made(now, following).result() for now, following in pairs]
    for one, other in zip(expected, found, strict=True):
        for plane, twin in zip(one.planes, other.planes, strict=True):
            np.testing.assert_array_equal(plane, twin)
    assert beside.frames == alone.frames == 9
    assert all(beside.stage_ms[stage] > 0 for stage in beside.stage_ms)


def test_threads_are_given_back(two_cores):
    kernels = numba.get_num_threads()
    with (
        pytest.raises(RuntimeError, match="out"),
        overlap.overlapped(Derainer(profile="tiny", device="cpu"), lambda before, after: after) as made,
    ):
        assert numba.get_num_threads() == 1
        next_frame = next(clip(1))
        made(next_frame, None).result()
        raise RuntimeError("out")
    assert (torch.get_num_threads(), numba.get_num_threads()) == (2, kernels)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("derain_")]


def test_one_frame_at_a_time_where_there_is_one_core_or_a_gpu(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert overlap.frames_at_once("cpu") == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert overlap.frames_at_once("cpu") == overlap.MOST_FRAMES
    assert overlap.frames_at_once("cuda:1") == 1


def test_what_is_shown_is_made_beside_too(two_cores):
    seen = []

    def shown(before, after):
        seen.append((before, threading.current_thread().name))
        return before

    frame = next(clip(1))
    with overlap.overlapped(Derainer(profile="tiny", device="cpu"), shown) as made:
        assert made(frame, None).result() is frame
    ((before, name),) = seen
    assert before is frame
    assert name.startswith("derain_")


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_futures_keep_their_order(at_once):
    source, sink, most = Source(12), Sink(), []
    under_way = 0
    lock = threading.Lock()

    def work(frame):
        nonlocal under_way
        time.sleep(0.02 if frame.pts % 3 == 0 else 0.001)  # the first of three is done last
        with lock:
            under_way -= 1
        return frame

    with ThreadPoolExecutor(at_once) as executor:

        def derain(frame, following):
            nonlocal under_way
            with lock:
                under_way += 1
                most.append(under_way)
            return executor.submit(work, frame)

        pipeline.run(source, derain, sink, at_once=at_once)
    assert sink.written == list(range(12))
    assert max(most) <= at_once + 1


def test_an_error_in_a_future_ends_the_run_once():
    source, sink = Source(12), Sink()
    failed: Future = Future()
    failed.set_exception(RuntimeError("worker died"))
    with pytest.raises(RuntimeError, match="worker died"):
        pipeline.run(source, lambda frame, _: failed if frame.pts == 5 else frame, sink, at_once=2)
    assert (sink.finished, sink.aborted, source.closed) == (0, 1, 1)
    assert sink.written == list(range(len(sink.written)))
    assert len(sink.written) <= 5

