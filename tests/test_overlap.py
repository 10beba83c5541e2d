"""Several frames of a file at once: the same frames, in order, whoever is done first."""
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import clips
import numba
import numpy as np
import pytest
import torch
from test_pipeline import Sink, Source

from streamderain import Derainer, derain_video, overlap, pipeline
from streamderain.frame import Frame
from streamderain.given import ARRAY_FORMAT
from streamderain.video import open_video


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
        assert numba.get_num_threads() == 2  # a recurrent network has all
        next_frame = next(clip(1))
        made(next_frame, None).result()
        raise RuntimeError("out")
    assert (torch.get_num_threads(), numba.get_num_threads()) == (2, kernels)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("derain_")]


@pytest.mark.parametrize(
    "cores, changes, frames",
    [
        (1, {}, 1),
        (2, {}, 2),
        (64, {}, overlap.MOST_FRAMES),
        (64, {"device": "cuda:1"}, 1),
        (64, {"backend": "compile"}, 1),
        (64, {"companions": False}, 1),
        (64, {"recurrent": True}, overlap.IN_A_ROW),
        (1, {"recurrent": True}, 1),
    ],
)
def test_several_frames_only_where_small_layers_share_several_cores(monkeypatch, cores, changes, frames):
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    usual = {"device": "cpu", "backend": "eager", "companions": True, "recurrent": False}
    derainer = SimpleNamespace(**usual | changes)
    assert overlap.frames_at_once(derainer) == frames


@pytest.mark.parametrize("recurrent, frames, share", [(True, 2, 8), (False, 4, 2), (False, 16, 1)])
def test_frames_share_the_threads_unless_they_are_in_a_row(monkeypatch, recurrent, frames, share):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert overlap.share_of(SimpleNamespace(recurrent=recurrent), frames) == share


def test_a_file_is_derained_side_by_side(two_cores, tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv", draw=clips.picture, size=(64, 48), codec="ffv1")
    names = set()
    finish = Derainer.finish

    def noted(self, seen):
        names.add(threading.current_thread().name.split("_")[0])
        return finish(self, seen)

    monkeypatch.setattr(Derainer, "finish", noted)
    frames = {}
    for most in (2, 1):
        monkeypatch.setattr(overlap, "IN_A_ROW", most)
        output = tmp_path / f"out{most}.mkv"
        derain_video(path, output, device="cpu", profile="tiny", encoder="ffv1")
        source = open_video(output)
        frames[most] = list(source)
        source.close()
    assert names == {"derain", "MainThread"}
    assert len(frames[1]) == len(frames[2]) > 2
    for one, other in zip(frames[1], frames[2], strict=True):
        for plane, twin in zip(one.planes, other.planes, strict=True):
            np.testing.assert_array_equal(plane, twin)


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

