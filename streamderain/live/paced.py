"""What comes faster than it happened, given at its own pace: a file as a camera, and playlists over HTTP."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from streamderain.live.connection import CameraError, Connection, Heard, Picture
from streamderain.live.timing import Clock

_LATE_SECONDS = 0.3
_EARLY_SECONDS = 10.0  # nobody waits so long for a picture: the timestamps jumped


class Paced:
    """Gives what a file holds when it is due.

    Args:
        reopen: opens the file from its beginning.
        loop: begin again at the end.
        clock: says what is due.
        first: it is open already.

    What comes late puts off all that follows: a network or a machine that was late once will be late again.
    """

    def __init__(
        self, reopen: Callable[[], Connection], loop: bool, clock: Clock, *, first: Connection | None = None
    ) -> None:
        self._reopen, self._loop, self._clock = reopen, loop, clock
        self._closed = threading.Event()
        self._now = first or reopen()
        self.info = self._now.info
        self.skipped = 0

    @property
    def damaged(self) -> int:
        """See Connection; of the present turn."""
        return self._now.damaged

    def __iter__(self) -> Iterator[Picture | Heard | None]:
        began, passed = self._clock.now(), Fraction(0)
        frame = 1 / Fraction(self.info.rate or 25)
        while not self._closed.is_set():
            first, last = None, Fraction(0)
            for arrival in self._until_end():
                if arrival is None:
                    yield None
                    continue
                own = arrival.own if arrival.own is not None else last + (first or 0) + frame
                first = own if first is None else first
                last = max(last, own - first)
                due = passed + own - first
                early = began + float(due) - self._clock.now()
                if not -_LATE_SECONDS <= early <= _EARLY_SECONDS:
                    put_off = Fraction(-early).limit_denominator(1_000_000)
                    passed, due = passed + put_off, due + put_off
                self._clock.wait(self._closed, early)
                yield replace(arrival, own=due)
            if not self._loop or first is None:
                raise CameraError("the file has ended", "ended")
            passed += last + frame
            self._now.close()
            self._now = self._reopen()

    def hurry(self, hurried: bool) -> None:
        """A file waits for nobody, and nobody for it: frames that come too late are dropped behind it."""

    def close(self) -> None:
        """See Connection."""
        self._closed.set()
        self._now.close()

    def _until_end(self) -> Iterator[Picture | Heard | None]:
        try:
            yield from self._now
        except CameraError as error:
            if error.trouble != "ended" or self.info.growing:  # what was live is not played again
                raise
