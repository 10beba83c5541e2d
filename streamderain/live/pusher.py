"""The process of one push: takes packets by standard input, hands them to a peer, and may be killed at any time.

It knows the peer's address from its standard input only. What it says goes out as JSON lines: {"ready": true} when
packets are wanted, {"working": true} when the peer takes them, {"error": "..."} before it fails. A door to PyAV.
"""
from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.error import FFmpegError

from streamderain.live.wire import Piece, pieces, read_orders

_END_SECONDS = 3.0  # from the end of standard input until the process ends, orderly or not
_TOLD_LINES = 3
_WHO = re.compile(r"\[\w+ @ 0x[0-9a-f]+\] ")  # changes with every start


def main() -> int:
    """Push until standard input ends; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a service manager sends them to all; our parent ends us in order
        signal.signal(number, signal.SIG_IGN)
    say = _Voice()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        orders, model = read_orders(sys.stdin.buffer)
    except EOFError:
        return 0
    try:
        target = _Target(orders, model, say)
        for piece in pieces(sys.stdin.buffer):
            target.write(piece)
        target.close()
    except Exception as error:  # the parent alone can tell somebody
        say(error=_reason(error))
        return 1
    return 0


def _reason(error: Exception) -> str:
    """An error in a few words."""
    if not isinstance(error, (FFmpegError, OSError, ValueError)):
        return f"{type(error).__name__}: {error}"
    words = {
        av.error.HTTPUnauthorizedError: "it refuses user and password",
        av.error.HTTPForbiddenError: "it refuses user and password",
        av.error.HTTPNotFoundError: "it does not know this path",
    }
    for kind, text in words.items():
        if isinstance(error, kind):
            return text
    return str(getattr(error, "strerror", None) or error).lower()


class _Voice:
    """Says things to the parent; whatever a library prints goes elsewhere."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)

    def __call__(self, **facts: Any) -> None:
        with suppress(OSError):  # a parent that is gone ends our input as well
            os.write(self._out, json.dumps(facts).encode() + b"\n")


class _Target:
    """The peer: an output container with streams like the model's."""

    def __init__(self, orders: dict[str, Any], model: bytes, say: _Voice) -> None:
        self._units = {key == "video": Fraction(unit) for key, unit in orders["units"].items()}
        self._zero: Fraction | None = None
        self._program = _Program(orders, say) if orders.get("program") else None
        where: Any = self._program or orders["address"]
        self._container = av.open(where, "w", format=orders["format"], container_options=orders["options"])
        source = av.open(io.BytesIO(model), format="nut")
        self._streams = {
            stream.type == "video": self._container.add_stream_from_template(stream, opaque=True)
            for stream in source.streams
        }
        if self._program is not None:
            say(ready=True)
            return
        self._container.start_encoding()  # this connects
        say(ready=True)
        say(working=True)

    def write(self, piece: Piece) -> None:
        stream, unit = self._streams.get(piece.is_video), self._units[piece.is_video]
        if self._zero is None:
            self._zero = piece.dts * unit
        zero = round(self._zero / unit)
        if stream is None or piece.dts < zero:
            return
        packet = av.Packet(piece.data)
        packet.pts, packet.dts, packet.duration = piece.pts - zero, piece.dts - zero, piece.duration
        packet.time_base, packet.is_keyframe, packet.stream = unit, piece.key, stream
        self._container.mux_one(packet)

    def close(self) -> None:
        self._container.close()
        if self._program is not None:
            self._program.finish()


class _Program:
    """A program that takes the stream by its standard input and knows protocols that the library has not: a file to it.

    What shall not stand in the list of processes comes through a pipe, as FFmpeg's file of options ("-fpre").
    """

    def __init__(self, orders: dict[str, Any], say: _Voice) -> None:
        self._say, self._told = say, [""]
        options = "".join(f"{name}={value}\n" for name, value in orders["secrets"].items())
        end = _readable(options) if options else None
        command = [part.replace("{options}", f"/dev/fd/{end}") for part in orders["program"]]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            pass_fds=() if end is None else (end,),
        )  # fmt: skip
        if end is not None:
            os.close(end)
        self._readers = [threading.Thread(target=each, daemon=True) for each in (self._watch, self._listen)]
        for thread in self._readers:
            thread.start()

    def write(self, data: bytes) -> int:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            self._fail()
        return len(data)

    def finish(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        if self._process.wait() != 0:
            self._fail()

    def _fail(self) -> None:
        self._process.wait()
        self._readers[1].join(1.0)
        raise OSError(" ".join(self._told[-_TOLD_LINES:]).strip() or "the program ended")

    def _watch(self) -> None:
        """Its progress: once it has sent something, the peer takes it."""
        assert self._process.stdout is not None
        working = False
        for line in self._process.stdout:
            name, _, value = line.decode(errors="replace").strip().partition("=")
            if not working and name == "total_size" and value.isdigit() and int(value):
                working = True
                self._say(working=True)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._told = [*self._told, _WHO.sub("", line.decode(errors="replace")).strip()][-_TOLD_LINES:]


def _readable(text: str) -> int:
    """The end of a pipe that holds a short text."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w", encoding="utf-8") as pipe:
        pipe.write(text)
    return read_end


def _end_with_parent() -> None:
    """End soon after standard input does: a peer that hangs must not leave an orphan behind."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
    threading.Event().wait(_END_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
