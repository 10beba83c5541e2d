"""A bad network between two programs of one machine: delay, jitter, a narrow line, lost datagrams. For benchmarks."""
from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

_PIECE_BYTES, _UNDER_WAY = 4096, 64


@dataclass(frozen=True, slots=True)
class Line:
    """How bad it is.

    Attributes:
        delay_s, jitter_s: every piece waits delay + a random share of jitter; TCP keeps its order, UDP does not.
        bytes_per_s: of the narrowest place, None for no limit.
        loss: share of datagrams that never arrive (UDP only).
        seed: of all randomness.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    loss: float = 0.0
    seed: int = 0


async def tcp(port: int, target: tuple[str, int], line: Line) -> asyncio.Server:
    """Listen on 127.0.0.1:port and pass both directions on to the target."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, far_writer, Line()), _pass_on(far_reader, writer, line))

    return await asyncio.start_server(connected, "127.0.0.1", port, limit=1 << 16)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
    """Pieces wait side by side, so that delay takes nothing from the bandwidth; they leave in order."""
    chance, loop = random.Random(line.seed), asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

    async def read() -> None:
        free = 0.0
        while piece := await reader.read(_PIECE_BYTES):
            due = loop.time() + line.delay_s + chance.random() * line.jitter_s
            if line.bytes_per_s:
                free = max(free, loop.time()) + len(piece) / line.bytes_per_s
                due += free - loop.time()
            await under_way.put((due, piece))
        await under_way.put((0.0, b""))

    reading = asyncio.ensure_future(read())
    try:
        while True:
            due, piece = await under_way.get()
            if not piece:
                break
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        reading.cancel()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, target: tuple[str, int], line: Line) -> None:
        self._target, self._line, self._chance = target, line, random.Random(line.seed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self._chance.random() < self._line.loss:
            return
        wait = self._line.delay_s + self._chance.random() * self._line.jitter_s
        asyncio.get_running_loop().call_later(wait, self._transport.sendto, data, self._target)  # type: ignore[attr-defined]


async def udp(port: int, target: tuple[str, int], line: Line) -> asyncio.DatagramTransport:
    """Take datagrams on 127.0.0.1:port and send those that are not lost to the target."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(target, line), ("127.0.0.1", port))
    return transport
