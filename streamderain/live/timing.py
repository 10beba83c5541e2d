"""Time for live pictures: one clock that only rises, and how to wait on it. Tests put their own in its place."""
from __future__ import annotations

import threading
import time
from fractions import Fraction
from typing import Protocol

LIVE_UNIT = Fraction(1, 90_000)  # seconds per tick of a live frame's pts


class Clock(Protocol):
    """Where everything live has its time from; nothing live reads the wall clock to measure."""

    def now(self) -> float:
        """Seconds since some moment; never steps back, whatever happens to the time of day."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Sleep until the event is set or the seconds are over; whether it is set."""


class Monotonic:
    """The machine's own."""

    def now(self) -> float:
        """Seconds of time.monotonic."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """See Clock."""
        return event.wait(max(0.0, seconds))


MONOTONIC = Monotonic()
