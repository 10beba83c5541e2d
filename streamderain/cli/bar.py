"""The bar that a terminal shows: frame, speed, time left."""
from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from streamderain.cli.progress import Clock, Pace, clock_time
from streamderain.cli.text import one_line


class _Figures(ProgressColumn):
    """Frame of total, fps and time left, as the task's fields hold them."""

    def render(self, task: Task) -> Text:
        """The figures as they are."""
        return Text(task.fields["figures"])


class Bar:
    """A rich bar on stderr; what is said meanwhile appears above it."""

    def __init__(self, console: Console | None = None, clock: Clock = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._pace = Pace(None, clock)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def say(self, line: str) -> None:
        """An announcement or a warning, above the bar."""
        self._console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)

    def begin(self, name: str, total: int | None) -> None:
        """Put up the bar."""
        self._pace = Pace(total, self._clock)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), _Figures(), console=self._console
        )
        self._task = self._progress.add_task(one_line(name), total=total, figures="")
        self._progress.start()

    def advance(self, done: int) -> None:
        """Move the bar."""
        self._pace.advance(done)
        if self._progress is not None:
            self._progress.update(self._task, completed=done, figures=self._figures())

    def end(self) -> None:
        """Leave the bar standing where it is and give the terminal back."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _figures(self) -> str:
        pace = self._pace
        parts = [f"{pace.done}/{pace.total}" if pace.total is not None else str(pace.done)]
        if pace.fps is not None:
            parts.append(f"{pace.fps:.1f} fps")
        if pace.seconds_left is not None:
            parts.append(f"{clock_time(pace.seconds_left)} left")
        return "  ".join(parts)
