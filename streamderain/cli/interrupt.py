"""Ctrl-C, kill and a closed terminal: the first ends the run in order, the second ends the process."""
from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_SHOW_CURSOR = b"\x1b[?25h"  # a bar hides it


class Interruptions:
    """While entered, the first SIGINT, SIGTERM or SIGHUP sets `stop`, the next exits at once with 128 + its number.

    Inside `orderly` the first signal does nothing more, because the run watches `stop`; outside of it nothing is
    under way that could be finished, so it raises KeyboardInterrupt, whichever signal it was; what leaves the block
    by it leaves the program with 130, 143 or 129.

    Attributes:
        stop: what the run watches.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._signal: int | None = None
        self._orderly = False
        self._before: dict[signal.Signals, object] = {}

    @property
    def exit_code(self) -> int | None:
        """130, 143 or 129 once a signal came, else None."""
        return None if self._signal is None else 128 + self._signal

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            for number in _signals():
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if isinstance(error, KeyboardInterrupt) and self.exit_code is not None:
            raise SystemExit(self.exit_code) from None

    @contextmanager
    def orderly(self) -> Iterator[None]:
        """While a run is under way that watches `stop`."""
        self._orderly = True
        try:
            yield
        finally:
            self._orderly = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            if number == getattr(signal, "SIGHUP", None):
                return  # a terminal that closes is told twice, by the shell and by the system
            if sys.__stderr__ is not None and sys.__stderr__.isatty():
                os.write(sys.__stderr__.fileno(), _SHOW_CURSOR)
            os._exit(128 + number)
        self._signal = number
        self.stop.set()
        if not self._orderly:
            raise KeyboardInterrupt


def _signals() -> list[signal.Signals]:
    """Those that end a program here; a terminal that closes only where nohup has not said that it shall not."""
    found = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        found.append(hang_up)
    return found
