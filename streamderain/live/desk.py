"""What stands before every answer of a live page: the guard, the token, limits, and the page's own files."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from aiohttp import web

from streamderain.live.door import Door
from streamderain.live.guard import HEADERS, Guard
from streamderain.live.tries import Tries

STATIC = Path(__file__).resolve().parent / "static"
MOST_BODY_BYTES = 4096
_BODY_SECONDS = 10.0
_WRONG_TOKEN_SECONDS = 1.0
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_OPEN = {"/login", "/health", "/static/style.css", "/static/icon.svg"}  # they tell nothing about the camera
_COMPLAINT = b"<!-- complaint -->"  # in login.html

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Desk:
    """What the requests of one server share.

    Attributes:
        guard: the rules.
        cookie: the name of ours.
        door: told when requests begin and end; set when the server runs.
        viewers: open pictures that move.
        tries: wrong tokens.
    """

    guard: Guard
    cookie: str
    door: Door | None = None
    viewers: int = 0
    tries: Tries = field(default_factory=Tries)


DESK = web.AppKey("desk", Desk)


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
    door, transport = request.app[DESK].door, request.transport
    if door is not None:
        door.enter(transport)
    try:
        refusal = await _refusal(request)
        return await _answer(request, handler) if refusal is None else refusal
    finally:
        if door is not None:
            door.leave(transport)


async def _refusal(request: web.Request) -> web.StreamResponse | None:
    """Why a request gets no answer; None where it gets one."""
    desk = request.app[DESK]
    upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
    refusal = desk.guard.refuse("WEBSOCKET" if upgrade else request.method, request.headers)
    if refusal is not None:
        return web.Response(status=refusal.status, text=refusal.line + "\n")
    if request.path in _OPEN:
        return None
    asked = request.query.get("token") if request.path == "/" else None
    if desk.guard.admits(request.cookies.get(desk.cookie)):
        return None if asked is None else _welcome(request)
    sent = desk.guard.bearer(request.headers)
    if sent is not None:
        return await _judge(request, sent)
    if asked is not None:
        return await _judge(request, asked) or _welcome(request)
    if request.path.endswith("/"):  # a page, perhaps a bookmark
        up = "../" * (request.path.count("/") - 1)
        return web.Response(status=303, headers={"Location": f"{up}login"})
    return web.Response(status=401, text="a token is needed\n", headers={"WWW-Authenticate": "Bearer"})


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, once all of the request is here."""
    if request.method == "POST":
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                await request.read()
        except TimeoutError:
            return web.Response(status=408, text="the body took too long\n")
    return await handler(request)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.pop("Server", None)


# --- token ---
async def _judge(request: web.Request, token: str) -> web.Response | None:
    """Why this token does not do, after a second; None where it is the right one."""
    desk, now, address = request.app[DESK], asyncio.get_running_loop().time(), request.remote or ""
    if desk.tries.exhausted(address, now):
        line = "too many wrong tokens; try again in a minute\n"
        return web.Response(status=429, text=line, headers={"Retry-After": "60"})
    if desk.guard.knows(token):
        return None
    desk.tries.wrong(address, now)
    await asyncio.sleep(_WRONG_TOKEN_SECONDS)
    return web.Response(status=401, text="this is not the token\n")


async def _login(request: web.Request) -> web.Response:
    try:
        token = str((await request.post()).get("token", ""))
    except (ValueError, LookupError, AssertionError):  # what aiohttp makes of a form that it cannot read
        token = ""
    refusal = await _judge(request, token)
    if refusal is None:
        return _welcome(request)
    page = _files().get("login.html", _COMPLAINT).replace(_COMPLAINT, (refusal.text or "").encode())
    return web.Response(status=refusal.status, body=page, content_type="text/html", charset="utf-8")


def _welcome(request: web.Request) -> web.Response:
    """Send a browser on, with a cookie instead of the token."""
    desk = request.app[DESK]
    response = web.Response(status=303, headers={"Location": "./"})
    if desk.guard.cookie is not None:
        response.set_cookie(desk.cookie, desk.guard.cookie, httponly=True, samesite="Strict", path="/")
    return response


# --- files ---
@cache
def _files() -> dict[str, bytes]:
    """The page's files; only names that are in here are answered, so that no path leads elsewhere."""
    return {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in _TYPES}


def static_file(name: str) -> Handler:
    """Answers with one file of the page."""

    async def answer(request: web.Request) -> web.Response:
        body = _files().get(name)
        if body is None:
            return web.Response(status=404, text="there is no such file\n")
        return web.Response(body=body, content_type=_TYPES[Path(name).suffix], charset="utf-8")

    return answer


async def named_static_file(request: web.Request) -> web.StreamResponse:
    """Answers with the file of the page that the path names."""
    return await static_file(request.match_info["name"])(request)
