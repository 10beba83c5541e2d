"""What a live page answers: the page, its pictures, figures, controls, metrics and health."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from streamderain._version import __version__
from streamderain.live.door import Door
from streamderain.live.guard import HEADERS, Guard
from streamderain.live.metrics import CONTENT_TYPE, exposition
from streamderain.live.pictures import VIEWS, Encoded

if TYPE_CHECKING:
    from streamderain.live.page import Page

STATIC = Path(__file__).resolve().parent / "static"
MOST_VIEWERS = 32
MOST_BODY_BYTES = 4096
_MOST_MESSAGE_BYTES = 1024
_ACKNOWLEDGE_SECONDS = 10.0  # a viewer that shows nothing for so long is not there any more
_WRITE_SECONDS = 5.0
_WRONG_TOKEN_SECONDS = 1.0
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_CUT = b"streamderain-picture"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Desk:
    """What the requests of one server share.

    Attributes:
        guard: the rules.
        cookie: the name of ours.
        door: told when requests begin and end; set when the server runs.
        viewers: open pictures that move.
    """

    guard: Guard
    cookie: str
    door: Door | None = None
    viewers: int = 0


DESK = web.AppKey("desk", Desk)


def make_app(page: Page, guard: Guard) -> web.Application:
    """The application of one camera's page."""
    app = new_app(guard, page.port)
    app.add_routes([
        web.get("/", static_file("index.html")),
        web.get("/static/{name}", named_static_file),
        web.get("/live", partial(_viewer, page, _live)),
        web.get("/stream.mjpg", partial(_viewer, page, _mjpeg)),
        web.get("/snapshot.jpg", partial(_snapshot, page)),
        web.get("/api/status", partial(_status, page)),
        web.post("/api/settings", partial(_settings, page)),
        web.post("/api/snapshot", partial(_ask_snapshot, page)),
        web.get("/metrics", partial(_metrics, page)),
        web.get("/health", partial(_health, page)),
    ])  # fmt: skip
    return app


def new_app(guard: Guard, port: int) -> web.Application:
    """An application with the guard before everything.

    Args:
        guard: the rules.
        port: part of the cookie's name: browsers do not tell ports of a host apart.
    """
    app = web.Application(middlewares=[_guarded], client_max_size=MOST_BODY_BYTES)
    app[DESK] = Desk(guard, f"streamderain_{port}")
    app.add_routes([web.get("/login", static_file("login.html")), web.post("/login", _login)])
    app.on_response_prepare.append(_add_headers)
    return app


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    desk = request.app[DESK]
    if desk.door is not None:
        desk.door.enter(request.transport)
    try:
        return await _checked(desk, request, handler)
    finally:
        if desk.door is not None:
            desk.door.leave(request.transport)


async def _checked(desk: Desk, request: web.Request, handler: Handler) -> web.StreamResponse:
    upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
    refusal = desk.guard.refuse("WEBSOCKET" if upgrade else request.method, request.headers)
    if refusal is not None:
        return web.Response(status=refusal.status, text=refusal.line + "\n")
    if request.path in ("/login", "/health"):
        return await handler(request)
    if request.path == "/" and "token" in request.query:
        return await _welcome(request, request.query["token"])
    if not desk.guard.admits(request.headers, request.cookies.get(desk.cookie)):
        if request.path == "/":
            raise web.HTTPFound("login")
        return web.Response(status=401, text="a token is needed\n", headers={"WWW-Authenticate": "Bearer"})
    return await handler(request)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.pop("Server", None)


# --- token ---
async def _login(request: web.Request) -> web.Response:
    return await _welcome(request, str((await request.post()).get("token", "")))


async def _welcome(request: web.Request, token: str) -> web.Response:
    """Exchange the token for a cookie; a wrong one costs a second."""
    desk = request.app[DESK]
    guard = desk.guard
    if not guard.knows(token) or guard.cookie is None:
        await asyncio.sleep(_WRONG_TOKEN_SECONDS)
        return web.Response(status=401, text="this is not the token\n")
    response = web.Response(status=303, headers={"Location": "./"})
    response.set_cookie(desk.cookie, guard.cookie, httponly=True, samesite="Strict", path="/")
    return response


# --- files ---
@cache
def _file(name: str) -> bytes | None:
    """A file of the page; only names that are there, so that no path leads elsewhere."""
    names = {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES}
    return names[name].read_bytes() if name in names else None


def static_file(name: str) -> Handler:
    """Answers with one file of the page."""

    async def answer(request: web.Request) -> web.Response:
        body = _file(name)
        if body is None:
            return web.Response(status=404, text="there is no such file\n")
        return web.Response(body=body, content_type=_TYPES[Path(name).suffix], charset="utf-8")

    return answer


async def named_static_file(request: web.Request) -> web.StreamResponse:
    """Answers with the file of the page that the path names."""
    return await static_file(request.match_info["name"])(request)


# --- pictures ---
async def _viewer(page: Page, work: Any, request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    if desk.viewers >= MOST_VIEWERS:
        return web.Response(status=503, text="too many viewers\n")
    desk.viewers += 1
    try:
        return await work(page, request)
    finally:
        desk.viewers -= 1


async def _live(page: Page, request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(max_msg_size=_MOST_MESSAGE_BYTES, compress=False, timeout=1.0)
    await socket.prepare(request)
    viewer = _Wish(request.query.get("view"), request.query.get("width"))
    listening = asyncio.ensure_future(_listen(socket, viewer))
    sending = asyncio.ensure_future(_send(socket, viewer, page))
    try:
        await asyncio.wait((listening, sending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (listening, sending):
            task.cancel()
        await asyncio.gather(listening, sending, return_exceptions=True)
        if request.transport is not None:
            request.transport.abort()  # a close handshake would wait for a viewer that may be stuck
    return socket


class _Wish:
    """What one viewer wants to see, and whether it has shown the last picture."""

    def __init__(self, view: str | None, width: str | None) -> None:
        self.view, self.width = "wipe", 0
        self.ready = asyncio.Event()
        self.ready.set()
        self.change(view, int(width) if width and width.isdecimal() and len(width) < 6 else None)

    def change(self, view: Any, width: Any) -> None:
        """Take what makes sense."""
        self.view = view if isinstance(view, str) and view in VIEWS else self.view
        self.width = width if isinstance(width, int) and width >= 0 else self.width


async def _listen(socket: web.WebSocketResponse, viewer: _Wish) -> None:
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            return
        try:
            said = json.loads(message.data)
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        viewer.change(said.get("view"), said.get("width"))
        if said.get("got"):
            viewer.ready.set()


async def _send(socket: web.WebSocketResponse, viewer: _Wish, page: Page) -> None:
    number = 0
    while True:
        await asyncio.wait_for(viewer.ready.wait(), _ACKNOWLEDGE_SECONDS)
        picture = await page.newer(number, viewer.view, viewer.width)
        if picture is None:
            continue
        number = picture.number
        viewer.ready.clear()
        await asyncio.wait_for(socket.send_bytes(_message(picture)), _WRITE_SECONDS)


def _message(picture: Encoded) -> bytes:
    header = json.dumps(picture.header).encode()
    return b"".join((len(header).to_bytes(4, "big"), header, *picture.parts))


async def _mjpeg(page: Page, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={_CUT.decode()}"})
    await response.prepare(request)
    number, view = 0, _view(request, "after")
    while True:
        picture = await page.newer(number, view, _asked_width(request))
        if picture is None:
            continue
        number = picture.number
        data = picture.parts[0]
        head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (_CUT, len(data))
        await asyncio.wait_for(response.write(head + data + b"\r\n"), _WRITE_SECONDS)


async def _snapshot(page: Page, request: web.Request) -> web.Response:
    picture = await page.newest(_view(request, "after"), _asked_width(request))
    if picture is None:
        return web.Response(status=503, text="there is no picture yet\n")
    headers = {"X-Streamderain-Live": str(int(picture.header["live"]))}
    return web.Response(body=picture.parts[0], content_type="image/jpeg", headers=headers)


def _view(request: web.Request, usual: str) -> str:
    view = request.query.get("view", usual)
    return view if view in VIEWS and view != "wipe" else usual


def _asked_width(request: web.Request) -> int:
    width = request.query.get("width", "")
    return int(width) if width.isdecimal() and len(width) < 6 else 0


# --- figures and controls ---
async def _status(page: Page, request: web.Request) -> web.Response:
    settings = page.controls.settings
    return web.json_response({
        **page.status.as_dict(), "name": page.camera, "version": __version__, "profiles": list(page.controls.profiles),
        "settings": {"profile": settings.profile, "strength": settings.strength},
    })  # fmt: skip


async def _settings(page: Page, request: web.Request) -> web.Response:
    try:
        changes = await request.json()
        if not isinstance(changes, dict):
            raise ValueError('send a JSON object such as {"strength": 1.2}')
        settings = page.controls.ask(**changes)
    except (ValueError, TypeError) as error:
        line = "this is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        return web.json_response({"error": line}, status=400)
    return web.json_response({"profile": settings.profile, "strength": settings.strength})


async def _ask_snapshot(page: Page, request: web.Request) -> web.Response:
    page.controls.ask_snapshot()
    return web.json_response({}, status=202)


async def _metrics(page: Page, request: web.Request) -> web.Response:
    return web.Response(body=exposition(page.status, page.camera), headers={"Content-Type": CONTENT_TYPE})


async def _health(page: Page, request: web.Request) -> web.Response:
    if page.status.healthy:
        return web.Response(text="ok\n")
    return web.Response(status=503, text="no camera frame left in the last 5 seconds\n")
