"""Halves of a frame: all rows once, in two threads, and only where that pays."""
import threading

import pytest
import torch
from numpy.testing import assert_allclose
from test_int8 import codes_of, native

from streamderain import weights
from streamderain.core.checkpoint import load_generator
from streamderain.core.int8 import Int8Generator
from streamderain.halves import WORTH, Halves
from streamderain.int8_engine import Int8Engine


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def calls_of(halves, height):
    """Which rows were asked for, in which thread, with how many of torch's threads."""
    calls, both = [], threading.Lock()

    def work(top, bottom, _meet):
        with both:
            calls.append((top, bottom, threading.current_thread().name, torch.get_num_threads()))

    halves.run(work, height)
    return sorted(calls)


@pytest.mark.parametrize("height, middle", [(480, 240), (1080, 544), (411, 208)])
def test_a_tall_frame_is_cut_on_the_grid(two_threads, height, middle):
    first, second = calls_of(Halves(96), height)
    assert (first[:2], second[:2]) == ((0, middle), (middle, height))
    assert first[2].startswith("half") and second[2].startswith("half")
    assert (first[3], second[3]) == (1, 1)


def test_a_frame_that_is_short_for_the_reach_stays_whole(two_threads):
    assert [call[:2] for call in calls_of(Halves(96), 200)] == [(0, 200)]
    assert len(calls_of(Halves(int(WORTH * 240)), 480)) == 2
    assert len(calls_of(Halves(int(WORTH * 240) + 1), 480)) == 1


def test_a_thread_that_has_a_share_of_the_threads_does_the_whole(two_threads):
    halves = Halves(8)
    torch.set_num_threads(1)
    assert [call[:2] for call in calls_of(halves, 480)] == [(0, 480)]


@pytest.mark.parametrize("count", [1, 3])
def test_an_odd_number_of_threads_does_the_whole(two_threads, count):
    torch.set_num_threads(count)
    assert [call[:2] for call in calls_of(Halves(8), 480)] == [(0, 480)]


def test_later_threads_begin_with_all_threads(two_threads):
    Halves(8)
    begun = []
    other = threading.Thread(target=lambda: begun.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert begun == [2]


def test_an_error_in_a_half_is_the_callers(two_threads):
    def work(top, _bottom, _meet):
        if top:
            raise MemoryError("the lower half")

    with pytest.raises(MemoryError, match="the lower half"):
        Halves(8).run(work, 480)


@pytest.mark.parametrize("height", [480, 64])
def test_halves_sum_what_they_found_and_a_whole_has_it_alone(two_threads, height):
    heard = []

    def work(top, bottom, meet):
        for factor in (1, 10):  # as often as they like
            heard.append(meet(torch.tensor([float(bottom - top) * factor])).item())

    Halves(64).run(work, height)
    assert sorted(heard) == sorted([height, 10.0 * height] * (2 if height == 480 else 1))


@pytest.mark.parametrize("failing", [0, 240])
def test_a_half_does_not_wait_for_one_that_failed(two_threads, failing):
    def work(top, _bottom, meet):
        if top == failing:
            raise MemoryError("this half")
        meet(torch.zeros(1))

    halves = Halves(8)
    with pytest.raises(MemoryError, match="this half"):
        halves.run(work, 480)
    assert len(calls_of(halves, 480)) == 2  # and the next frame is as any other


def test_frames_of_two_threads_do_not_wait_for_each_other_in_vain(two_threads):
    halves = Halves(8)

    def frames():
        for _ in range(20):
            halves.run(lambda top, bottom, meet: meet(torch.zeros(1)) and None, 480)

    threads = [threading.Thread(target=frames, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()


@native
def test_a_tall_frame_of_the_network_is_the_whole_in_halves(two_threads, monkeypatch):
    network, _ = load_generator(weights.find("tiny", "cpu"))
    asked, rows, codes = [], Int8Generator.rows, codes_of((480, 40))
    monkeypatch.setattr(Int8Generator, "rows", lambda self, *given: asked.append(given[1:3]) or rows(self, *given))
    rain = Int8Engine(network).run(codes[0], 480, 40)
    assert sorted(asked) == [(0, 240), (240, 480)]
    # with other threads oneDNN may round the last convolution otherwise
    assert_allclose(rain, Int8Generator(network, network.ranges).rain(codes, 480, 40), atol=1e-3)
