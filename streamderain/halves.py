"""The two halves of a frame side by side, each in its own threads, for a network that is waited for.

Spread over all cores, a network of small layers meets at the end of every layer (see overlap.py). Halves meet at the
end, and once where the whole frame is asked (context.py), but both compute what lies between them as far as the network
looks, so they pay off where that is little of the frame.
"""
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Lock

import torch
from torch import Tensor

from streamderain.core.companions import MULTIPLE
from streamderain.core.int8 import Meet

WORTH = 0.8  # of a half: how far the network may look beyond it

Rows = Callable[[int, int, Meet], None]  # does the rows from the first to before the second


class Halves:
    """Runs work on rows in two threads, or as a whole where that is faster.

    Args:
        reach: pixels that the network looks around a pixel.
    """

    def __init__(self, reach: int) -> None:
        self._reach, self._threads = reach, torch.get_num_threads()
        self._executor = _executor(self._threads // 2) if self._threads % 2 == 0 else None
        self._busy = Lock()  # halves of two frames would wait for each other in two threads

    def run(self, work: Rows, height: int) -> None:
        """Do all rows of a frame. In a thread that has not all of torch's threads they are done as a whole.

        Args:
            work: takes rows and what sums a tensor over all parts of the frame, which all call equally often.
            height: of the frame.
        """
        middle = -(-height // (2 * MULTIPLE)) * MULTIPLE
        alone = self._executor is None or torch.get_num_threads() < self._threads
        if alone or self._reach > WORTH * (height - middle):
            work(0, height, _alone)
            return
        assert self._executor is not None
        meeting = _Meeting()
        with self._busy:
            halves = [self._executor.submit(meeting.attend, work, *rows) for rows in ((0, middle), (middle, height))]
            failed = [error for half in halves if (error := half.exception()) is not None]
        # a half that waited in vain says less than the one it waited for
        for error in sorted(failed, key=lambda error: isinstance(error, BrokenBarrierError)):
            raise error


class _Meeting:
    """Where the two halves of one frame sum what they found."""

    def __init__(self) -> None:
        self._barrier, self._parts = Barrier(2), list[Tensor]()

    def attend(self, work: Rows, top: int, bottom: int) -> None:
        """Do one half; if it fails the other does not wait for it."""
        try:
            work(top, bottom, self._sum)
        except BaseException:
            self._barrier.abort()
            raise

    def _sum(self, part: Tensor) -> Tensor:
        self._parts.append(part)
        self._barrier.wait()
        one, other = self._parts[-2:]
        self._barrier.wait()  # before a next meeting adds to the parts
        return one + other


def _alone(part: Tensor) -> Tensor:
    return part


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
