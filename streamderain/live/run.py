"""A live run: the newest frame from the camera, derained, to every output, within a bounded time, for ever."""
from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from streamderain.frame import Frame, on_host
from streamderain.live.controls import Controls
from streamderain.live.ladder import PASSING, Ladder, Tally
from streamderain.live.moments import Captured, Output, Shown
from streamderain.live.networks import Networks
from streamderain.live.side_by_side import SideBySide
from streamderain.live.stand_in import stand_in
from streamderain.live.status import Status
from streamderain.live.timing import LIVE_UNIT, MONOTONIC, Clock

STAND_IN_SECONDS = 0.2
_STALLED_SECONDS = 3.0
_MOST_FAILURES = 3  # of the network, one after the other
_CLOSE_SECONDS = 10.0
_PUMP_SECONDS = 0.02  # 50 pictures a second are enough for a window
_WATCH_SECONDS = 0.2


class Camera(Protocol):
    """What a run has its frames from: a Receiver."""

    connected: bool

    def start(self) -> None:
        """Begin to connect."""

    def newest(self, seconds: float) -> Captured | None:
        """The newest frame that was not given yet; waits for one so long at most, and not beyond a call of wake."""

    def wake(self) -> None:
        """Let `newest` not wait, now or when it is next called; any thread may call it."""

    def close(self) -> None:
        """End the connection and its thread."""


class LiveRun:
    """Derains a camera until it is closed. One thread looks at frames and shows them; nothing but frames blocks it.

    Args:
        camera: started when the network is ready, closed at the end.
        outputs: every one gets every picture; closed at the end.
        networks: what can derain.
        controls: looked at before every frame.
        status: told everything.
        max_latency_s: a frame older than this when it would be shown is dropped and counted.
        clock: where all time comes from.

    Attributes:
        over: set when the run has ended by itself, which it does only by failing.
        failure: what ended it.
    """

    def __init__(
        self,
        camera: Camera,
        outputs: Sequence[Output],
        networks: Networks,
        *,
        controls: Controls,
        status: Status,
        max_latency_s: float = 0.5,
        clock: Clock = MONOTONIC,
    ) -> None:
        self.camera, self.outputs, self.status = camera, list(outputs), status
        self.over = threading.Event()
        self.failure: BaseException | None = None
        self._networks, self._controls, self._clock = networks, controls, clock
        self._max_latency = max_latency_s
        self._ladder = Ladder(networks.rungs, networks.start, max_latency_s)
        self._rung = PASSING
        self._under_way = SideBySide(None, camera.wake, clock)
        self._session = 0
        self._busy = 0.0
        self._failures = 0
        self._last: Frame | None = None
        self._last_live = clock.now()
        self._pts = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="derain", daemon=True)

    def start(self) -> None:
        """Begin; frames come when the network is loaded and the camera connected."""
        self._thread.start()

    def close(self) -> None:
        """End in bounded time: the camera first, then every output, which completes what it writes."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)
        ends: list[Camera | Output] = [self.camera, *self.outputs]
        for end in ends:
            try:
                end.close()
            except Exception as error:  # the other outputs must be completed all the same
                self.status.tell("error", f"{getattr(end, 'name', 'the camera')} did not close in order: {error}")

    def _work(self) -> None:
        try:
            self._ladder.follow(self._controls.settings.profile)
            self._take_rung()
            self._networks.warm_up(self._ladder.rung)
            self.camera.start()
            while not self._stop.is_set():
                self._step()
            self._drain()
        except BaseException as error:  # a thread has no caller; whoever watches `over` raises it
            self.failure = error
        finally:
            self.over.set()
            self._under_way.close()

    def _step(self) -> None:
        """What comes first: a frame that is done, the camera's next one, or a stand-in for it."""
        if self._under_way.due:
            return self._finish()
        captured = self.camera.newest(STAND_IN_SECONDS)
        if captured is not None:
            self._captured(captured)
        elif self._forsaken() and not self._stop.is_set():
            self._stand_in()
        return None

    def _forsaken(self) -> bool:
        """Whether the camera is gone, or hangs in a driver that never says so, and all it gave was shown."""
        gone = not self.camera.connected or self._clock.now() - self._last_live > _STALLED_SECONDS
        return gone and not self._under_way

    def _captured(self, captured: Captured) -> None:
        if captured.session != self._session:
            self._session = captured.session
            self._begin()
        settings = self._controls.settings
        if self._ladder.follow(settings.profile):
            self._take_rung()
        if self._clock.now() - captured.at > self._max_latency:
            self.status.drop("late")
            return self._stand_in() if self._forsaken() else None  # the outputs must not starve
        self.status.describe_network(strength=settings.strength)
        return self._under_way.begin(captured, settings.strength, hurried=captured.at < self._last_live)

    def _drain(self) -> None:
        """Show what is under way before anything changes: it keeps its order, network and past."""
        while self._under_way:
            self._finish()

    def _finish(self) -> None:
        """Wait for the oldest frame under way, show it, and look at how the run goes."""
        done = self._under_way.oldest()
        captured, before, after = done.captured, done.captured.frame, done.after
        if done.error is not None:
            self._failed(done.error)
        elif after is not before:
            self._failures = 0
        if after is before:
            before = after = on_host(before)
        self._busy += done.busy
        self.status.describe_network(ms=round(1000 * done.seconds, 1))
        now = self._clock.now()
        if now - captured.at > self._max_latency:
            self.status.drop("late")
        else:
            self._show(Shown(before, after, captured.at))
            self.status.left(captured.at)
        self._last, self._last_live = after, now
        # what a former network took says nothing of the one that the ladder has chosen since
        if self._rung is self._ladder.rung and self._ladder.judge(self._tally(), done.seconds):
            self._take_rung()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            raise error
        self.status.tell("error", f"a frame could not be derained ({error}); it is shown as it came")

    def _show(self, shown: Shown) -> None:
        pts = shown.after.pts or 0
        if pts <= self._pts:  # a stand-in was a tick ahead of the camera that came back
            pts = self._pts + 1
            before, after = (replace(frame, pts=pts) for frame in (shown.before, shown.after))
            shown = replace(shown, before=before, after=before if shown.after is shown.before else after)
        self._pts = pts
        for output in self.outputs:
            output.show(shown)

    def _stand_in(self) -> None:
        now = self._clock.now()
        frame = stand_in(self._last, now - self._last_live)
        if frame is None:
            return
        frame = replace(frame, pts=round((now - self.status.began) / LIVE_UNIT), time_base=LIVE_UNIT)
        self._show(Shown(frame, frame, now, live=False))
        self.status.stood_in()

    def _begin(self) -> None:
        """A new connection: the past is another stream's."""
        self._drain()
        self._under_way.reset()
        self._ladder.begin(self._tally())

    def _take_rung(self) -> None:
        """Load the network of the present rung, and say what derains now."""
        self._drain()
        rung, known = self._ladder.rung, self.status.network
        try:
            derainer = None if rung is PASSING else self._networks.take(rung)
        except Exception as error:  # the memory of a device that others use too; the camera goes on as it is
            if not known:
                raise
            self._ladder.refuse(self._rung, self._tally())
            self.status.tell("error", f"{rung} cannot be had now ({error}); {self._rung} goes on")
            return
        self._under_way.close()
        self._rung, self._under_way = rung, SideBySide(derainer, self.camera.wake, self._clock)
        if known and (known["profile"], known["scale"]) != (rung.profile, rung.scale):
            line = f"now {rung}: {self._ladder.reason}"
            if rung is PASSING:
                line = f"frames pass with their rain: {self._ladder.reason}; give the camera a smaller picture"
            self.status.tell("profile", line)
        facts = {name: getattr(derainer, name, "") for name in ("device", "backend", "precision")}
        self.status.describe_network(profile=rung.profile, scale=rung.scale, **facts)
        self._ladder.begin(self._tally())

    def _tally(self) -> Tally:
        lost = self.status.lost
        return Tally(self._clock.now(), self.status.frames_out, lost["newer"] + lost["late"], self._busy)


def watch(run: LiveRun, stop: threading.Event, pump: Callable[[], bool] | None = None) -> None:
    """Keep the calling thread, the only one that may draw windows, until the run is over, stopped or its window closed.

    Args:
        run: started here and closed here.
        stop: ends it when set.
        pump: draws the window; False when the person closes it.

    Raises:
        Whatever ended the run.
    """
    try:
        run.start()
        while not stop.is_set() and not run.over.is_set():
            if pump is not None and not pump():
                break
            stop.wait(_PUMP_SECONDS if pump is not None else _WATCH_SECONDS)
    finally:
        with suppress(KeyboardInterrupt):
            run.close()
    if run.failure is not None:
        raise run.failure
