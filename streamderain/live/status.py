"""What a live run counts: kept by many threads, read by the page, the metrics and the log."""
from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from streamderain.live.timing import MONOTONIC, Clock

if TYPE_CHECKING:
    from streamderain.live.moments import SessionInfo

Loss = Literal["newer", "late", "corrupt"]
LATENCY_BOUNDS_S = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)
HEALTHY_SECONDS = 5.0
_RECENT_SECONDS = 10.0
_EVENTS_KEPT = 50


@dataclass(slots=True)
class OutputStatus:
    """One output's own account.

    Attributes:
        name: as in Output.
        state: "working", "waiting" (not begun, or trying again) or "failed" for good.
        detail: one line: where it writes, or why it does not; passwords masked.
        taken: pictures it has written.
        dropped: pictures it was too slow for, or had no way to write.
        restarts: times it began anew after a failure.
    """

    name: str
    state: Literal["waiting", "working", "failed"] = "waiting"
    detail: str = ""
    taken: int = 0
    dropped: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person wants to know: seconds on the run's clock, a word for programs, a line for people."""

    at: float
    kind: str
    text: str


@dataclass(slots=True)
class Histogram:
    """Counts per bucket, cumulative only when they are exported; the last count is what lies above all bounds."""

    bounds: tuple[float, ...] = LATENCY_BOUNDS_S
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[sum(value > bound for bound in self.bounds)] += 1
        self.total += value


class Status:
    """Counters, and the little of the recent past that rates and percentiles need; any thread may call any method.

    Args:
        source: what is shown as the source's name, masked.
        clock: of the run.

    Attributes:
        events: the newest last, at most 50.
        outputs: each output's account, in order.
    """

    def __init__(self, source: str = "", clock: Clock = MONOTONIC) -> None:
        self._lock = threading.Lock()
        self._clock, self.source = clock, source
        self.began = clock.now()
        self.frames_in = self.frames_out = self.stand_ins = 0
        self.lost: dict[str, int] = {"newer": 0, "late": 0, "corrupt": 0}
        self.connections = self.failed_connections = self.losses = 0
        self.connected = False
        self.session: SessionInfo | None = None
        self.network: dict[str, Any] = {}
        self.latency = Histogram()
        self.outputs: list[OutputStatus] = []
        self.events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._last_out: float | None = None
        self._arrivals: deque[float] = deque()
        self._departures: deque[tuple[float, float]] = deque()
        self._listeners: list[Any] = []

    def on_event(self, listener: Any) -> None:
        """Call listener(Event) for everything told from now on, in the thread that tells it."""
        self._listeners.append(listener)

    def tell(self, kind: str, text: str) -> None:
        """Something a person wants to know: one line, passwords masked, with what to do where something is wrong."""
        event = Event(self._clock.now(), kind, text)
        with self._lock:
            self.events.append(event)
        for listener in self._listeners:
            listener(event)

    def opened(self, session: SessionInfo) -> None:
        """A connection brings its first frame."""
        with self._lock:
            self.session, self.connected = session, True
            self.connections += 1

    def lost_camera(self) -> None:
        """A connection that stood is gone."""
        with self._lock:
            self.connected = False
            self.losses += 1

    def failed_to_connect(self) -> None:
        """An attempt brought no connection."""
        with self._lock:
            self.failed_connections += 1

    def came(self) -> None:
        """A frame came from the camera, damaged or not."""
        with self._lock:
            self.frames_in += 1
            self._arrivals.append(self._clock.now())
            self._forget()

    def drop(self, why: Loss) -> None:
        """A frame was not shown: a newer one was there, it was too late, or it was damaged."""
        with self._lock:
            self.lost[why] += 1

    def left(self, captured_at: float) -> None:
        """A camera's frame went to the outputs."""
        with self._lock:
            now = self._clock.now()
            self.frames_out += 1
            self._last_out = now
            self.latency.add(now - captured_at)
            self._departures.append((now, now - captured_at))
            self._forget()

    def stood_in(self) -> None:
        """A stand-in went to the outputs."""
        with self._lock:
            self.stand_ins += 1

    def describe_network(self, **facts: Any) -> None:
        """What derains now: profile, device, backend, precision, strength, ms per frame."""
        with self._lock:
            self.network.update(facts)

    def add_output(self, name: str) -> OutputStatus:
        """An account for a new output, which alone writes into it."""
        account = OutputStatus(name)
        with self._lock:
            self.outputs.append(account)
        return account

    @property
    def healthy(self) -> bool:
        """Whether a camera's frame left in the last 5 seconds."""
        return self._last_out is not None and self._clock.now() - self._last_out <= HEALTHY_SECONDS

    def recent(self) -> dict[str, float | None]:
        """Over the last 10 seconds: frames per second in and out, median and 99th percentile of the latency in ms.

        None where nothing is known.
        """
        with self._lock:
            self._forget()
            delays = sorted(delay for _, delay in self._departures)
            outs = [at for at, _ in self._departures]
            ins = list(self._arrivals)
        return {
            "fps_in": _per_second(ins), "fps_out": _per_second(outs),
            "latency_ms_p50": _at(delays, 0.5), "latency_ms_p99": _at(delays, 0.99),
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        recent, now = self.recent(), self._clock.now()
        with self._lock:
            session = self.session
            return {
                "source": self.source,
                "uptime_s": round(now - self.began, 1),
                "connected": self.connected,
                "healthy": self._last_out is not None and now - self._last_out <= HEALTHY_SECONDS,
                "session": None if session is None else {
                    "number": session.number, "width": session.width, "height": session.height,
                    "rate": None if session.rate is None else round(float(session.rate), 3),
                    "codec": session.codec, "pixel_format": session.pixel_format, "sound": session.sound,
                },
                "frames_in": self.frames_in, "frames_out": self.frames_out, "stand_ins": self.stand_ins,
                "dropped": dict(self.lost),
                "connections": self.connections, "failed_connections": self.failed_connections,
                "losses": self.losses, "reconnects": max(0, self.connections - 1),
                "network": dict(self.network),
                **{key: None if value is None else round(value, 1) for key, value in recent.items()},
                "outputs": [
                    {"name": o.name, "state": o.state, "detail": o.detail, "taken": o.taken, "dropped": o.dropped,
                     "restarts": o.restarts} for o in self.outputs
                ],
                "events": [{"ago_s": round(now - e.at, 1), "kind": e.kind, "text": e.text} for e in self.events],
            }  # fmt: skip

    def _forget(self) -> None:
        oldest = self._clock.now() - _RECENT_SECONDS
        while self._arrivals and self._arrivals[0] < oldest:
            self._arrivals.popleft()
        while self._departures and self._departures[0][0] < oldest:
            self._departures.popleft()


def _per_second(times: list[float]) -> float | None:
    """Intervals, not frames, over the time they took."""
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None


def _at(ordered: list[float], share: float) -> float | None:
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
