"""The process of one supervised camera: orders come by standard input, a report goes out as JSON lines.

See supervisor.py for the lines. It ends in order when its standard input does, which is also when its parent died.
"""
from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from streamderain.errors import DerainError
from streamderain.live.journal import every, hider, take_logging
from streamderain.live.options import PageOptions, camera_options
from streamderain.live.status import Status

_REPORT_SECONDS = 1.0
_END_SECONDS = 40.0  # from the end of standard input until the process ends, orderly or not


class Report:
    """A Teller that writes lines for the parent; who is gone is not told, and notices by himself."""

    def __init__(self, descriptor: int) -> None:
        self._out, self._lock = os.fdopen(descriptor, "w", encoding="utf-8"), threading.Lock()

    def send(self, **values: Any) -> None:
        """One line."""
        with self._lock:
            try:
                self._out.write(json.dumps(values) + "\n")
                self._out.flush()
            except (OSError, ValueError):
                return  # standard input ends as well, and that ends the run

    def say(self, line: str, camera: str = "") -> None:
        """See Teller."""
        self.send(kind="note", text=line)

    def event(self, kind: str, text: str, camera: str = "") -> None:
        """See Teller."""
        self.send(kind=kind, text=text)

    def status(self, facts: Mapping[str, Any], camera: str = "") -> None:
        """See Teller."""
        self.send(status=facts)


def main() -> int:
    """Run one camera until told to end; returns the exit code."""
    report, stop = Report(_own_stdout()), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    orders = json.loads(sys.stdin.buffer.readline() or "{}")
    if not orders:
        return 0  # the parent is gone already
    threading.Thread(target=_until_input_ends, args=(stop,), name="orders", daemon=True).start()
    try:
        return _work(orders, report, stop)
    except DerainError as error:
        report.event("error", str(error))
        return error.exit_code


def _work(orders: Mapping[str, Any], report: Report, stop: threading.Event) -> int:
    camera = camera_options(orders["camera"])
    hide = hider(camera.addresses, [orders["token"]])
    take_logging(report, hide)
    status = Status(str(camera.source))
    status.on_event(lambda event: report.event(event.kind, hide(event.text)))
    every(_REPORT_SECONDS, lambda: report.status(status.as_dict()), stop, name="report")  # while libraries load, too
    from streamderain.live.assemble import assemble

    live = assemble(camera, PageOptions(port=0, token=orders["token"]), status=status, name=orders["name"])
    assert live.page is not None
    report.send(port=live.page.port)
    live.announce(report.say, stop, page=False)  # ours is behind the overview's
    live.watch(stop)
    report.status(status.as_dict())
    return 0


def _own_stdout() -> int:
    """A descriptor for the report that no library and no child writes to: their standard output is our stderr."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def _until_input_ends(stop: threading.Event) -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    stop.set()
    threading.Event().wait(_END_SECONDS)
    os._exit(1)  # something hangs; without a parent nobody else would end it


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # all outputs are complete; a library's thread that hangs must not keep the process
