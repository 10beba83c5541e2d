"""A file played at its own pace, again and again: a camera for trying things out."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from streamderain.live.connection import CameraError, Connection, Heard, Picture
from streamderain.live.timing import Clock

_FRAME = Fraction(1, 25)


class Paced:
    """Gives what a file holds when it is due.

    Args:
        reopen: opens the file from its beginning.
        loop: begin again at the end.
        clock: says what is due.
    """

    def __init__(self, reopen: Callable[[], Connection], loop: bool, clock: Clock) -> None:
        self._reopen, self._loop, self._clock = reopen, loop, clock
        self._closed = threading.Event()
        self._now = reopen()
        self.info = self._now.info
        self.damaged = self.skipped = 0

    def __iter__(self) -> Iterator[Picture | Heard]:
        began, passed = self._clock.now(), Fraction(0)
        while not self._closed.is_set():
            first, last = None, Fraction(0)
            for arrival in self._until_end():
                own = arrival.own if arrival.own is not None else last + (first or 0) + _FRAME
                first = own if first is None else first
                last = max(last, own - first)
                due = passed + own - first
                self._clock.wait(self._closed, began + float(due) - self._clock.now())
                yield replace(arrival, own=due)
            if not self._loop:
                raise CameraError("the file has ended", "ended")
            passed += last + 1 / (self.info.rate or 25)
            self._now.close()
            self._now = self._reopen()

    def hurry(self, hurried: bool) -> None:
        """A file waits for nobody, and nobody for it: frames that come too late are dropped behind it."""

    def close(self) -> None:
        """See Connection."""
        self._closed.set()
        self._now.close()

    def _until_end(self) -> Iterator[Picture | Heard]:
        try:
            yield from self._now
        except CameraError as error:
            if error.trouble != "ended":
                raise
