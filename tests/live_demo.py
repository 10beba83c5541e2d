"""A live page to look at: the sample clip or any source, with a median of three frames in place of the network.

    python tests/live_demo.py --port 8090
    python tests/live_demo.py --port 8090 --lose 20    # every so many seconds the camera is lost for five

`feeding` is for tests that want a page with pictures in it.
"""
from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from streamderain.live.address import Address
from streamderain.live.connection import Wish
from streamderain.live.controls import Controls, Settings
from streamderain.live.moments import SessionInfo, Shown
from streamderain.live.page import Page
from streamderain.live.receiver import Receiver
from streamderain.live.stand_in import stand_in
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "rain.mp4"
_LOST_SECONDS = 5.0


class Median:
    """The median of three frames: takes streaks away, and smears what moves; good enough to look at a page."""

    def __init__(self):
        self._past = []

    def __call__(self, frame, strength):
        planes = tuple(plane.copy() for plane in frame.planes)
        alike = [past for past in self._past if past[0].shape == planes[0].shape]
        self._past = [*alike, planes][-2:]
        if len(alike) < 2:
            return frame
        after = []
        for index, plane in enumerate(planes):
            middle = np.sort(np.stack([alike[0][index], alike[1][index], plane]), axis=0)[1]
            share = (plane.astype(np.float32) - middle) * strength
            after.append(np.clip(plane - np.rint(share), 0, np.iinfo(plane.dtype).max).astype(plane.dtype))
        return frame.with_planes(tuple(after))


class Feed:
    """Shows a source on a page until it is closed; a camera is lost now and then where that is wished for."""

    def __init__(self, page, status, controls, source, lose=0.0):
        self._page, self._status, self._controls, self._lose = page, status, controls, lose
        self._camera = Receiver(
            Address(source), Wish(pace=True, loop=True), status=status, clock=MONOTONIC, on_sound=lambda sound: None
        )
        self._stop = threading.Event()
        self._account = status.add_output("record garden.mkv")
        status.add_output("push rtsp://***@recorder/garden").detail = "refused, tried again in 10 s"
        self._account.state = "working"
        self._thread = threading.Thread(target=self._work, name="feed", daemon=True)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join(10)
        self._camera.close()

    def _work(self):
        self._camera.start()
        derain, last, lost_at = Median(), None, MONOTONIC.now() + (self._lose or 1e9)
        self._status.describe_network(profile="tiny", scale=1, device="cpu", backend="eager", precision="bf16")
        while not self._stop.is_set():
            captured = self._camera.newest(0.2)
            now = MONOTONIC.now()
            if now > lost_at + _LOST_SECONDS:
                lost_at = now + self._lose
                self._status.opened(SessionInfo(2, 640, 480, None, "h264", "yuv420p"))
                self._status.tell("connected", "the camera is back")
            if now > lost_at:
                if self._status.connected:
                    self._status.lost_camera()
                    self._status.tell("lost", "the camera says nothing any more; it is tried again")
                frame = stand_in(last, now - lost_at)
                if frame is not None:
                    self._page.show(Shown(frame, frame, now, live=False))
                    self._status.stood_in()
                self._stop.wait(0.2)
                continue
            if captured is not None:
                last = self._show(captured, derain)

    def _show(self, captured, derain):
        settings = self._controls.settings
        after = derain(captured.frame, settings.strength)
        self._page.show(Shown(captured.frame, after, captured.at))
        self._status.left(captured.at)
        self._status.describe_network(strength=settings.strength, ms=round(random.uniform(20, 30), 1))
        self._account.taken += 1
        if self._controls.take_snapshots():
            self._status.tell("snapshot", "snapshot snapshots/garden-2026-01-01T12-00-00Z.png")
        return after


@contextmanager
def feeding(*, host="127.0.0.1", port=0, token=None, source=str(SAMPLE), lose=0.0, name=""):
    """A page with moving pictures; gives it, its Status and its Controls."""
    status = Status(str(Address(source)))
    controls = Controls(Settings(), ("auto", "tiny", "realtime"))
    page = Page(host, port, token=token, status=status, controls=controls, name=name)
    feed = Feed(page, status, controls, source, lose)
    try:
        yield page, status, controls
    finally:
        feed.close()
        page.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--port", type=int, default=8090)
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--token")
    arguments.add_argument("--source", default=str(SAMPLE), help="a file, an address or testsrc=640x480@25")
    arguments.add_argument("--lose", type=float, default=0.0, metavar="SECONDS")
    arguments.add_argument("--name", default="")
    given, stop = arguments.parse_args(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    options = {key: getattr(given, key) for key in ("host", "port", "token", "source", "lose", "name")}
    with suppress(KeyboardInterrupt), feeding(**options) as (page, _, _):
        sys.stderr.write(f"{page.url}\n")
        stop.wait()


if __name__ == "__main__":
    main()
