"""Stays connected to a camera for ever, and keeps only its newest frame."""
from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamderain.containers import planar_name
from streamderain.frame import Frame
from streamderain.live.address import Address
from streamderain.live.backoff import Backoff
from streamderain.live.cameras import is_local, open_camera
from streamderain.live.connection import CameraError, Connection, Heard, Picture, Wish
from streamderain.live.moments import Captured, SessionInfo, Sound
from streamderain.live.status import Status
from streamderain.live.timeline import Timeline
from streamderain.live.timing import LIVE_UNIT, MONOTONIC, Clock

LAG_SECONDS = 0.25  # a decoder this far behind, for a second and not just after a hiccup, decodes key frames only
_LAGGING_SECONDS, _HURRIED_SECONDS = 1.0, 3.0
_CAUGHT_UP_SECONDS = 0.2  # key frames are large and travel longer than others
_STALE_SECONDS = 10.0  # sound alone, or pieces that never make a picture, are no camera
_STEADY_SECONDS = 5.0  # a connection that stood so long was a good one
_REMIND_SECONDS = 60.0
_CLOSE_SECONDS = 6.0  # connecting and reading have time-outs of two seconds

Open = Callable[[Address, Wish, Clock], Connection]


class Receiver:
    """A thread that connects, reads and connects again.

    Args:
        address: see open_camera.
        wish: see Wish.
        status: counts and tells everything; its `began` is where the run's time begins.
        clock: the run's.
        on_sound: called with every piece of sound, in the receiver's thread.
        lag_seconds: pictures older than this are late ones; a run that drops earlier says so here.
        open: opens a connection; tests put their own in its place.

    Attributes:
        connected: a connection stands and has given a frame.
    """

    def __init__(
        self,
        address: Address,
        wish: Wish,
        *,
        status: Status,
        clock: Clock = MONOTONIC,
        on_sound: Callable[[Sound], None] = lambda sound: None,
        lag_seconds: float = LAG_SECONDS,
        open: Open = open_camera,
    ) -> None:
        self.connected = False
        self._address, self._wish, self._status, self._clock = address, wish, status, clock
        self._on_sound, self._open, self._lag = on_sound, open, lag_seconds
        self._timeline = Timeline(status.began)
        self._backoff = Backoff()
        self._session = 0
        self._lost_since = self._since = self._last_picture = clock.now()
        self._told: dict[str, float] = {}  # when each kind of trouble was told
        self._late_since: float | None = None
        self._hurried_since: float | None = None
        self._kind: tuple[Any, ...] = ()
        self._closing = threading.Event()
        self._fresh = threading.Condition()
        self._newest: Captured | None = None
        self._woken = False
        self._first: Connection | None = None
        self._thread = threading.Thread(target=self._work, name="receive", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            CameraError: a camera or file of this machine is not there; a network camera is waited for.
        """
        if is_local(self._address):
            self._first = self._open(self._address, self._wish, self._clock)
        self._thread.start()

    def newest(self, seconds: float) -> Captured | None:
        """The newest frame that was not given yet, waiting so long for one; None where none came, or after wake."""
        with self._fresh:
            if self._newest is None and not self._woken:
                self._fresh.wait(seconds)
            captured, self._newest, self._woken = self._newest, None, False
            return captured

    def wake(self) -> None:
        """Let `newest` not wait, or no longer: now, or when it is next called. Any thread may call it."""
        with self._fresh:
            self._woken = True
            self._fresh.notify()

    def close(self) -> None:
        """End the connection and the thread; a thread that hangs in a system call is left to it."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                connection, self._first = self._first or self._open(self._address, self._wish, self._clock), None
                self._read(connection)
            except CameraError as error:
                self._lost(error)
            except Exception as error:  # a camera must not be able to end this thread, whatever it sends
                self._lost(CameraError(f"{self._address}: {self._address.hide(repr(error))}", "unreachable"))

    def _read(self, connection: Connection) -> None:
        try:
            if self._closing.is_set():
                return
            self._timeline.begin()
            self._late_since = self._hurried_since = None
            self._last_picture, self._kind = self._clock.now(), ()
            damaged = skipped = 0
            for arrival in connection:
                if self._closing.is_set():
                    return
                damaged = self._count("corrupt", connection.damaged, damaged)
                skipped = self._count("late", connection.skipped, skipped)
                if isinstance(arrival, Picture):
                    self._picture(arrival, connection)
                elif arrival is not None:
                    self._heard(arrival)
                self._check(self._clock.now())
        finally:
            connection.close()

    def _count(self, why: Any, total: int, before: int) -> int:
        for _ in range(total - before):
            self._status.came()
            self._status.drop(why)
        return total

    def _begin(self, info: SessionInfo, frame: Frame) -> None:
        """The first frame, or the first of another size: what it is decides, whatever the container said."""
        self._session += 1
        name = planar_name(frame.format)
        info = replace(info, number=self._session, width=frame.width, height=frame.height, pixel_format=name)
        if not self._kind:
            self._since = self._clock.now()
        self.connected = True
        self._wish = replace(self._wish, growing=self._wish.growing or info.growing)
        self._told.clear()
        self._status.opened(info)
        rate = f", {float(info.rate):.3g} fps" if info.rate else ""
        self._status.tell("connected", f"{self._address}: {info.width}x{info.height} {info.codec}{rate}")

    def _picture(self, arrival: Picture, connection: Connection) -> None:
        kind = arrival.frame.width, arrival.frame.height, arrival.frame.format
        if kind != self._kind:  # a camera may change its mind without hanging up
            self._begin(connection.info, arrival.frame)
            self._kind = kind
        now, jumps = self._clock.now(), self._timeline.discontinuities
        self._last_picture = now
        pts, at = self._timeline.stamp(arrival.own, now)
        if self._timeline.discontinuities > jumps:
            self._tell("discontinuity", f"{self._address}: its clock jumped; frames go on without a gap", now)
        self._status.came()
        self._keep_up(now, now - at, connection)
        frame = replace(arrival.frame, pts=pts, time_base=LIVE_UNIT)
        with self._fresh:
            if self._newest is not None:
                self._status.drop("newer")
            self._newest = Captured(frame, at, self._session)
            self._fresh.notify()

    def _keep_up(self, now: float, age: float, connection: Connection) -> None:
        if age <= self._lag:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        if self._hurried_since is None and self._late_since is not None and now - self._late_since > _LAGGING_SECONDS:
            self._hurried_since = now
            connection.hurry(True)
            self._tell("late", f"{self._address}: pictures come late, so that some are left out to catch up", now)
        elif self._hurried_since is not None and age < _CAUGHT_UP_SECONDS:
            self._hurried_since = self._late_since = None
            connection.hurry(False)

    def _check(self, now: float) -> None:
        if now - self._last_picture > _STALE_SECONDS:
            raise CameraError(f"{self._address} sends no picture any more; check the camera", "ended")
        if self._hurried_since is not None and now - self._hurried_since > _HURRIED_SECONDS:
            advice = "give the camera a lower bit rate"  # what waits on the way goes with the connection
            raise CameraError(f"{self._address} falls behind and is connected anew; {advice}", "ended")

    def _heard(self, arrival: Heard) -> None:
        if self._kind:  # before the first picture there is no line of time for it
            pts = self._timeline.place(arrival.own)
            self._on_sound(Sound(arrival.samples, arrival.rate, pts, self._session))

    def _lost(self, error: CameraError) -> None:
        """Count it, say it once, wait, so that the loop can try again."""
        if self._closing.is_set():
            return
        now = self._clock.now()
        if self.connected:
            self.connected, self._lost_since = False, now
            if now - self._since >= _STEADY_SECONDS:  # one that hangs up at once is asked once a second
                self._backoff.reset()
            self._status.lost_camera()
            self._tell("lost", str(error), now)
        else:
            self._status.failed_to_connect()
            self._tell(error.trouble, str(error), now)
        wait = self._backoff.seconds(now - self._lost_since, refused=error.trouble == "refused")
        self._clock.wait(self._closing, wait)

    def _tell(self, kind: str, line: str, now: float) -> None:
        if now - self._told.get(kind, float("-inf")) < _REMIND_SECONDS:
            return
        self._told[kind] = now
        self._status.tell(kind, line)
