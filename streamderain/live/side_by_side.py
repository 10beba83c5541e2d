"""The frames of a live run that are under way: one at a time while that is fast enough, else several side by side.

A frame for which the camera was waited has the machine for itself, as every frame has where frames_at_once is 1. One
that came before the last was done says that one at a time is too slow: it goes beside the next (see overlap.py).
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from streamderain import download
from streamderain.core import threads
from streamderain.frame import Frame, on_host
from streamderain.live.moments import Captured
from streamderain.live.timing import Clock
from streamderain.overlap import Overlap, frames_at_once, share_of, workers

_Derained = tuple[Frame, float]  # and when it was done, on the run's clock


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """What became of a frame.

    Attributes:
        captured: as it came.
        after: derained, in memory; the very frame that came where nothing was to be taken away, or could be.
        seconds: from its begin until it was done, without the wait for those before it.
        busy: seconds of the whole machine that it took.
        error: why it could not be derained, None where it could.
    """

    captured: Captured
    after: Frame
    seconds: float
    busy: float
    error: Exception | None


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    captured: Captured
    begun: float
    share: float  # of the machine
    result: Future[_Derained]


class SideBySide:
    """Takes frames in order, and gives them back in order. Used by one thread only, which has its kernels to itself.

    Args:
        derainer: without a past; None lets frames pass.
        wake: called when a frame is done that was under way beside others, in any thread.
        clock: of the run.

    Attributes:
        most: frames under way at once.
    """

    def __init__(self, derainer: Any, wake: Callable[[], None], clock: Clock) -> None:
        self.most = 1 if derainer is None else frames_at_once(derainer)
        self._share = share_of(derainer, self.most) if self.most > 1 else 1
        self._derainer, self._wake, self._clock = derainer, wake, clock
        self._works: deque[_Work] = deque()
        self._ends = ExitStack()
        self._overlap: Overlap[_Derained] | None = None
        if self.most > 1:
            executor = self._ends.enter_context(workers(self.most, self._share))  # begins its threads with their work
            self._overlap = Overlap(derainer, lambda _, after: self._now(after), executor, self.most)

    def __len__(self) -> int:
        return len(self._works)

    @property
    def due(self) -> bool:
        """Whether the oldest frame comes before any other: it is done, or there is no room for another."""
        return bool(self._works) and (len(self) >= self.most or self._works[0].result.done())

    def begin(self, captured: Captured, strength: float, *, hurried: bool) -> None:
        """Put a frame under way, for which there must be room; one that is alone is done when this returns.

        Args:
            captured: comes after all that were put before.
            strength: see Derainer; with 0 the frame passes.
            hurried: it was there before the last one was done.
        """
        assert len(self) < self.most
        begun, result = self._clock.now(), Future[_Derained]()
        beside = None
        try:
            if self._derainer is None or not strength:
                result.set_result(self._now(captured.frame))
            else:
                self._derainer.strength = strength
                beside = self._overlap if self._works or hurried else None
                result = self._alone(captured.frame) if beside is None else self._beside(beside, captured.frame)
        except Exception as error:  # the frame's own, told when its turn comes; the next must not look at its ruins
            self._derainer.reset()
            result.set_exception(error)
        # Several frames share the machine, so that their seconds overlap: counted whole they would say that it is busy
        # for more than all of its time. One alone counts whole, since nothing else was done meanwhile.
        self._works.append(_Work(captured, begun, 1 if beside is None else 1 / self.most, result))

    def oldest(self) -> Done:
        """The frame that was begun first, as soon as it is done; it is under way no longer."""
        work, error = self._works.popleft(), None
        try:
            after, at = work.result.result()
        except Exception as failure:  # one frame that cannot be derained must not end years of running
            self._derainer.reset()
            (after, at), error = self._now(work.captured.frame), failure
        return Done(work.captured, after, at - work.begun, work.share * (at - work.begun), error)

    def reset(self) -> None:
        """A new connection: the past is another stream's. Nothing may be under way."""
        if self._derainer is not None:
            self._derainer.reset()

    def close(self) -> None:
        """End the threads, after the frames that they have begun."""
        self._ends.close()

    def _alone(self, frame: Frame) -> Future[_Derained]:
        result = Future[_Derained]()
        derained = download.begin(self._derainer(frame))
        result.set_result(self._now(on_host(derained)))  # once for all outputs; a picture is done when it is there
        return result

    def _beside(self, overlap: Overlap[_Derained], frame: Frame) -> Future[_Derained]:
        with threads.at_most(self._share):
            result = overlap(frame, None)
        result.add_done_callback(lambda _: self._wake())
        return result

    def _now(self, frame: Frame) -> _Derained:
        return frame, self._clock.now()
