"""The door of a live page: takes connections, as many as are good for it, and shuts out those that say nothing."""
from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MOST_CONNECTIONS = 64
MOST_PER_ADDRESS = 24
SILENT_SECONDS = 10.0  # for a whole request head, and between two of them
_SWEEP_SECONDS = 1.0


@dataclass(slots=True)
class _Guest:
    address: str
    since: float
    requests: int = 0


class Door:
    """Accepts on a socket and hands connections to aiohttp.

    Args:
        listener: bound and listening, not blocking.
        server: makes aiohttp's protocol for a connection.
        silent_seconds: a connection without a request for so long is closed.
    """

    def __init__(self, listener: socket.socket, server: Any, silent_seconds: float = SILENT_SECONDS) -> None:
        self._listener, self._server, self._silent = listener, server, silent_seconds
        self._guests: dict[asyncio.Transport, _Guest] = {}
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

    def enter(self, transport: asyncio.Transport | None) -> None:
        """A request began on this connection."""
        if transport in self._guests:
            self._guests[transport].requests += 1

    def leave(self, transport: asyncio.Transport | None) -> None:
        """A request on this connection is answered."""
        guest = self._guests.get(transport) if transport is not None else None
        if guest is not None:
            guest.requests -= 1
            guest.since = asyncio.get_running_loop().time()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._listener)
            except OSError:  # out of descriptors, or the guest is gone already
                await asyncio.sleep(0.1)
                continue
            address = str(peer[0]) if isinstance(peer, tuple) else ""
            self._forget_closed()
            counts = Counter(guest.address for guest in self._guests.values())
            if counts.total() >= MOST_CONNECTIONS or counts[address] >= MOST_PER_ADDRESS:
                connection.close()
                continue
            with suppress(OSError):
                connection.setblocking(False)
                transport, _ = await loop.connect_accepted_socket(self._server, connection)
                self._guests[transport] = _Guest(address, loop.time())

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._silent / 4))
            self._forget_closed()
            for transport, guest in self._guests.items():
                if not guest.requests and loop.time() - guest.since > self._silent:
                    transport.abort()

    def _forget_closed(self) -> None:
        self._guests = {transport: guest for transport, guest in self._guests.items() if not transport.is_closing()}
