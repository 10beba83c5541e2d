"""Pushes: the encoded stream sent on to peers, each through a process that can be killed."""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote

from streamderain.errors import DerainError
from streamderain.live.address import Address
from streamderain.live.coded import Coded
from streamderain.live.feed import Feed
from streamderain.live.push_child import PushChild, model_of
from streamderain.live.status import Status
from streamderain.live.timing import LIVE_UNIT, Clock
from streamderain.live.wire import Piece, pack, pack_orders

_FORMATS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv", "udp": "mpegts", "tcp": "mpegts"}
# Receivers need not wait for the next picture to know that one is whole.
_OPTIONS = {
    "rtsp": {"rtsp_transport": "tcp"}, "flv": {"flvflags": "no_duration_filesize"},
    "mpegts": {"omit_video_pes_length": "0", "flush_packets": "1"}, "nut": {"flush_packets": "1"},
}  # fmt: skip
_SRT = "srt"
_SRT_OPEN = {"mode", "latency", "pkt_size", "maxbw", "connect_timeout", "transtype"}  # what may stand in a command line
_UDP_PAYLOAD = 1316  # seven packets of a transport stream

_QUEUE_SECONDS = 2.0
_STALL_SECONDS = 5.0
_CONNECT_SECONDS = 10.0
_END_SECONDS = 2.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
_STEADY_SECONDS = 10.0  # who worked so long is not a peer that comes and goes
_LOOK_SECONDS = 0.1
_BACK = "it works again"
_MOST_TOLD = 10  # kinds of trouble, until it has worked for a while


@dataclass(frozen=True, slots=True)
class Push:
    """Where the stream shall be sent.

    Attributes:
        address: rtsp://, rtsps://, rtmp://, rtmps://, udp://, tcp:// or srt://.

    Raises:
        DerainError: no stream can be sent there.
    """

    address: Address
    orders: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.address.scheme == _SRT:
            orders = _srt_orders(self.address)
        elif self.address.scheme in _FORMATS:
            format = _FORMATS[self.address.scheme]
            orders = {"address": self.address.secret, "format": format, "options": _OPTIONS[format]}
        else:
            known = ", ".join(f"{scheme}://" for scheme in (*_FORMATS, _SRT))
            raise DerainError(f"a stream cannot be pushed to {self.address}; give {known}")
        if self.address.scheme == "udp" and "pkt_size=" not in self.address.secret:
            joint = "&" if "?" in self.address.secret else "?"
            orders["address"] += f"{joint}pkt_size={_UDP_PAYLOAD}"
        object.__setattr__(self, "orders", orders)


def _srt_orders(address: Address) -> dict[str, Any]:
    """SRT goes through a system's ffmpeg; what may be secret travels apart, because commands are public."""
    program = shutil.which("ffmpeg")
    if program is None or not _has_srt(program):
        raise DerainError(f"a push to {address} needs an ffmpeg with SRT; install one (Debian: apt install ffmpeg)")
    place, _, query = address.secret.partition("?")
    if "@" in place:
        raise DerainError(f"{address} names a user, which SRT does not know; give streamid= behind a ?")
    secrets = {}
    open_options = []
    for option in filter(None, query.split("&")):
        name, _, value = option.partition("=")
        if name in _SRT_OPEN:
            open_options.append(option)
        else:
            secrets[_option_name(name, address)] = unquote(value)
    if any(c in value for value in secrets.values() for c in "\r\n"):
        raise DerainError(f"{address} has a line break in an option; leave it out")
    if secrets and sys.platform == "win32":
        raise DerainError(f"{address}: only {', '.join(sorted(_SRT_OPEN))} can be given here; leave out the others")
    command = [
        program, "-hide_banner", "-loglevel", "error", "-nostats", "-progress", "pipe:1", "-stats_period", "0.5",
        "-analyzeduration", "0", "-f", "nut", "-i", "pipe:0", "-map", "0", "-c", "copy",
        "-omit_video_pes_length", "0", "-flush_packets", "1", "-f", "mpegts",
        *(["-fpre", "{options}"] if secrets else []), "?".join(filter(None, (place, "&".join(open_options)))),
    ]  # fmt: skip
    return {"program": command, "secrets": secrets, "format": "nut", "options": _OPTIONS["nut"]}


def _option_name(name: str, address: Address) -> str:
    if not re.fullmatch(r"[a-z_0-9]{1,32}", name):
        raise DerainError(f"{address} has an option that is no word; see `ffmpeg -h protocol=srt` for those of SRT")
    return name


@cache
def _has_srt(program: str) -> bool:
    try:
        found = subprocess.run([program, "-hide_banner", "-protocols"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return _SRT.encode() in found.stdout.split()


class Pusher:
    """Keeps one push alive: starts its process, feeds it, kills it when its peer stalls, and starts it again.

    Args:
        push: where to.
        status: told what a person wants to know.
        clock: for time-outs.
        ask_key: makes the encoder give a key frame, so that a receiver sees a picture soon.
    """

    def __init__(self, push: Push, *, status: Status, clock: Clock, ask_key: Callable[[], None]) -> None:
        self.name = f"push {push.address}"
        self._push, self._status, self._clock = push, status, clock
        self.account = status.add_output(self.name)
        self.feed = Feed(self.account, seconds=_QUEUE_SECONDS, ask_key=ask_key)
        self._child: PushChild | None = None
        self._writing_since: float | None = None
        self._model: tuple[Any, bytes] | None = None
        self._wait = _FIRST_WAIT_S
        self._told: set[str] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="push", daemon=True)
        self._thread.start()

    def put(self, coded: Coded) -> None:
        """Take a packet; never waits. A process that has not taken one for too long is killed here."""
        self.feed.put(coded)
        since, child = self._writing_since, self._child
        if since is not None and child is not None and self._clock.now() - since > _STALL_SECONDS:
            child.kill("the peer takes nothing any more")

    def end(self) -> None:
        """Say goodbye to the peer; see join."""
        self._ending.set()
        self.feed.end()

    def join(self, seconds: float) -> bool:
        """Whether that was done after so many seconds at most; then the process is gone in any case."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive() and self._child is not None:
            self._child.kill("it did not end in time")
            self._thread.join(1.0)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._push_on()
        except Exception as error:  # a bug; a thread has no caller, and the camera and its other outputs go on
            reason = self._push.address.hide(f"{type(error).__name__}: {error}")
            self.account.state, self.account.detail = "failed", reason
            self._status.tell("error", f"{self.name} has ended: {self.account.detail}")
            self.feed.end()

    def _push_on(self) -> None:
        coded = None
        while coded is None and not self.feed.over:
            coded = self.feed.get(_LOOK_SECONDS)
        self.feed.missed(coded is not None)
        while coded is not None and not self._ending.is_set():
            coded = self._attempt(coded)
        if self.account.state == "working":
            self.account.state = "waiting"
        elif self.account.restarts > 0:
            self.account.state = "failed"  # the exit code says that the peer lacks the end

    def _attempt(self, first: Coded) -> Coded | None:
        """One process from its start to its end; returns the packet whose tracks the next one is for."""
        self.feed.pause()
        began, successor = self._clock.now(), None
        try:
            child = self._child = PushChild()
        except OSError as error:  # no process or no memory to be had now: it may be better later
            self._rest(str(error.strerror or error).lower(), steady=False)
            return first
        try:
            self._send(child, pack_orders(self._push.orders | _units(first), self._model_of(first)))
            if self._connected(child, began):
                self.feed.resume()
                successor = self._stream(child, first)
        except OSError:  # a pipe to a process that has ended
            pass
        finally:
            self.feed.pause()
            reason = child.finish(_END_SECONDS)
            self._child = None
        if not self._ending.is_set() and successor is None:
            self._rest(self._push.address.hide(reason), steady=self._clock.now() - began > _STEADY_SECONDS)
        return successor or first

    def _connected(self, child: PushChild, began: float) -> bool:
        while not child.ready:
            if self._ending.is_set() or child.over or self._timed_out(child, began):
                return False
            child.changed.wait(_LOOK_SECONDS)
        return True

    def _timed_out(self, child: PushChild, began: float) -> bool:
        late = not child.working and self._clock.now() - began > _CONNECT_SECONDS
        if late:
            child.kill("it does not answer")
        return late

    def _stream(self, child: PushChild, first: Coded) -> Coded | None:
        """Feed it until one of us ends; returns the packet that it cannot take because its tracks are others."""
        began = self._clock.now()
        while not self.feed.over:
            coded = self.feed.get(_LOOK_SECONDS)
            if child.working and self.account.state != "working":
                self._took()
            if child.over or self._timed_out(child, began):
                self.feed.missed(coded is not None and coded.is_video)
                return None
            if coded is None:
                continue
            if coded.tracks.facts != first.tracks.facts:
                self.feed.missed(1)
                return coded
            try:
                self._send(child, _piece(coded))
            except OSError:
                self.feed.missed(coded.is_video)
                raise
            self.feed.wrote(coded.is_video)
        return None

    def _send(self, child: PushChild, data: bytes) -> None:
        self._writing_since = self._clock.now()
        try:
            child.send(data)
        finally:
            self._writing_since = None

    def _took(self) -> None:
        self.account.state, self.account.detail = "working", ""
        if self._told and _BACK not in self._told:
            self._told.add(_BACK)
            self._status.tell("push", f"{self.name}: {_BACK}")

    def _rest(self, reason: str, *, steady: bool) -> None:
        """Tell why, and wait before it is tried again."""
        if steady:
            self._told.clear()
            self._wait = _FIRST_WAIT_S
        if reason not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(reason)
            self._status.tell("push", f"{self.name}: {reason}; tried again until it takes the stream")
        self.account.state, self.account.detail = "waiting", reason
        self.account.restarts += 1
        self._clock.wait(self._ending, self._wait)
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)

    def _model_of(self, coded: Coded) -> bytes:
        if self._model is None or self._model[0] != coded.tracks.facts:
            self._model = coded.tracks.facts, model_of(coded)
        return self._model[1]


def _units(first: Coded) -> dict[str, Any]:
    sound = first.tracks.sound
    units = {"video": str(LIVE_UNIT)}
    if sound is not None:
        units["sound"] = f"1/{sound.codec_context.sample_rate}"
    return {"units": units}


def _piece(coded: Coded) -> bytes:
    return pack(Piece(coded.is_video, coded.key, coded.pts, coded.dts, coded.duration, coded.data))
