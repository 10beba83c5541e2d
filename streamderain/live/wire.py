"""What runs through the pipe to a pushing process: one line of orders, a model of the streams, then packets."""
from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

_HEAD = struct.Struct("!??qqII")


class Piece(NamedTuple):
    """One packet: timestamps and duration in the unit that the orders tell for its stream."""

    is_video: bool
    key: bool
    pts: int
    dts: int
    duration: int
    data: bytes


class Readable(Protocol):
    """A pipe's end."""

    def read(self, size: int, /) -> bytes:
        """So many bytes, fewer only at the end."""

    def readline(self) -> bytes:
        """Up to the next line's end."""


def pack_orders(orders: dict[str, Any], model: bytes) -> bytes:
    """The beginning: orders as JSON can hold them, and a small file whose streams are like those that come."""
    return json.dumps({**orders, "model": len(model)}).encode() + b"\n" + model


def read_orders(pipe: Readable) -> tuple[dict[str, Any], bytes]:
    """What pack_orders wrote.

    Raises:
        EOFError: the pipe ended before.
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    orders = json.loads(line)
    return orders, _exactly(pipe, orders["model"])


def pack(piece: Piece) -> bytes:
    """A packet's bytes."""
    head = _HEAD.pack(piece.is_video, piece.key, piece.pts, piece.dts, piece.duration, len(piece.data))
    return head + piece.data


def pieces(pipe: Readable) -> Iterator[Piece]:
    """Packets until the pipe ends; one that is cut off is left out."""
    while True:
        try:
            is_video, key, pts, dts, duration, size = _HEAD.unpack(_exactly(pipe, _HEAD.size))
            data = _exactly(pipe, size)
        except EOFError:
            return
        yield Piece(is_video, key, pts, dts, duration, data)


def _exactly(pipe: Readable, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data
