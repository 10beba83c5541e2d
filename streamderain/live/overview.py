"""One page for all cameras: their list, each one's own page behind it, merged metrics, and health."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

import aiohttp
from aiohttp import WSMsgType, web

from streamderain.live.desk import named_static_file, new_app, static_file
from streamderain.live.guard import Guard
from streamderain.live.metrics import CONTENT_TYPE
from streamderain.live.options import PageOptions, on_free_port
from streamderain.live.page import Served, listen

_METHODS = ("GET", "HEAD", "POST")
# Of what a browser sends, a worker's page needs no more; cookies and tokens of the outside stay outside.
_REQUEST_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "If-None-Match", "If-Modified-Since", "Range")
_NOT_HANDED_ON = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "trailer", "transfer-encoding", "upgrade",
    "set-cookie", "location", "server", "date",
}  # fmt: skip
_CONNECT_SECONDS, _ANSWER_SECONDS, _WRITE_SECONDS = 3.0, 20.0, 5.0
_MOST_MESSAGE_BYTES = 1024  # from a browser; pictures the other way are as large as they are


class Camera(Protocol):
    """What the page wants of a Keeper."""

    name: str
    token: str
    port: int | None
    restarts: int

    @property
    def running(self) -> bool: ...

    def status(self) -> dict[str, Any]: ...


class Overview:
    """A web server in a thread of its own, in front of the workers' pages.

    Args:
        page: where it listens, and to whom.
        cameras: by name.

    Attributes:
        url: where a browser on this machine finds it.

    Raises:
        DerainError: the port is taken, or a token is missing.
    """

    def __init__(self, page: PageOptions, cameras: Mapping[str, Camera]) -> None:
        self._guard = Guard(page.host, page.token, page.allow_hosts)
        self._cameras = cameras
        listener = on_free_port(page, lambda port: listen(page.host, port))
        self.port: int = listener.getsockname()[1]
        shown = "127.0.0.1" if page.host in ("0.0.0.0", "::") else f"[{page.host}]" if ":" in page.host else page.host
        self.url = f"http://{shown}:{self.port}/"
        self._served = Served(self._make, listener)

    def close(self) -> None:
        """End within seconds, whoever looks."""
        self._served.close()

    def _make(self) -> web.Application:
        app = new_app(self._guard, self.port)
        workers = Workers(self._cameras)
        app.cleanup_ctx.append(workers.session)
        app.add_routes([
            web.get("/", static_file("overview.html")),
            web.get("/static/{name}", named_static_file),
            web.get("/api/cameras", workers.cameras),
            web.get("/metrics", workers.metrics),
            web.get("/health", workers.health),
            web.get("/cameras/{camera}", workers.enter),
            web.route("*", "/cameras/{camera}/{rest:.*}", workers.hand_on),
        ])  # fmt: skip
        return app


class Workers:
    """Answers about the cameras, and hands requests on to their pages."""

    def __init__(self, cameras: Mapping[str, Camera]) -> None:
        self._cameras = cameras
        self._session: aiohttp.ClientSession

    async def session(self, app: web.Application) -> AsyncIterator[None]:
        """The connections to the workers, as long as the application lives."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_ANSWER_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as self._session:  # fmt: skip
            yield

    async def cameras(self, request: web.Request) -> web.Response:
        """All cameras and how each one is."""
        return web.json_response([
            {"name": name, "path": f"cameras/{name}/", "running": camera.running, "restarts": camera.restarts,
             "status": camera.status()}
            for name, camera in self._cameras.items()
        ])  # fmt: skip

    async def health(self, request: web.Request) -> web.Response:
        """200 while every camera is healthy; else which is not."""
        ill = [name for name, camera in self._cameras.items() if not camera.status().get("healthy")]
        if not ill:
            return web.Response(text="ok\n")
        lines = [f"{name}: no camera frame left in the last seconds\n" for name in ill]
        return web.Response(status=503, text="".join(lines))

    async def metrics(self, request: web.Request) -> web.Response:
        """What all workers count, and whether they run; each worker puts its camera's name on its samples."""
        texts = await asyncio.gather(*(self._counted(camera) for camera in self._cameras.values()))
        return web.Response(
            body=merged([*texts, _about(self._cameras)]).encode(), headers={"Content-Type": CONTENT_TYPE}
        )

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Relative links of a camera's page want the slash."""
        name = request.match_info["camera"]
        if name not in self._cameras:
            return _unknown()
        raise web.HTTPFound(f"{name}/")

    async def hand_on(self, request: web.Request) -> web.StreamResponse:
        """A request or WebSocket for one camera's page."""
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None or request.match_info["rest"] == "login":
            return _unknown()
        if request.method not in _METHODS:
            raise web.HTTPMethodNotAllowed(request.method, _METHODS)
        if camera.port is None:
            return _gone(camera)
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._socket(request, camera)
            return await self._request(request, camera)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return _gone(camera)

    async def _request(self, request: web.Request, camera: Camera) -> web.StreamResponse:
        body = await request.read() if request.method == "POST" else None
        async with self._session.request(
            request.method, _inside(request, camera), headers=_headers(request, camera), data=body,
            allow_redirects=False,
        ) as answer:  # fmt: skip
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_HANDED_ON}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            try:
                async for piece in answer.content.iter_any():
                    async with asyncio.timeout(_WRITE_SECONDS):  # wait_for may swallow a cancellation
                        await response.write(piece)
                await response.write_eof()
            except (aiohttp.ClientError, OSError, TimeoutError):  # one of both sides is gone or stuck
                _drop(request)
            return response

    async def _socket(self, request: web.Request, camera: Camera) -> web.StreamResponse:
        try:
            inside = await self._session.ws_connect(
                _inside(request, camera), headers=_headers(request, camera), max_msg_size=0, compress=0
            )
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status, text="the camera's page refused this\n")
        async with inside:
            outside = web.WebSocketResponse(max_msg_size=_MOST_MESSAGE_BYTES, compress=False, timeout=1.0)
            await outside.prepare(request)
            ways = [asyncio.ensure_future(_pump(inside, outside)), asyncio.ensure_future(_pump(outside, inside))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                _drop(request)  # a close handshake would wait for a browser that may be stuck
        return outside

    async def _counted(self, camera: Camera) -> str:
        if camera.port is None:
            return ""
        try:
            async with self._session.get(
                f"http://127.0.0.1:{camera.port}/metrics", headers={"Authorization": f"Bearer {camera.token}"},
                timeout=aiohttp.ClientTimeout(total=_CONNECT_SECONDS),
            ) as answer:  # fmt: skip
                return (await answer.read()).decode("utf-8", "replace") if answer.status == 200 else ""
        except (aiohttp.ClientError, OSError, TimeoutError):
            return ""


def merged(texts: list[str]) -> str:
    """Several texts of metrics as one: each family once, with the samples of all."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for text in texts:
        name = ""
        for line in text.split("\n"):  # a label may hold what splitlines takes for the end of a line
            if line.startswith(("# HELP ", "# TYPE ")):
                name = line.split(" ", 3)[2]
                heads, _ = families.setdefault(name, ([], []))
                if not any(head.split(" ")[1] == line.split(" ")[1] for head in heads):
                    heads.append(line)
            elif line and not line.startswith("#"):
                families.setdefault(name, ([], []))[1].append(line)
    return "".join(f"{line}\n" for heads, samples in families.values() for line in (*heads, *samples))


def _about(cameras: Mapping[str, Camera]) -> str:
    """The supervisor's own families; names hold only letters, digits, - and _, so nothing is to be escaped."""
    lines = ["# HELP streamderain_worker_running 1 while the camera's process lives."]
    lines += ["# TYPE streamderain_worker_running gauge"]
    lines += [f'streamderain_worker_running{{camera="{n}"}} {float(c.running)}' for n, c in cameras.items()]
    lines += ["# HELP streamderain_worker_restarts_total Times the camera's process was begun again."]
    lines += ["# TYPE streamderain_worker_restarts_total counter"]
    lines += [f'streamderain_worker_restarts_total{{camera="{n}"}} {float(c.restarts)}' for n, c in cameras.items()]
    return "\n".join(lines)


async def _pump(source: Any, target: Any) -> None:
    """Messages of one WebSocket into the other, until one of them ends."""
    async for message in source:
        if message.type is WSMsgType.TEXT:
            async with asyncio.timeout(_WRITE_SECONDS):
                await target.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            async with asyncio.timeout(_WRITE_SECONDS):
                await target.send_bytes(message.data)
        else:
            return


def _inside(request: web.Request, camera: Camera) -> str:
    query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
    prefix = f"/cameras/{camera.name}"
    return f"http://127.0.0.1:{camera.port}{request.rel_url.raw_path.removeprefix(prefix)}{query}"


def _headers(request: web.Request, camera: Camera) -> dict[str, str]:
    kept = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
    return {**kept, "Authorization": f"Bearer {camera.token}"}


def _gone(camera: Camera) -> web.Response:
    return web.Response(status=502, text=f"camera {camera.name} does not answer; it is begun again, see the log\n")


def _unknown() -> web.Response:
    return web.Response(status=404, text="there is no such camera\n")


def _drop(request: web.Request) -> None:
    with suppress(AttributeError):
        request.transport.abort()  # type: ignore[union-attr]  # None where it is gone already
