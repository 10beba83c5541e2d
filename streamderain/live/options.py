"""What one camera's run is asked for: by options, a configuration file, or a worker's orders."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from streamderain.errors import DerainError
from streamderain.live import values
from streamderain.live.address import Address
from streamderain.live.controls import LIVE_PROFILES

if TYPE_CHECKING:
    from streamderain.nvdec import Decoder

TOKEN = "STREAMDERAIN_TOKEN"  # the environment variable with the page's token
NETWORK = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "rtp")


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """One camera, what is done to its picture, and where that goes.

    Attributes:
        source: the camera.
        size, rate, pixel_format: what it is asked for; None leaves it the choice.
        transport: of RTSP: auto, tcp or udp.
        pace: play a file at its own pace, as if it were a camera, again and again; with `once`, one time.
        profile, device, model, strength, backend, precision, cache_dir: see Derainer.
        max_latency_ms: a frame older than this is dropped and not shown.
        show: in a window on this machine's screen.
        record: file that the clean picture is recorded to, in segments.
        segment: seconds of each; segment_size: bytes of each, None without this bound; keep: which older ones stay,
            see values.keep_bounds, None keeps all.
        push: where the clean picture is sent.
        decoder: where pictures are decoded; auto leaves them on the GPU that the network runs on where NVDEC can, nvdec
            says where it cannot.
        encoder, crf, preset: of recordings and pushes; the encoder auto is NVENC where that GPU has it, else libx264.
        virtual_camera: device, "auto" takes the first; None without.
        snapshots: folder for single pictures; None without.
        sound: whether the camera's sound comes along.
    """

    source: Address
    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    pixel_format: str | None = None
    transport: Literal["auto", "tcp", "udp"] = "auto"
    pace: bool = False
    once: bool = False
    profile: str = "auto"
    device: str = "auto"
    model: Path | None = None
    strength: float = 1.0
    backend: Literal["auto", "eager", "compile", "tensorrt"] = "auto"
    precision: Literal["auto", "int8", "bf16", "fp16", "fp32"] = "auto"
    cache_dir: Path | None = None
    max_latency_ms: int = 500
    show: bool = False
    record: Path | None = None
    segment: float = 600.0
    segment_size: int | None = None
    keep: str | None = None
    push: tuple[Address, ...] = ()
    decoder: Decoder = "auto"
    encoder: str = "auto"
    crf: int | None = None
    preset: str | None = None
    virtual_camera: str | None = None
    snapshots: Path | None = None
    sound: bool = True

    @property
    def has_output(self) -> bool:
        """Whether the picture goes anywhere but to a page; snapshots are asked for there, or in the window."""
        return bool(self.show or self.record or self.push or self.virtual_camera)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All that may hold a password."""
        return (self.source, *self.push)


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Where a page is served, and to whom.

    Attributes:
        host, port: port 0 takes any free one.
        next_ports: how many of the ports above are tried where that one is taken.
        token: what a visitor has to know; None without.
        allow_hosts: names besides the address itself under which the page may be called.
    """

    host: str = "127.0.0.1"
    port: int = 8088
    next_ports: int = 0
    token: str | None = field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()


Made = TypeVar("Made")


def on_free_port(page: PageOptions, make: Callable[[int], Made]) -> Made:
    """What `make` makes with the page's port, or with one of the next ones.

    Raises:
        DerainError: as `make` raises it for the first port, where none of them will do.
    """
    first: DerainError | None = None
    for port in range(page.port, page.port + page.next_ports + 1):
        try:
            return make(port)
        except DerainError as error:
            first = first or error
    assert first is not None
    raise first


def _virtual_camera(value: Any) -> str | None:
    if isinstance(value, bool):
        return "auto" if value else None
    return values.text(value)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "source": values.address,
    "size": values.size,
    "rate": values.rate,
    "pixel_format": values.pixel_format,
    "transport": values.one_of("auto", "tcp", "udp"),
    "pace": values.flag,
    "once": values.flag,
    "profile": values.one_of(*LIVE_PROFILES),
    "device": values.text,
    "model": values.path,
    "strength": values.number(0, 2),
    "backend": values.one_of("auto", "eager", "compile", "tensorrt"),
    "precision": values.one_of("auto", "int8", "bf16", "fp16", "fp32"),
    "cache_dir": values.path,
    "max_latency_ms": values.number(20, 60_000, whole=True),
    "show": values.flag,
    "record": values.path,
    "segment": values.seconds,
    "segment_size": values.byte_count,
    "keep": values.keep,
    "push": values.addresses,
    "decoder": values.one_of("auto", "cpu", "nvdec"),
    "encoder": values.text,
    "crf": values.number(0, 255, whole=True),
    "preset": values.text,
    "virtual_camera": _virtual_camera,
    "snapshots": values.path,
    "sound": values.flag,
}


class WrongValue(ValueError):
    """A value that is refused: the name of the option, and why in one line."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


def camera_options(given: Mapping[str, Any]) -> CameraOptions:
    """Checked options from plain values; what is not given or None has its default.

    Raises:
        WrongValue: a value is refused.
    """
    checked = {}
    for name, value in given.items():
        if value is None:
            continue
        try:
            checked[name] = CHECKS[name](value)
        except ValueError as error:
            raise WrongValue(name, str(error)) from None
    return CameraOptions(**checked)


def check_source(camera: CameraOptions) -> None:
    """Refuse a source that can never open, before anything heavy is loaded.

    Raises:
        DerainError: an unknown scheme, no such file, or a file without pace.
    """
    source, name = camera.source, camera.source.secret
    if source.scheme in NETWORK or name.isdecimal() or name.startswith("/dev/") or name.partition("=")[0] == "testsrc":
        return
    if source.scheme:
        known = ", ".join(f"{scheme}://" for scheme in NETWORK)
        raise DerainError(f"{source} begins with {source.scheme}://, which is not read here; give {known}")
    if not Path(name).is_file():
        raise DerainError(f"{source} is no camera, no address and no file; see `streamderain camera --list`")
    if not camera.pace:
        raise DerainError(f"{source} is a file; give --pace to play it like a camera, or use `streamderain video`")


def plain(options: CameraOptions) -> dict[str, Any]:
    """The options as JSON can hold them, passwords included; `camera_options` reads it back."""
    return {name: _plain(value) for name in CHECKS if (value := getattr(options, name)) is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Address):
        return value.secret
    if isinstance(value, tuple):
        return "x".join(map(str, value)) if value and isinstance(value[0], int) else [_plain(each) for each in value]
    return str(value) if isinstance(value, (Fraction, Path)) else value


assert {each.name for each in fields(CameraOptions)} == set(CHECKS)
