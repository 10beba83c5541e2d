"""The two halves of a frame side by side, each in its own threads, for a network that is waited for.

Spread over all cores, a network of small layers meets at the end of every layer (see overlap.py). Halves meet once, but
both compute what lies between them as far as the network looks, so they pay off where that is little of the frame.
"""
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch

from streamderain.core.companions import MULTIPLE

WORTH = 0.8  # of a half: how far the network may look beyond it

Rows = Callable[[int, int], None]  # does the rows from the first to before the second


class Halves:
    """Runs work on rows in two threads, or as a whole where that is faster.

    Args:
        reach: pixels that the network looks around a pixel.
    """

    def __init__(self, reach: int) -> None:
        self._reach, self._threads = reach, torch.get_num_threads()
        self._executor = _executor(self._threads // 2) if self._threads % 2 == 0 else None

    def run(self, work: Rows, height: int) -> None:
        """Do all rows of a frame. In a thread that has not all of torch's threads they are done as a whole."""
        middle = -(-height // (2 * MULTIPLE)) * MULTIPLE
        alone = self._executor is None or torch.get_num_threads() < self._threads
        if alone or self._reach > WORTH * (height - middle):
            work(0, height)
            return
        assert self._executor is not None
        for done in [self._executor.submit(work, 0, middle), self._executor.submit(work, middle, height)]:
            done.result()


def _executor(share: int) -> ThreadPoolExecutor:
    """Two threads that are there already, with so many of torch's each."""
    cores, both = torch.get_num_threads(), Barrier(2)
    executor = ThreadPoolExecutor(2, "half", initializer=_take, initargs=(share,))
    for waiting in [executor.submit(both.wait) for _ in range(2)]:
        waiting.result()
    torch.set_num_threads(cores)  # setting it in a thread also sets what later threads begin with
    return executor


def _take(share: int) -> None:
    """Have so many of torch's threads in this thread from now on."""
    torch.get_num_threads()  # a thread's first question gives it what was set last in any other
    torch.set_num_threads(share)
