"""Builds one camera's run from its options: for the command, and for a supervised process."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import cv2  # noqa: F401  # before PyAV comes in: both bring X11's libraries, and with PyAV's first a window hangs

from streamderain.errors import DerainError
from streamderain.live import values
from streamderain.live.address import Address
from streamderain.live.cameras import open_camera
from streamderain.live.connection import CameraError, Connection, Wish
from streamderain.live.controls import Controls, Settings
from streamderain.live.moments import Output, Sound
from streamderain.live.networks import Networks
from streamderain.live.options import CameraOptions, PageOptions, on_free_port
from streamderain.live.receiver import LAG_SECONDS, Open, Receiver
from streamderain.live.run import LiveRun, watch
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC, Clock
from streamderain.nvdec import NO_CUDA, cuda_index

if TYPE_CHECKING:
    from streamderain.live.page import Page
    from streamderain.live.window import Window

_LOOK_SECONDS = 0.1


@dataclass(slots=True)
class Live:
    """A camera's run, ready to begin.

    Attributes:
        run: what derains.
        status: what it counts.
        page: where it is served, None without.
        window: on the screen, None without.
    """

    run: LiveRun
    status: Status
    page: Page | None = None
    window: Window | None = None

    def announce(
        self,
        say: Callable[[str], None],
        stop: threading.Event,
        *,
        page: bool = True,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Say, from a thread of its own, what derains and where the page is, as soon as the network is loaded.

        Args:
            say: takes a line.
            stop: ends the waiting.
            page: whether to name the page.
            then: called afterwards.
        """

        def work() -> None:
            while not self.status.network and not self.run.over.is_set():
                if stop.wait(_LOOK_SECONDS):
                    return
            facts = self.status.network
            if facts:
                say(f"profile {facts['profile']} on {facts['device']}, {facts['backend']} in {facts['precision']}")
            if facts and page and self.page is not None:
                say(f"the page is {self.page.url}")
            then()

        threading.Thread(target=work, name="announce", daemon=True).start()

    def watch(self, stop: threading.Event) -> None:
        """Begin, keep the calling thread until it is over, and close.

        Raises:
            Whatever ended the run.
        """
        watch(self.run, stop, None if self.window is None else self.window.pump)


def assemble(
    camera: CameraOptions,
    page: PageOptions | None,
    *,
    status: Status,
    name: str = "",
    ended: Callable[[], None] = lambda: None,
    clock: Clock = MONOTONIC,
) -> Live:
    """Build it; nothing runs yet but the page's server.

    Args:
        camera: what is asked for.
        page: where it is served, None without.
        status: of the run.
        name: of the camera among several.
        ended: called when a file that is played once is over.
        clock: of the run.

    Raises:
        DerainError: something that was asked for cannot be had.
    """
    networks = Networks(
        device=camera.device, model=camera.model, backend=camera.backend, precision=camera.precision,
        cache_dir=camera.cache_dir, tell=lambda line: status.tell("network", line),
    )  # fmt: skip
    if camera.profile not in networks.profiles:
        raise DerainError(f"profile {camera.profile} is not here; give one of {', '.join(networks.profiles)}")
    controls = Controls(Settings(camera.profile, camera.strength), networks.profiles)
    outputs: list[Output] = []

    def hear(sound: Sound) -> None:
        for output in outputs:
            output.hear(sound)

    with ExitStack() as undo:  # of several outputs, one that is refused leaves none of the others open
        for output in _outputs(camera, page, status=status, controls=controls, name=name, clock=clock):
            undo.callback(output.close)
            outputs.append(output)
        receiver = Receiver(
            camera.source, _wish(camera, status), status=status, clock=clock, on_sound=hear,
            open=_once(ended) if camera.once else open_camera,
            lag_seconds=min(LAG_SECONDS, camera.max_latency_ms / 1000),
        )  # fmt: skip
        run = LiveRun(
            receiver, outputs, networks, controls=controls, status=status,
            max_latency_s=camera.max_latency_ms / 1000, clock=clock,
        )  # fmt: skip
        undo.pop_all()
    by_name = {output.name: output for output in outputs}
    return Live(run, status, cast("Page | None", by_name.get("page")), cast("Window | None", by_name.get("window")))


def _outputs(
    camera: CameraOptions, page: PageOptions | None, *, status: Status, controls: Controls, name: str, clock: Clock
) -> Iterator[Output]:
    """Each output in turn, imported only where it is asked for."""
    if page is not None:
        from streamderain.live.page import Page

        parts = {"status": status, "controls": controls, "name": name, "clock": clock}
        options = {"token": page.token, "allowed_hosts": page.allow_hosts}
        yield on_free_port(page, lambda port: Page(page.host, port, **options, **parts))  # type: ignore[arg-type]
    if camera.show:
        from streamderain.live.window import Window

        yield Window(controls=controls, status=status, clock=clock)
    if camera.snapshots is not None:
        from streamderain.live.snapshots import Snapshots

        yield Snapshots(camera.snapshots, controls=controls, status=status, camera=name, clock=clock)
    if camera.virtual_camera is not None:
        from streamderain.live.virtual import VirtualCamera

        yield VirtualCamera(camera.virtual_camera, status=status, clock=clock)
    if camera.record is not None or camera.push:
        yield _broadcast(camera, status, clock)


def _broadcast(camera: CameraOptions, status: Status, clock: Clock) -> Output:
    from streamderain.live.broadcast import Broadcast
    from streamderain.live.push import Push
    from streamderain.live.record import Keep, Recording

    records = []
    if camera.record is not None:
        keep = Keep(**values.keep_bounds(camera.keep)) if camera.keep else Keep()  # type: ignore[arg-type]
        records = [Recording(camera.record, camera.segment, camera.segment_size, keep)]
    return Broadcast(
        records, [Push(target) for target in camera.push], status=status, clock=clock,
        encoder=camera.encoder, crf=camera.crf, preset=camera.preset, cuda=cuda_index(camera.device),
        sound=camera.sound,
    )  # fmt: skip


def _wish(camera: CameraOptions, status: Status) -> Wish:
    width, height = camera.size or (None, None)
    told: set[str] = set()

    def tell(reason: str) -> None:
        if camera.decoder == "nvdec" and reason not in told:  # it may be so at every connection
            told.add(reason)
            status.tell("decoder", f"{camera.source}: NVDEC does not decode this ({reason}): the CPU does")

    cuda = None if camera.decoder == "cpu" else cuda_index(camera.device)
    if cuda is None and camera.decoder != "cpu":
        tell(NO_CUDA)
    return Wish(
        width=width, height=height, rate=camera.rate, pixel_format=camera.pixel_format, transport=camera.transport,
        pace=camera.pace, loop=not camera.once, sound=camera.sound and bool(camera.record or camera.push),
        cuda=cuda, tell=tell,
    )  # fmt: skip


def _once(ended: Callable[[], None]) -> Open:
    """Opens a camera one time; the second time is the end."""
    opened = threading.Event()

    def open_it(address: Address, wish: Wish, clock: Clock) -> Connection:
        if opened.is_set():
            ended()
            raise CameraError(f"{address} has ended", "ended")
        connection = open_camera(address, wish, clock)
        opened.set()
        return connection

    return open_it
