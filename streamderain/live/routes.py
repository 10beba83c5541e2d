"""What a live page answers: the page, its pictures, figures, controls, metrics and health."""
from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from streamderain._version import __version__
from streamderain.live.controls import Settings
from streamderain.live.desk import named_static_file, new_app, static_file
from streamderain.live.guard import Guard
from streamderain.live.metrics import CONTENT_TYPE, exposition
from streamderain.live.viewers import asked_view, asked_width, mjpeg, viewer, websocket

if TYPE_CHECKING:
    from streamderain.live.page import Page


def make_app(page: Page, guard: Guard) -> web.Application:
    """The application of one camera's page."""
    app = new_app(guard, page.port)
    app.add_routes([
        web.get("/", static_file("index.html")),
        web.get("/static/{name}", named_static_file),
        web.get("/live", partial(viewer, page, websocket), allow_head=False),
        web.get("/stream.mjpg", partial(viewer, page, mjpeg), allow_head=False),
        web.get("/snapshot.jpg", partial(_snapshot, page)),
        web.get("/api/status", partial(_status, page)),
        web.post("/api/settings", partial(_change, page)),
        web.post("/api/snapshot", partial(_ask_snapshot, page)),
        web.get("/metrics", partial(_metrics, page)),
        web.get("/health", partial(_health, page)),
    ])  # fmt: skip
    return app


async def _snapshot(page: Page, request: web.Request) -> web.Response:
    picture = await page.newest(asked_view(request), asked_width(request))
    if picture is None:
        return web.Response(status=503, text="there is no picture yet\n")
    headers = {"X-Streamderain-Live": str(int(picture.header["live"]))}
    return web.Response(body=picture.parts[0], content_type="image/jpeg", headers=headers)


async def _status(page: Page, request: web.Request) -> web.Response:
    return web.json_response({
        **page.status.as_dict(), "name": page.camera, "version": __version__, "profiles": list(page.controls.profiles),
        "settings": _plain(page.controls.settings),
    })  # fmt: skip


async def _change(page: Page, request: web.Request) -> web.Response:
    try:
        changes = json.loads(await request.read())
    except (ValueError, RecursionError):
        return _refused('this is not JSON; send an object such as {"strength": 1.2}')
    if not isinstance(changes, dict):
        return _refused('this is no JSON object; send one such as {"strength": 1.2}')
    try:
        return web.json_response(_plain(page.controls.ask(**changes)))
    except (ValueError, TypeError) as error:
        return _refused(str(error))


async def _ask_snapshot(page: Page, request: web.Request) -> web.Response:
    page.controls.ask_snapshot()
    return web.json_response({}, status=202)


async def _metrics(page: Page, request: web.Request) -> web.Response:
    return web.Response(body=exposition(page.status, page.camera), headers={"Content-Type": CONTENT_TYPE})


async def _health(page: Page, request: web.Request) -> web.Response:
    if page.status.healthy:
        return web.Response(text="ok\n")
    return web.Response(status=503, text="no camera frame left in the last 5 seconds\n")


def _plain(settings: Settings) -> dict[str, str | float]:
    return {"profile": settings.profile, "strength": settings.strength}


def _refused(line: str) -> web.Response:
    return web.json_response({"error": line}, status=400)
