"""The live page: pictures, figures and controls in any browser, served by a thread of its own."""
from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from streamderain.errors import DerainError
from streamderain.live.controls import Controls
from streamderain.live.guard import Guard
from streamderain.live.moments import Shown, Sound
from streamderain.live.pictures import Encoded, Pictures
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC, Clock

try:
    from aiohttp import http_exceptions, web

    from streamderain.live.desk import DESK
    from streamderain.live.door import IDLE_SECONDS, Door
    from streamderain.live.routes import make_app
except ImportError as missing:
    raise DerainError(
        f"the page needs {missing.name}, which is not installed: pip install 'streamderain[live]'"
    ) from None

_START_SECONDS, _CLOSE_SECONDS = 10.0, 2.0
_LOG = logging.getLogger("streamderain.page")
_VISITORS_FAULT = (http_exceptions.HttpProcessingError, ConnectionError, TimeoutError)
_LOG.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], _VISITORS_FAULT)))


class Page:
    """A web server in a thread; an Output that keeps the newest picture for whoever looks.

    Args:
        host, port: where it listens; port 0 takes a free one.
        status, controls: what it shows and what it may change.
        token: needed beyond this machine, see Guard.
        allowed_hosts: further names under which people reach it.
        name: of the camera, where there are several.
        clock: the run's.

    Attributes:
        url: where a browser on this machine finds it.

    Raises:
        DerainError: the port is taken, or a token is missing.
    """

    name = "page"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        status: Status,
        controls: Controls,
        token: str | None = None,
        allowed_hosts: tuple[str, ...] = (),
        name: str = "",
        clock: Clock = MONOTONIC,
    ) -> None:
        self.status, self.controls, self.camera, self.clock = status, controls, name, clock
        self.pictures = Pictures()
        self._guard = Guard(host, token, allowed_hosts)
        self._listener = listen(host, port)
        shown_host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{shown_host}:{self.port}/"
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="jpeg")
        self._looked_for = asyncio.Condition()
        self._waking = False
        self._served = Served(lambda: make_app(self, self._guard), self._listener)

    def show(self, shown: Shown) -> None:
        """Keep a picture; see Output."""
        self.pictures.put(shown)
        if not self._waking:  # one call a wake-up: the loop may be slower than the camera
            self._waking = True
            with suppress(RuntimeError):  # the loop has ended
                self._served.loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._wake()))

    def hear(self, sound: Sound) -> None:
        """A page is silent."""

    def close(self) -> None:
        """End within seconds, whoever looks."""
        self._served.close()
        self._encoder.shutdown(wait=False, cancel_futures=True)

    async def newer(self, number: int, view: str, width: int) -> Encoded:
        """The next picture after a number, in a view; waits until there is one."""
        async with self._looked_for:
            await self._looked_for.wait_for(lambda: self.pictures.number > number)
        picture = await self.newest(view, width)
        assert picture is not None
        return picture

    async def newest(self, view: str, width: int) -> Encoded | None:
        """The picture there is, in a view; None before the first."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._encoder, self.pictures.encoded, view, width)

    async def _wake(self) -> None:
        self._waking = False
        async with self._looked_for:
            self._looked_for.notify_all()


class Served:
    """An aiohttp application on a socket, in a thread with its own loop.

    Args:
        make: makes the application, in that thread.
        listener: bound and listening.

    Raises:
        Whatever `make` raises.
    """

    def __init__(self, make: Callable[[], web.Application], listener: socket.socket) -> None:
        self._make, self._listener = make, listener
        self.loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        self._up.wait(_START_SECONDS)
        if self._failure is not None:
            self._thread.join(_CLOSE_SECONDS)
            raise self._failure

    def close(self) -> None:
        """Drop all connections and end the thread."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        except BaseException as error:  # a thread has no caller; who starts it raises it
            self._failure = error
            if self._up.is_set():
                _LOG.exception("the page's server has ended")
        finally:
            self._listener.close()
            self._up.set()
            self.loop.close()

    async def _serve(self) -> None:
        app = self._make()
        runner = web.AppRunner(
            app, access_log=None, logger=_LOG, handle_signals=False, handler_cancellation=True,
            keepalive_timeout=IDLE_SECONDS, shutdown_timeout=0.2,
        )  # fmt: skip
        await runner.setup()
        door = Door(self._listener, runner.server)
        app[DESK].door = door
        door.open()
        self._up.set()
        await self._over.wait()
        await door.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS / 2):
                await runner.cleanup()
        rest: list[Awaitable[Any]] = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()  # type: ignore[attr-defined]
        await asyncio.gather(*rest, return_exceptions=True)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that does not block.

    Raises:
        DerainError: the address is not of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would take a port that somebody else has
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise DerainError(f"cannot serve on {host}:{port} ({reason}); choose another --serve [HOST:]PORT") from None
    listener.setblocking(False)
    return listener
