"""The command `streamderain camera` as a process, for tests that need it whole."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress

import psutil


class Running:
    """A process whose lines on stderr are kept as they come; ended for good at the end of the `with` block."""

    def __init__(self, *arguments, env=None, cwd=None, log="json"):
        command = [sys.executable, "-m", "streamderain", "camera", *map(str, arguments), "--log", log]
        kept = {name: value for name, value in os.environ.items() if name != "STREAMDERAIN_TOKEN"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=kept | (env or {}), cwd=cwd,
        )  # fmt: skip
        self.lines = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        everybody = self.family()
        for process in everybody:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)
        self._reader.join(30)
        self.process.stdout.close()

    @property
    def text(self):
        return "\n".join(self.lines)

    def family(self):
        """The process and all that it started, as far as they live."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def workers(self):
        """Process numbers of the supervised cameras."""
        found = set()
        for child in self.family()[1:]:
            with suppress(psutil.NoSuchProcess):
                if "streamderain.live.worker" in child.cmdline():
                    found.add(child.pid)
        return found

    def wait_for(self, part, *, count=1, seconds=120):
        """Wait until a part stands in so many lines; the last of them."""
        with self._more:
            found = self._more.wait_for(lambda: self._matches(part, count) or self._over(), seconds)
            assert found and self._matches(part, count), f"no {part!r} in:\n{self.text}"
            return self._matches(part, count)[-1]

    def _matches(self, part, count):
        found = [line for line in self.lines if re.search(part, line)]
        return found if len(found) >= count else []

    def _over(self):
        return self.process.poll() is not None and not self._reader.is_alive()

    def end(self, number=signal.SIGTERM, seconds=60):
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds=120):
        """Wait for the end; the exit code."""
        code = self.process.wait(seconds)
        self._reader.join(30)
        return code

    def url(self):
        """Of the page, once it is told."""
        return re.search(r"http://127\.0\.0\.1:\d+/", self.wait_for(r"http://127\.0\.0\.1:\d+/"))[0]

    def status(self, camera=""):
        """The last status line of a camera."""
        told = [json.loads(line) for line in self.lines if line.startswith("{") and '"event": "status"' in line]
        return [each for each in told if each["camera"] == camera][-1]


def get(url, **headers):
    """Status and body of a page; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def until(condition, seconds=120):
    """Wait for something to become true; what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
    return found
