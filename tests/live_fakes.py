"""What live tests put in place of time, a camera, a network and an output."""
from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

import numpy as np

from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame
from streamderain.live.moments import Captured, Shown
from streamderain.live.timing import LIVE_UNIT

YUV420 = PixelFormat("yuv", 8, (1, 1))


class FakeClock:
    """Time that passes only when a test says so, or when somebody waits."""

    def __init__(self, now=1000.0):
        self._now = now

    def now(self):
        return self._now

    def wait(self, event, seconds):
        if not event.is_set():
            self.advance(max(0.0, seconds))
        return event.is_set()

    def advance(self, seconds):
        self._now += seconds


def make_frame(number=0, *, width=32, height=24, level=None, **options):
    """A grey frame whose brightness tells its number."""
    luma = np.full((height, width), 40 + number % 180 if level is None else level, np.uint8)
    chroma = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
    return Frame((luma, chroma, chroma.copy()), YUV420, pts=number * 3600, time_base=LIVE_UNIT, **options)


def shown(number=0, *, at=0.0, live=True, **options):
    """A picture with five grey levels of rain."""
    before = make_frame(number, **options)
    after = before.with_planes((before.planes[0] - 5, *before.planes[1:]))
    return Shown(before, after, at, live)


class FakeCamera:
    """Gives what a test lines up: Captured, an exception, or a function that is called first."""

    def __init__(self, clock, moments=()):
        self.clock, self.moments = clock, deque(moments)
        self.connected = True
        self.started = self.closed = False
        self.empty = threading.Event()
        self.woken = 0

    def wake(self):
        self.woken += 1

    def start(self):
        self.started = True

    def newest(self, seconds):
        if not self.moments:
            self.empty.set()
            self.clock.advance(seconds)
            threading.Event().wait(0.002)
            return None
        moment = self.moments.popleft()
        if isinstance(moment, Exception):
            raise moment
        if callable(moment):
            return moment()
        return moment

    def close(self):
        self.closed = True


def captured(number, clock, *, age=0.0, session=1, **options):
    """What a camera gives now: taken `age` seconds ago."""
    return Captured(make_frame(number, **options), clock.now() - age, session)


class FakeOutput:
    """Keeps what it gets; may refuse to close."""

    name = "fake"

    def __init__(self, trouble=None):
        self.pictures, self.sounds, self.closed = [], [], False
        self.trouble = trouble

    def show(self, picture):
        self.pictures.append(picture)

    def hear(self, sound):
        self.sounds.append(sound)

    def close(self):
        self.closed = True
        if self.trouble:
            raise self.trouble


class FakeNetwork:
    """Darkens by 5; takes the seconds that a test says, by the fake clock."""

    device, backend, precision = "cpu", "fake", "int8"

    def __init__(self, clock, seconds=lambda profile, scale: 0.0, profile="tiny"):
        self.clock, self.seconds, self.profile = clock, seconds, profile
        self.scale, self.strength, self.resets, self.fail, self.seen = 1, 1.0, 0, [], []

    def reset(self):
        self.resets += 1

    def __call__(self, frame):
        self.clock.advance(self.seconds(self.profile, self.scale))
        self.seen.append(frame)
        if self.fail and self.fail.pop(0):
            raise RuntimeError("no such luck")
        return replace(frame, planes=(frame.planes[0] - 5, *frame.planes[1:]))
