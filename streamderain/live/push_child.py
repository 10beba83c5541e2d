"""A pushing process as its parent sees it: started, fed, listened to, killed. A door to PyAV."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import Any

import av

from streamderain.live.coded import Coded
from streamderain.live.segment import packet_of, streams_like
from streamderain.live.spawn import python

_GROUPS = hasattr(os, "killpg")


class PushChild:
    """A pushing process and what it says.

    Attributes:
        ready: it wants packets.
        working: its peer takes them.
        changed: set when it says something or ends.
    """

    def __init__(self) -> None:
        self.ready = self.working = False
        self.changed = threading.Event()
        self._error = ""
        self._process = subprocess.Popen(
            python("-m", "streamderain.live.pusher"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            start_new_session=_GROUPS,  # Ctrl-C is for us; and a whole group can be killed
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, name="push says", daemon=True)
        self._listener.start()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def send(self, data: bytes) -> None:
        """Hand over some bytes; waits while its pipe is full, until `kill`.

        Raises:
            OSError: it has ended.
        """
        assert self._process.stdin is not None
        rest = memoryview(data)
        while rest:
            rest = rest[self._process.stdin.write(rest) :]

    def kill(self, reason: str) -> None:
        """End it and what it started, at once; any thread may."""
        self._error = self._error or reason
        if self.over:
            return
        with suppress(ProcessLookupError, PermissionError):
            if _GROUPS:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def finish(self, seconds: float) -> str:
        """Let it end in order, kill it after the seconds, and release everything; why it ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill("it did not end in time")
            code = self._process.wait()
        self._listener.join(1.0)
        self._process.stdout.close()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return self._error or f"its process ended {how}"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):
                said = json.loads(line)
                self.ready, self.working = self.ready or "ready" in said, self.working or "working" in said
                self._error = self._error or said.get("error", "")
            self.changed.set()
        self.changed.set()


def model_of(first: Coded) -> bytes:
    """A small file (NUT) with streams like a key frame's tracks, for a process that knows nothing of them."""
    parts: list[bytes] = []
    container: Any = av.open(_Parts(parts), "w", format="nut")
    streams = streams_like(container, first)
    container.mux_one(packet_of(first, streams[True], first.seconds))
    container.close()
    return b"".join(parts)


class _Parts:
    """Only write()."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)
