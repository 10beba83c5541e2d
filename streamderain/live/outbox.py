"""Lines for a reader that may be slow or stopped: written by a thread of their own, so that nobody waits for it."""
from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

MOST_WAITING = 1000  # lines
_END_SECONDS = 2.0


class Outbox:
    """Hands lines to `write`, in order, in a thread of its own.

    Args:
        write: takes one line; what it raises of the operating system costs that line only.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> bool:
        """Queue a line; never waits. Whether there was room for it."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Write what waits, within seconds; a reader that takes nothing is left behind."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_END_SECONDS)
            self._thread.join(_END_SECONDS)

    def _work(self) -> None:
        while (line := self._waiting.get()) is not None:
            with suppress(OSError, ValueError):
                self._write(line)
