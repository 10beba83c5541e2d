"""Pages on free ports and clients for them: a well-behaved one, and bare sockets for all others."""
from __future__ import annotations

import asyncio
import socket
import time
from contextlib import contextmanager

import aiohttp
from live_fakes import shown

from streamderain.live.address import Address
from streamderain.live.controls import Controls, Settings
from streamderain.live.moments import Shown
from streamderain.live.page import Page
from streamderain.live.status import Status

CANARY = "canary-Pa55word"
TOKEN = "a-long-token"


@contextmanager
def pages():
    """Gives a function that makes pages; they are closed at the end."""
    made = []

    def make(**options):
        status = Status(str(Address(f"rtsp://me:{CANARY}@cam.example/live")))
        controls = Controls(Settings(), ("auto", "tiny"))
        made.append(Page(options.pop("host", "127.0.0.1"), 0, status=status, controls=controls, **options))
        return made[-1]

    try:
        yield make
    finally:
        for page in made:
            page.close()


def picture(number=0, *, live=True, width=320, height=180, at=None):
    """A picture that was captured just now."""
    made = shown(number, width=width, height=height, live=live)
    return Shown(made.before, made.after, time.monotonic() if at is None else at, live)


def talk(work):
    """Run a client's coroutine with a session of its own."""

    async def go():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            return await work(session)

    return asyncio.run(go())


def fetch(page, path, method="GET", **options):
    """Status, headers and body."""

    async def work(session):
        async with session.request(method, page.url + path, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers, await answer.read()

    return talk(work)


def line_to(page, sent=b"", *, timeout=30, host="127.0.0.1"):
    """A bare connection, with something sent on it."""
    line = socket.create_connection((host, page.port), timeout=timeout)
    line.sendall(sent)
    return line


def request(path, *lines, method="GET", host="localhost"):
    """The bytes of a request head."""
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


def upgrade(page, path="/live"):
    """The bytes that begin a WebSocket."""
    return request(
        path, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Origin: http://localhost:{page.port}",
        host=f"localhost:{page.port}",
    )  # fmt: skip


def status_of(line):
    """The status of the next answer on a bare connection; None where it ends without one."""
    try:
        first = line.makefile("rb").readline()
    except ConnectionError:
        return None
    return int(first.split()[1]) if first else None


def ended(line):
    """Read until the other side ends it; False where it says nothing for the line's time-out."""
    try:
        while line.recv(1 << 16):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def served(page):
    """Whether a page answers."""
    try:
        return fetch(page, "api/status")[0] == 200
    except aiohttp.ClientError:
        return False
