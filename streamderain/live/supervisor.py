"""One process per camera: begun, listened to, begun again when it ends, and ended in order with this one.

A camera's orders, which hold its passwords, go through the worker's standard input; what it has to say comes back as
JSON lines on its standard output: {"port": N}, {"kind": ..., "text": ...} and every second {"status": {...}}.
"""
from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from streamderain.live.journal import Hide, Teller, hider
from streamderain.live.options import CameraOptions, plain
from streamderain.live.spawn import python
from streamderain.live.timing import MONOTONIC, Clock

MODULE = "streamderain.live.worker"
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
STEADY_SECONDS = 60.0  # after so long a life, the next wait is the first again
SILENT_SECONDS = 60.0  # a worker speaks every second, also while it waits for its camera
STALE_SECONDS = 10.0
CLOSE_SECONDS = 45.0  # a run ends within 10 s, then its outputs complete what they write; workers give up at 40
_WATCH_SECONDS = 1.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def environment(cameras: int, withheld: Iterable[str] = (), cores: int | None = None) -> dict[str, str]:
    """The environment of a worker: its share of the cores, and none of the variables that hold secrets.

    Args:
        cameras: how many share this machine.
        withheld: names of variables that are left out.
        cores: of this machine; None counts those that this process may use.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = {name: str(max(1, cores // cameras)) for name in _THREADS}
    hidden = set(withheld)
    return {**share, "OMP_WAIT_POLICY": "PASSIVE", **{k: v for k, v in os.environ.items() if k not in hidden}}


def how_it_ended(code: int, *, by_us: bool = False) -> str:
    """A process's exit code in words, with the signal's name.

    Args:
        code: as Popen gives it, negative for a signal.
        by_us: whether the signal was ours.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (the system does that when memory runs out)" if name == "SIGKILL" and not by_us else ""
    return f"was ended by {name}{hint}"


class Keeper:
    """Keeps one camera's worker alive, in a thread of its own.

    Args:
        name: of the camera.
        options: of the camera.
        environment: of the worker.
        teller: is told what the worker says and what becomes of it.
        clock: for waiting.
        command: starts a worker; tests put their own in its place.

    Attributes:
        token: what the worker's page asks for; nobody else knows it.
        port: of the worker's page on 127.0.0.1, None while there is none.
        restarts: how often it was begun again.
    """

    def __init__(
        self,
        name: str,
        options: CameraOptions,
        environment: Mapping[str, str],
        teller: Teller,
        *,
        clock: Clock = MONOTONIC,
        command: Sequence[str] = (),
    ) -> None:
        self.name, self.token, self.restarts = name, secrets.token_urlsafe(32), 0
        self.port: int | None = None
        self._options, self._environment, self._teller, self._clock = options, dict(environment), teller, clock
        self._command = tuple(command) or python("-m", MODULE)
        self._hide: Hide = hider(options.addresses)
        self._status: dict[str, Any] = {}
        self._heard_at = self._excused_at = clock.now()
        self._process: subprocess.Popen[str] | None = None
        self._killed = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"keeper {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the worker's process lives."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def pid(self) -> int | None:
        """Number of the worker's process, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def status(self) -> dict[str, Any]:
        """The newest that the worker told about itself; neither connected nor healthy where that is too long ago."""
        fresh = self.running and self._clock.now() - self._heard_at <= STALE_SECONDS
        known = {"source": str(self._options.source), "healthy": False, "connected": False, **self._status}
        return known if fresh else {**known, "healthy": False, "connected": False}

    def watch(self) -> None:
        """End a worker that says nothing any more; it will be begun again."""
        if self.running and self._clock.now() - max(self._heard_at, self._excused_at) > SILENT_SECONDS:
            self._tell("worker", f"its process said nothing for {SILENT_SECONDS:.0f} s and is ended")
            self._heard_at = self._clock.now()
            self._kill()

    def excuse(self) -> None:
        """Its silence up to now is not its fault."""
        self._excused_at = self._clock.now()

    def ask_to_end(self) -> None:
        """Let the worker complete its outputs and end; `close` waits for it."""
        with self._lock:
            self._stop.set()
            if self._process is not None and self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()

    def close(self, seconds: float) -> None:
        """End it, by force after the seconds."""
        self.ask_to_end()
        if self._thread.ident is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._tell("worker", f"its process did not end within {seconds:.0f} s and is killed")
            self._kill()
            self._thread.join(5.0)

    def _work(self) -> None:
        wait = FIRST_WAIT_S
        while not self._stop.is_set():
            began = self._clock.now()
            code = self._one_life()
            self.port = None
            self._status |= {"healthy": False, "connected": False}  # the next life begins without a camera
            if self._stop.is_set():
                return
            if self._clock.now() - began >= STEADY_SECONDS:
                wait = FIRST_WAIT_S
            how = how_it_ended(code, by_us=self._killed)
            self._tell("worker", f"its process {how}; it starts again in {wait:.0f} s")
            self._clock.wait(self._stop, wait)
            wait = min(2 * wait, LONGEST_WAIT_S)
            self.restarts += 1

    def _one_life(self) -> int:
        with self._lock:
            if self._stop.is_set():
                return 0
            self._heard_at, self._killed = self._clock.now(), False
            try:
                process = self._process = self._spawn()
            except OSError as error:  # no memory or no processes left: may be better later
                self._tell("error", f"its process does not start ({error.strerror})")
                return 1
        assert process.stdout is not None and process.stderr is not None
        threading.Thread(target=self._complaints, args=(process.stderr,), name="complaints", daemon=True).start()
        self._order(process)
        for line in process.stdout:
            self._heard(line)
        process.stdout.close()
        return process.wait()

    def _spawn(self) -> subprocess.Popen[str]:
        # in a session of its own, a Ctrl-C at the terminal reaches this process only, which then ends all in order
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._environment,
            start_new_session=True, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def _order(self, process: subprocess.Popen[str]) -> None:
        orders = {"name": self.name, "token": self.token, "camera": plain(self._options)}
        assert process.stdin is not None
        with suppress(OSError, ValueError):  # it is gone already, or was asked to end meanwhile
            process.stdin.write(json.dumps(orders) + "\n")
            process.stdin.flush()

    def _heard(self, line: str) -> None:
        try:
            told = json.loads(line)
            self._heard_at = self._clock.now()
            if "port" in told:
                self.port = int(told["port"])
            if "status" in told:
                self._status = dict(told["status"])
            if "text" in told:
                self._tell(str(told["kind"]), str(told["text"]))
        except (ValueError, TypeError, KeyError):
            self._tell("worker", f"its process said something that is not understood: {line[:200]}")

    def _complaints(self, stderr: IO[str]) -> None:
        """What the worker writes beside its protocol: tracebacks of bugs, words of libraries."""
        with suppress(OSError, ValueError), stderr:
            for line in stderr:
                if line.strip():
                    self._tell("stderr", line.rstrip())

    def _tell(self, kind: str, text: str) -> None:
        self._teller.event(kind, self._hide(text), self.name)

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            self._killed = True
            with suppress(OSError):
                process.kill()


class Supervisor:
    """All cameras of a configuration.

    Args:
        cameras: by name.
        teller: see Keeper.
        withheld: see environment.
        clock: see Keeper.
        command: see Keeper.

    Attributes:
        keepers: by name, in the order of the cameras.
    """

    def __init__(
        self,
        cameras: Mapping[str, CameraOptions],
        teller: Teller,
        *,
        withheld: Iterable[str] = (),
        clock: Clock = MONOTONIC,
        command: Sequence[str] = (),
    ) -> None:
        shared = environment(len(cameras), withheld)
        self.keepers = {
            name: Keeper(name, options, shared, teller, clock=clock, command=command)
            for name, options in cameras.items()
        }
        self._clock = clock

    def run(self, stop: threading.Event, ending: Callable[[], None] = lambda: None) -> None:
        """Keep them all alive until `stop` is set, then call `ending` and end them in order."""
        try:
            for keeper in self.keepers.values():
                keeper.start()
            looked = self._clock.now()
            while not self._clock.wait(stop, _WATCH_SECONDS):
                now = self._clock.now()
                slept, looked = now - looked > STALE_SECONDS, now  # this process was stopped, or the whole machine
                for keeper in self.keepers.values():
                    keeper.excuse() if slept else keeper.watch()
            ending()
        finally:
            self.close()

    def close(self) -> None:
        """Let all complete what they write, at the same time, and end those by force that take too long."""
        for keeper in self.keepers.values():
            keeper.ask_to_end()
        deadline = self._clock.now() + CLOSE_SECONDS
        for keeper in self.keepers.values():
            keeper.close(max(0.1, deadline - self._clock.now()))
