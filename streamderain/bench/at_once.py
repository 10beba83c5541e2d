"""Several frames at once, each in one thread: a network's work as files are derained on a CPU (overlap.py)."""
from __future__ import annotations

from collections.abc import Callable

from streamderain.overlap import threads_for

Call = Callable[[], object]


class AtOnce:
    """Threads that stay, so that starting them is no part of what is timed.

    Args:
        frames: how many at once, at least 2; each has its share of torch's threads.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self._threads = threads_for(frames)

    def call(self, work: Call) -> Call:
        """What does the work of all frames, side by side, and returns when the last is done."""
        return lambda: [done.result() for done in [self._threads.submit(work) for _ in range(self.frames)]]
