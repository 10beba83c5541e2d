"""How far a run is, told on stderr: a bar for people, plain lines for logs, JSON lines for machines."""
from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import click

from streamderain.cli.text import one_line

Kind = Literal["auto", "plain", "json", "none"]
Clock = Callable[[], float]
PLAIN_SECONDS = 5.0
JSON_SECONDS = 0.5


class Progress(Protocol):
    """What a command tells while it works through one input; begin and end may repeat for the next input."""

    def say(self, line: str) -> None:
        """An announcement or a warning, always shown."""

    def begin(self, name: str, total: int | None) -> None:
        """Work on this input starts; total frames where they are known."""

    def advance(self, done: int) -> None:
        """So many frames are done."""

    def end(self) -> None:
        """Work on this input is over, well or not."""


class Pace:
    """Frames per second over the intervals between frames, so that loading and warming up do not count.

    Args:
        total: frames that will come, None where nobody knows.
        clock: seconds, rising.
    """

    def __init__(self, total: int | None, clock: Clock = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self._clock = clock
        self._first: tuple[float, int] | None = None
        self._last = 0.0

    def advance(self, done: int) -> None:
        """So many frames are done now."""
        self.done, self._last = done, self._clock()
        if self._first is None:
            self._first = (self._last, done)

    @property
    def fps(self) -> float | None:
        """None until two frames are done."""
        if self._first is None or self._last <= self._first[0]:
            return None
        return (self.done - self._first[1]) / (self._last - self._first[0])

    @property
    def seconds_left(self) -> float | None:
        """None where the total or the speed is unknown."""
        if self.total is None or not self.fps:
            return None
        return max(self.total - self.done, 0) / self.fps


class Silent:
    """Says what must be said and nothing on the way."""

    def say(self, line: str) -> None:
        """One line on stderr."""
        click.echo(one_line(line), err=True)

    def begin(self, name: str, total: int | None) -> None:
        """Nothing to show."""

    def advance(self, done: int) -> None:
        """Nothing to show."""

    def end(self) -> None:
        """Nothing to show."""


class Plain(Silent):
    """A line every few seconds and one at the end."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(None, clock)
        self._name = ""
        self._due = 0.0

    def begin(self, name: str, total: int | None) -> None:
        """Start counting; the first line comes after PLAIN_SECONDS."""
        self._name, self._pace = name, Pace(total, self._clock)
        self._due = self._clock() + PLAIN_SECONDS

    def advance(self, done: int) -> None:
        """A line if one is due."""
        self._pace.advance(done)
        if self._clock() >= self._due:
            self._due = self._clock() + PLAIN_SECONDS
            self.say(self._line())

    def end(self) -> None:
        """The last line."""
        self.say(self._line())

    def _line(self) -> str:
        pace = self._pace
        parts = [f"{self._name}: frame {pace.done}" + (f" of {pace.total}" if pace.total is not None else "")]
        if pace.fps is not None:
            parts.append(f"{pace.fps:.1f} fps")
        if pace.seconds_left:
            parts.append(f"{clock_time(pace.seconds_left)} left")
        return ", ".join(parts)


class JsonLines:
    """One JSON object per line: start, note, progress and end."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(None, clock)
        self._due = 0.0

    def say(self, line: str) -> None:
        """A note."""
        self._write("note", text=one_line(line))

    def begin(self, name: str, total: int | None) -> None:
        """The start."""
        self._pace, self._due = Pace(total, self._clock), self._clock()
        self._write("start", input=name, total=total)

    def advance(self, done: int) -> None:
        """Progress, at most every JSON_SECONDS."""
        self._pace.advance(done)
        if self._clock() >= self._due:
            self._due = self._clock() + JSON_SECONDS
            self._write("progress", **self._numbers(), seconds_left=_rounded(self._pace.seconds_left))

    def end(self) -> None:
        """The end."""
        self._write("end", **self._numbers())

    def _numbers(self) -> dict[str, Any]:
        return {"frame": self._pace.done, "total": self._pace.total, "fps": _rounded(self._pace.fps)}

    def _write(self, event: str, **values: Any) -> None:
        click.echo(json.dumps({"event": event, **values}), err=True)


def make_progress(kind: Kind) -> Progress:
    """The teller of this kind; auto is a bar where stderr is a terminal and plain lines elsewhere."""
    if kind == "auto" and sys.stderr is not None and sys.stderr.isatty():
        from streamderain.cli.bar import Bar

        return Bar()
    return {"auto": Plain, "plain": Plain, "json": JsonLines, "none": Silent}[kind]()


def clock_time(seconds: float) -> str:
    """Seconds as people read them: 0:07, 12:30 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
