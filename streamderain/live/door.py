"""The door of a live page: takes connections, as many as are good for it, and shuts out those that say nothing."""
from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from streamderain.live.tries import neighbourhood

MOST_CONNECTIONS = 64
MOST_PER_ADDRESS = 16  # of another machine; behind our own loopback stands a proxy with everybody's connections
SILENT_SECONDS = 10.0  # until the first whole request head
IDLE_SECONDS = 30.0  # between two requests
_SWEEP_SECONDS = 1.0
_UNSENT_BYTES = 128 * 1024  # in the kernel: more would be old pictures for a slow viewer, and memory for each


@dataclass(slots=True)
class Guest:
    """A connection.

    Attributes:
        place: where it comes from, see neighbourhood.
        since: when it came, or its last request was answered.
        requests: under way; served: so far.
    """

    place: str
    since: float
    requests: int = 0
    served: int = 0

    @property
    def patience(self) -> float:
        """How many seconds it may be silent, as a share of SILENT_SECONDS."""
        return IDLE_SECONDS / SILENT_SECONDS if self.served else 1.0


class Door:
    """Accepts on a socket and hands connections to aiohttp.

    Args:
        listener: bound and listening, not blocking.
        server: makes aiohttp's protocol for a connection.
        silent_seconds: a connection without a request for so long is closed; three times that after its first.
    """

    def __init__(self, listener: socket.socket, server: Any, silent_seconds: float = SILENT_SECONDS) -> None:
        self._listener, self._server, self._silent = listener, server, silent_seconds
        self._guests: dict[asyncio.Transport, Guest] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin, in the running loop."""
        self._tasks = [asyncio.create_task(self._accept()), asyncio.create_task(self._sweep())]

    async def close(self) -> None:
        """Take no more, and drop who is there."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        for transport in list(self._guests):
            transport.abort()

    def enter(self, transport: asyncio.BaseTransport | None) -> None:
        """A request began on this connection."""
        guest = self._guests.get(transport)  # type: ignore[call-overload]
        if guest is not None:
            guest.requests += 1

    def leave(self, transport: asyncio.BaseTransport | None) -> None:
        """A request on this connection is answered."""
        guest = self._guests.get(transport)  # type: ignore[call-overload]
        if guest is not None:
            guest.requests, guest.served = guest.requests - 1, guest.served + 1
            guest.since = asyncio.get_running_loop().time()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._listener)
            except OSError:  # out of descriptors, or the guest is gone already
                await asyncio.sleep(0.1)
                continue
            place = neighbourhood(str(peer[0])) if isinstance(peer, tuple) else ""
            if not self._make_room(place):
                connection.close()
                continue
            try:
                connection.setblocking(False)
                _bound_unsent(connection)
                transport, _ = await loop.connect_accepted_socket(self._server, connection)
            except OSError:
                connection.close()
            else:
                self._guests[transport] = Guest(place, loop.time())

    def _make_room(self, place: str) -> bool:
        """Whether one more from there may come in, at the cost of the one that has been silent longest."""
        self._forget_closed()
        crowd = {transport: guest for transport, guest in self._guests.items() if guest.place == place}
        if len(crowd) < most_from(place):
            if len(self._guests) < MOST_CONNECTIONS:
                return True
            crowd = self._guests
        silent = [transport for transport, guest in crowd.items() if not guest.requests]
        if silent:
            min(silent, key=lambda transport: crowd[transport].since).abort()
        return bool(silent)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._silent / 4))
            self._forget_closed()
            for transport, guest in self._guests.items():
                if not guest.requests and loop.time() - guest.since > self._silent * guest.patience:
                    transport.abort()

    def _forget_closed(self) -> None:
        self._guests = {transport: guest for transport, guest in self._guests.items() if not transport.is_closing()}


def most_from(place: str) -> int:
    """How many connections may come from one neighbourhood."""
    try:
        return MOST_CONNECTIONS if ipaddress.ip_network(place).is_loopback else MOST_PER_ADDRESS
    except ValueError:
        return MOST_PER_ADDRESS


def _bound_unsent(connection: socket.socket) -> None:
    """Let writing wait while the viewer is behind, instead of filling the kernel's megabytes."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT_BYTES)
