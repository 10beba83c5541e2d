"""Moving pictures for browsers and programs: never more than one under way to a viewer, so that none is old.

A message on the WebSocket is 4 bytes, big-endian, with the length of a JSON header, the header, and the JPEGs.
"""
from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from streamderain.live.desk import DESK
from streamderain.live.pictures import VIEWS, Encoded

if TYPE_CHECKING:
    from streamderain.live.page import Page

MOST_VIEWERS = 32
ACKNOWLEDGE_SECONDS = 10.0  # a viewer that shows nothing for so long is not there any more
WRITE_SECONDS = 5.0
WORD_SECONDS = 4.0  # without a picture; a browser gives up a line on which nothing comes for ten
_MOST_MESSAGE_BYTES = 1024
_CUT = b"streamderain-picture"
_WIDEST_PX = 99_999

Work = Callable[["Page", web.Request], Awaitable[web.StreamResponse]]


async def viewer(page: Page, work: Work, request: web.Request) -> web.StreamResponse:
    """Serve moving pictures while there is room."""
    desk = request.app[DESK]
    if desk.viewers >= MOST_VIEWERS:
        return web.Response(status=503, text="too many viewers\n")
    desk.viewers += 1
    try:
        return await work(page, request)
    finally:
        desk.viewers -= 1
        if request.transport is not None:
            request.transport.abort()  # an orderly end would wait for a viewer that may be stuck


async def websocket(page: Page, request: web.Request) -> web.StreamResponse:
    """The newest picture whenever the viewer has shown the one before."""
    socket = web.WebSocketResponse(max_msg_size=_MOST_MESSAGE_BYTES, compress=False, timeout=1.0)
    await socket.prepare(request)
    wish = _Wish(request.query.get("view"), asked_width(request))
    work = [asyncio.ensure_future(_listen(socket, wish)), asyncio.ensure_future(_send(socket, wish, page))]
    try:
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    return socket


async def mjpeg(page: Page, request: web.Request) -> web.StreamResponse:
    """Pictures one after the other, for <img> and for programs that know nothing else."""
    response = web.StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={_CUT.decode()}"})
    await response.prepare(request)
    number, view, width = 0, asked_view(request), asked_width(request)
    with suppress(TimeoutError, ConnectionError):  # the viewer is stuck or gone
        await response.write(b"--%s\r\n" % _CUT)
        while True:
            picture = await page.newer(number, view, width)
            number, data = picture.number, picture.parts[0]
            head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            # browsers show a picture when they see what ends it, so the next boundary comes at once
            async with asyncio.timeout(WRITE_SECONDS):
                await response.write(b"%s%s\r\n--%s\r\n" % (head, data, _CUT))
    return response


def asked_view(request: web.Request) -> str:
    """The view of one picture that a request asks for; "after" where it asks for none."""
    view = request.query.get("view", "")
    return view if view in VIEWS and view != "wipe" else "after"


def asked_width(request: web.Request) -> int:
    """The width in pixels that a request asks for; 0 where it asks for none."""
    width = request.query.get("width", "")
    return int(width) if width.isdecimal() and len(width) <= len(str(_WIDEST_PX)) else 0


class _Wish:
    """What one viewer wants to see, and whether it has shown the last picture."""

    def __init__(self, view: str | None, width: int) -> None:
        self.view, self.width = "wipe", 0
        self.ready = asyncio.Event()
        self.ready.set()
        self.change(view, width)

    def change(self, view: Any, width: Any) -> None:
        """Take what makes sense."""
        self.view = view if isinstance(view, str) and view in VIEWS else self.view
        self.width = width if isinstance(width, int) and 0 <= width <= _WIDEST_PX else self.width


async def _listen(socket: web.WebSocketResponse, wish: _Wish) -> None:
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            return
        said = json.loads(message.data)  # what is no JSON ends this task and the connection
        if not isinstance(said, dict):
            return
        wish.change(said.get("view"), said.get("width"))
        if said.get("got"):
            wish.ready.set()


async def _send(socket: web.WebSocketResponse, wish: _Wish, page: Page) -> None:
    number = 0
    while True:
        async with asyncio.timeout(ACKNOWLEDGE_SECONDS):  # wait_for may swallow that we are cancelled
            await wish.ready.wait()
        picture = await _newer(socket, wish, page, number)
        number = picture.number
        wish.ready.clear()
        message = _message(picture, page.clock.now())
        async with asyncio.timeout(WRITE_SECONDS):
            await socket.send_bytes(message)


async def _newer(socket: web.WebSocketResponse, wish: _Wish, page: Page, number: int) -> Encoded:
    """The next picture; while there is none, the viewer is told now and then that the line is good."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(WORD_SECONDS):
                return await page.newer(number, wish.view, wish.width)
        async with asyncio.timeout(WRITE_SECONDS):
            await socket.send_str("{}")


def _message(picture: Encoded, now: float) -> bytes:
    header = json.dumps({**picture.header, "age_ms": round(1000 * (now - picture.at), 1)}).encode()
    return b"".join((len(header).to_bytes(4, "big"), header, *picture.parts))
