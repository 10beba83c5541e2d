"""A camera on a terminal: one line per camera that is always new, and what happens above it."""
from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from streamderain.cli.progress import clock_time
from streamderain.cli.text import one_line
from streamderain.live.address import mask

_REFRESH_SECONDS, _END_SECONDS = 0.25, 2.0
_MOST_WAITING = 200  # lines
_MARKS = {"working": ("ok", "green"), "waiting": ("waits", "yellow"), "failed": ("failed", "red")}


class Screen:
    """A Teller for a terminal, on stderr, in a thread of its own: one that is gone or stopped holds no camera up.

    Args:
        look: asks for the newest facts, by camera; a single camera has no name.
        hide: takes secrets out.
        console: where to draw.
    """

    def __init__(
        self,
        look: Callable[[], Mapping[str, Mapping[str, Any]]],
        *,
        hide: Callable[[str], str] = mask,
        console: Console | None = None,
    ) -> None:
        self._look, self._hide = look, hide
        self._console = console or Console(stderr=True)
        self._live = Live(get_renderable=self._lines, console=self._console, auto_refresh=False)
        self._waiting: queue.Queue[str] = queue.Queue(_MOST_WAITING)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="screen", daemon=True)

    def __enter__(self) -> Screen:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_END_SECONDS)

    def say(self, line: str, camera: str = "") -> None:
        """See Teller."""
        whole = self._hide(f"{camera}: {line}" if camera else line)
        with suppress(queue.Full):  # of a terminal that takes nothing any more
            self._waiting.put_nowait(one_line(whole))

    def event(self, kind: str, text: str, camera: str = "") -> None:
        """See Teller; with the time of day, as the clock on the wall says it."""
        self.say(f"{time.strftime('%H:%M:%S')} {camera + ': ' if camera else ''}{text}")

    def status(self, facts: Mapping[str, Any], camera: str = "") -> None:
        """Nothing: the line shows it all the time."""

    def _work(self) -> None:
        with suppress(OSError, ValueError), self._live:  # a terminal that is gone
            while not (self._over.is_set() and self._waiting.empty()):
                with suppress(queue.Empty):
                    line = self._waiting.get(timeout=0 if self._over.is_set() else _REFRESH_SECONDS)
                    self._console.print(line, markup=False, highlight=False, soft_wrap=True)
                self._live.refresh()

    def _lines(self) -> Group:
        return Group(*(figures(facts, name, self._hide) for name, facts in self._look().items()))


def figures(facts: Mapping[str, Any], name: str = "", hide: Callable[[str], str] = mask) -> Text:
    """One camera's line.

    Args:
        facts: as Status.as_dict gives them; what is missing is left out.
        name: of the camera.
        hide: takes secrets out.
    """
    healthy, connected = facts.get("healthy"), facts.get("connected")
    state, colour = ("live", "green") if healthy else ("starting", "yellow") if connected else ("no camera", "red")
    line = Text(no_wrap=True, overflow="ellipsis")
    if name:
        line.append(f"{name} ", "bold")
    line.append(state, colour)
    line.append(f"  {clock_time(facts.get('uptime_s', 0.0))}")
    if facts.get("fps_out") is not None:
        line.append(f"  {_number(facts.get('fps_in'))} > {_number(facts['fps_out'])} fps")
    if facts.get("latency_ms_p50") is not None:
        line.append(f"  {facts['latency_ms_p50']:.0f} ms (p99 {facts['latency_ms_p99']:.0f})")
    line.append(f"  {sum(facts.get('dropped', {}).values())} dropped")
    for output in facts.get("outputs", ()):
        word, colour = _MARKS.get(output["state"], (output["state"], ""))
        line.append(f"  {one_line(hide(output['name']))} ")
        line.append(word, colour)
    return line


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
