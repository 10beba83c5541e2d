"""The log of a live run: what happened as it happens, and once a minute how it goes, without any password."""
from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from streamderain.live.address import MASK, Address, Redaction, mask
from streamderain.live.timing import MONOTONIC, Clock

STATUS_SECONDS = 60.0
_FIGURES = (
    "source", "uptime_s", "connected", "healthy", "frames_in", "frames_out", "stand_ins", "dropped", "connections",
    "failed_connections", "losses", "reconnects", "fps_in", "fps_out", "latency_ms_p50", "latency_ms_p99", "network",
)  # fmt: skip
_OUTPUT_FIGURES = ("name", "state", "taken", "dropped", "restarts")
# libraries that would say about one broken connection what the status says already, with the address in it
_TALKATIVE = ("libav", "aiohttp", "asyncio")

Hide = Callable[[object], str]


class Teller(Protocol):
    """Where a live run's lines go: a log or a terminal. Any thread may call it."""

    def say(self, line: str, camera: str = "") -> None:
        """An announcement or a warning."""

    def event(self, kind: str, text: str, camera: str = "") -> None:
        """Something happened: a word for programs, a line for people."""

    def status(self, facts: Mapping[str, Any], camera: str = "") -> None:
        """How it goes now: what Status.as_dict gives."""


def hider(addresses: Iterable[Address], words: Iterable[str | None] = ()) -> Hide:
    """What takes the secrets of these addresses, these words, and every address's password out of a text."""
    known = [address for address in addresses if address.has_secret]
    secrets = [word for word in words if word]

    def hide(text: object) -> str:
        shown = str(text)
        for word in secrets:
            shown = shown.replace(word, MASK)
        for address in known:
            shown = address.hide(shown)
        return mask(shown)

    return hide


def utc_now() -> str:
    """The time of day for people and logs, UTC, such as 2031-05-01T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Journal:
    """Lines for a log: events for people or as JSON, and JSON for the status in both cases.

    Args:
        write: takes one line, without its end; False says that there was no room for it, which is told later.
        as_json: whether everything is JSON.
        hide: takes secrets out.
        now: the time of day, as utc_now.
    """

    def __init__(
        self,
        write: Callable[[str], bool | None],
        *,
        as_json: bool = False,
        hide: Callable[[str], str] = mask,
        now: Callable[[], str] = utc_now,
    ) -> None:
        self._write, self._as_json, self._hide, self._now = write, as_json, hide, now
        self._lock, self._missing = threading.Lock(), 0

    def say(self, line: str, camera: str = "") -> None:
        """See Teller."""
        if self._as_json:
            self.event("note", line, camera)
        else:
            self._line(f"{camera}: {line}" if camera else line)

    def event(self, kind: str, text: str, camera: str = "") -> None:
        """See Teller."""
        if self._as_json:
            self._object(camera, "event", kind=kind, text=" ".join(text.split()))
        else:
            self._line(f"{self._now()} {camera}: {text}" if camera else f"{self._now()} {text}")

    def status(self, facts: Mapping[str, Any], camera: str = "") -> None:
        """See Teller."""
        figures = {name: facts[name] for name in _FIGURES if name in facts}
        outputs = [{name: output.get(name) for name in _OUTPUT_FIGURES} for output in facts.get("outputs", ())]
        self._object(camera, "status", **figures, outputs=outputs)

    def _object(self, camera: str, event: str, **values: Any) -> None:
        self._put(self._made(camera, event, **values))

    def _made(self, camera: str, event: str, **values: Any) -> str:
        head = {"time": self._now(), "camera": camera, "event": event}
        # hidden in each value, not in the finished line: there a mask could eat the quote that ends a text
        return json.dumps({**head, **_hidden(values, self._hide)}, ensure_ascii=False)

    def _line(self, line: str) -> None:
        self._put(" ".join(self._hide(line).split()))

    def _put(self, line: str) -> None:
        with self._lock, suppress(OSError, ValueError):  # a log that nobody takes any more must not end a camera
            if self._missing and self._write(self._gap()) is not False:
                self._missing = 0
            if self._missing or self._write(line) is False:
                self._missing += 1

    def _gap(self) -> str:
        text = f"{self._missing} lines of this log are missing here: nobody took them in time"
        return self._made("", "event", kind="log", text=text) if self._as_json else f"{self._now()} {text}"


def _hidden(value: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {key: _hidden(each, hide) for key, each in value.items()}
    return [_hidden(each, hide) for each in value] if isinstance(value, (list, tuple)) else value


def every(
    seconds: float, do: Callable[[], None], stop: threading.Event, clock: Clock = MONOTONIC, name: str = "journal"
) -> threading.Thread:
    """Do something again and again in a thread of its own, the first time after `seconds`, until `stop` is set."""

    def work() -> None:
        while not clock.wait(stop, seconds):
            do()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


class _Handler(logging.Handler):
    """Hands warnings of libraries to a teller."""

    def __init__(self, teller: Teller) -> None:
        super().__init__(logging.WARNING)
        self._teller = teller
        self.addFilter(Redaction())

    def emit(self, record: logging.LogRecord) -> None:
        """One record as one event."""
        trace = f": {record.exc_text}" if record.exc_text else ""
        self._teller.event("log", f"{record.name}: {record.getMessage()}{trace}")


def take_logging(teller: Teller, hide: Hide) -> Callable[[], None]:
    """Send what libraries log to a teller, and take secrets out of the tracebacks of bugs; returns how to undo it."""
    root, handler = logging.getLogger(), _Handler(teller)
    before = root.handlers[:], sys.excepthook, threading.excepthook, root.level
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def show(kind: Any, error: Any, trace: Any) -> None:
        sys.stderr.write(hide("".join(traceback.format_exception(kind, error, trace))))

    def show_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is not SystemExit:
            show(failed.exc_type, failed.exc_value, failed.exc_traceback)

    sys.excepthook, threading.excepthook = show, show_thread

    def undo() -> None:
        root.handlers[:], sys.excepthook, threading.excepthook = before[:3]
        root.setLevel(before[3])
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

    return undo
