"""Runs one camera, or supervises several, until they are over or interrupted, and tells how it goes."""
from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from streamderain.cli.interrupt import Interruptions
from streamderain.cli.text import one_line
from streamderain.errors import DerainError
from streamderain.live.journal import STATUS_SECONDS, Hide, Journal, Teller, every, hider, take_logging
from streamderain.live.options import CameraOptions, PageOptions, check_source
from streamderain.live.outbox import Outbox
from streamderain.live.status import Event, Status

if TYPE_CHECKING:
    from streamderain.live.config import Config

LogKind = Literal["auto", "plain", "json"]
_OUTPUT_FAILED = 4


def run_one(
    camera: CameraOptions,
    page: PageOptions | None,
    *,
    duration: float | None = None,
    log: LogKind = "auto",
    warnings: Sequence[str] = (),
) -> int:
    """Run a camera; returns the exit code.

    Args:
        camera: what is asked for.
        page: where it is served, None without.
        duration: seconds until it ends, from when the network is loaded; None runs for ever.
        log: how to tell.
        warnings: lines to begin with.

    Raises:
        DerainError: it cannot begin.
    """
    hide, status = hider(camera.addresses, [page.token] if page else ()), Status(str(camera.source))
    with telling(log, lambda: {"": status.as_dict()}, hide) as teller, Interruptions() as interruptions:
        for line in warnings:
            teller.say(line)

        def tell(event: Event) -> None:
            teller.event(event.kind, event.text)

        status.on_event(tell)
        from streamderain.live.assemble import assemble

        live = assemble(camera, page, status=status, ended=interruptions.stop.set)
        with interruptions.orderly(), _timer(duration, interruptions.stop) as timer:
            stop = interruptions.stop
            live.announce(teller.say, stop, then=timer)
            every(STATUS_SECONDS, lambda: teller.status(status.as_dict()), stop)
            live.watch(stop)
        teller.status(status.as_dict())
        return interruptions.exit_code or _exit_code(status.as_dict()["outputs"])


def run_several(config: Config, file: Path, *, duration: float | None = None, log: LogKind = "auto") -> int:
    """Run the cameras of a file, one process each, and one page; returns the exit code.

    Raises:
        DerainError: it cannot begin.
    """
    import streamderain.live.page  # noqa: F401  # says in one line what to install where aiohttp is missing
    from streamderain.live.overview import Overview
    from streamderain.live.supervisor import Keeper, Supervisor

    for name, camera in config.cameras.items():
        try:
            check_source(camera)
        except DerainError as error:
            raise DerainError(f"{file}: [cameras.{name}] source: {error}") from None
    addresses = [address for camera in config.cameras.values() for address in camera.addresses]
    hide = hider(addresses, [config.page.token])
    keepers: dict[str, Keeper] = {}

    def facts() -> Mapping[str, Mapping[str, Any]]:
        return {name: keeper.status() for name, keeper in keepers.items()}

    with telling(log, facts, hide) as teller, Interruptions() as interruptions:
        supervisor = Supervisor(config.cameras, teller, withheld=config.variables)
        keepers |= supervisor.keepers

        def journal() -> None:
            for name, found in facts().items():
                teller.status(found, name)

        with interruptions.orderly(), _timer(duration, interruptions.stop) as timer:
            timer()
            overview = Overview(config.page, supervisor.keepers)
            try:
                teller.say(f"the page of all cameras is {overview.url}")
                every(STATUS_SECONDS, journal, interruptions.stop)
                supervisor.run(interruptions.stop, ending=journal)
            finally:
                overview.close()
        outputs = [output for camera in facts().values() for output in camera.get("outputs", ())]
        return interruptions.exit_code or _exit_code(outputs)


@contextmanager
def telling(log: LogKind, look: Callable[[], Mapping[str, Mapping[str, Any]]], hide: Hide) -> Iterator[Teller]:
    """Where lines go: a screen on a terminal, else a log on stderr; what libraries log goes there too."""
    if log == "auto" and sys.stderr is not None and sys.stderr.isatty():
        from streamderain.cli.screen import Screen

        with Screen(look, hide=hide) as screen, _logging(screen, hide):
            yield screen
    else:
        with closing(Outbox(_to_stderr)) as outbox:
            journal = Journal(outbox.put, as_json=log == "json", hide=hide)
            with _logging(journal, hide):
                yield journal


def _to_stderr(line: str) -> None:
    """One line, past Python's buffer: a thread that hangs in it would take the end of the process with it."""
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # none, or one that only looks like it
        click.echo(one_line(line), err=True)
        return
    rest = memoryview(f"{one_line(line)}{os.linesep}".encode(errors="backslashreplace"))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def _logging(teller: Teller, hide: Hide) -> Iterator[None]:
    undo = take_logging(teller, hide)
    yield
    undo()  # not after an exception: the traceback of a bug is still to be printed, without secrets


@contextmanager
def _timer(seconds: float | None, stop: threading.Event) -> Iterator[Callable[[], None]]:
    """What begins the time after which `stop` is set."""
    timer = threading.Timer(seconds or 0.0, stop.set)
    timer.daemon = True
    try:
        yield timer.start if seconds is not None else lambda: None
    finally:
        timer.cancel()


def _exit_code(outputs: Iterable[Mapping[str, Any]]) -> int:
    """0, or 4 where an output has given up, or never got anything through."""
    useless = any(each["state"] == "failed" or (each["dropped"] and not each["taken"]) for each in outputs)
    return _OUTPUT_FAILED if useless else 0
