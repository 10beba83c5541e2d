"""Opens any kind of camera by its address. A door to PyAV: network streams, paced files and Linux cameras."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from streamderain import containers, nvdec, probes
from streamderain.live import local, testsrc
from streamderain.live.address import Address
from streamderain.live.connection import CameraError, Connection, Wish
from streamderain.live.paced import Paced
from streamderain.live.stream import Stream, silent, told
from streamderain.live.timing import Clock

_TLS = "tls,tcp,crypto"
_HTTP = f"http,https,httpproxy,{_TLS}"
# What a network source may open in turn. Never file: a playlist that a camera sends must not read our disk.
_PROTOCOLS = {
    "rtsp": f"rtsp,rtp,udp,{_TLS}", "rtsps": f"rtsp,rtp,udp,{_TLS}", "rtmp": "rtmp,rtmps,rtmpt," + _HTTP,
    "rtmps": "rtmp,rtmps," + _HTTP, "http": _HTTP, "https": _HTTP, "udp": "udp", "tcp": "tcp", "rtp": "rtp,udp",
}  # fmt: skip
_FORMATS = containers.READABLE_FORMATS + ",hls,mpjpeg,rtsp,rtp"
_HLS_SECONDS = (5.0, 20.0)  # a playlist is silent for as long as a piece lasts
# RTSP describes its streams before it sends them: looking into them first would cost half a second. Never "nobuffer":
# it throws away what was looked into, the first key frame, and the picture comes only with the next one.
_DESCRIBED = {"analyzeduration": "0", "probesize": "32"}
_LOOKED_INTO = {"analyzeduration": "500000", "probesize": "1000000", "fpsprobesize": "0"}
# An encoder that begins anew may number its streams otherwise; FFmpeg would take them for others, which nobody reads.
_SAME_STREAMS = {"merge_pmt_versions": "1"}


def open_camera(address: Address, wish: Wish, clock: Clock) -> Connection:
    """Connect, and wait for what is needed to decode.

    Args:
        address: a camera's number or device, a URL, a file (with wish.pace), or testsrc[=WxH[@RATE]].
        wish: see Wish.
        clock: times local cameras and paces files.

    Raises:
        CameraError: one line with the reason, passwords masked.
    """
    name = address.secret
    if name.partition("=")[0] == "testsrc":
        if wish.cuda is not None:
            wish.tell("it is drawn, not decoded")
        return testsrc.open_testsrc(name, wish, clock)
    if name.isdecimal() or name.startswith("/dev/"):
        return _open_local(name, wish, clock)
    if address.scheme in _PROTOCOLS:
        return _open_network(address, wish, clock)
    if address.scheme:
        known = ", ".join(f"{scheme}://" for scheme in _PROTOCOLS)
        raise CameraError(f"{address} begins with {address.scheme}://, which is not read here; give {known}", "absent")
    return _open_file(name, wish, clock)


def is_local(address: Address) -> bool:
    """Whether a failure to open it is final: a file or a camera of this machine, not something on a network."""
    return address.scheme not in _PROTOCOLS


def list_cameras() -> list[str]:
    """A line for each camera of this machine: what to give as source, what it is called, and why it may not open."""
    found = probes.v4l2_cameras() if sys.platform == "linux" else probes.opencv_cameras()
    denied = "; this user may not open it: join the group video"
    return [f"{each.source}  {each.name}{'' if each.permitted else denied}" for each in found]


def _open_local(name: str, wish: Wish, clock: Clock) -> Connection:
    if sys.platform != "linux" and name.isdecimal():
        return local.open_local(int(name), wish)
    node = Path(f"/dev/video{name}") if name.isdecimal() else Path(name)
    if not node.exists():
        raise CameraError(f"camera {name} is not there; `streamderain camera --list` shows those that are", "absent")
    options = {}
    if wish.width and wish.height:
        options["video_size"] = f"{wish.width}x{wish.height}"
    if wish.rate:
        options["framerate"] = str(wish.rate)
    if wish.pixel_format:
        options["input_format"] = wish.pixel_format
    return _opened(Address(str(node)), wish, options, clock, format="v4l2")


def _open_network(address: Address, wish: Wish, clock: Clock) -> Connection:
    options = {"protocol_whitelist": _PROTOCOLS[address.scheme]}
    if address.scheme in ("rtsp", "rtsps"):
        options |= _DESCRIBED
        options["rtsp_transport"] = "udp" if wish.transport == "udp" else "tcp"
        options["timeout"] = str(round(wish.read_seconds * 1e6))
    else:
        options |= {**_LOOKED_INTO, "format_whitelist": _FORMATS, **_SAME_STREAMS}
    if address.scheme in ("http", "https"):
        del options["fpsprobesize"]  # playlists would tell twice the rate
    if address.scheme == "udp":
        options |= {"fifo_size": "50000", "overrun_nonfatal": "1"}
    stream = _opened(address, wish, options, clock)
    if not stream.ahead:
        return stream
    if wish.growing and not stream.info.growing:
        stream.close()
        raise CameraError(f"{address} has ended its playlist; waiting for it to go on", "ended")
    return Paced(lambda: _opened(address, wish, options, clock), wish.loop, clock, first=stream)


def _open_file(name: str, wish: Wish, clock: Clock) -> Connection:
    if not Path(name).is_file():
        raise CameraError(f"{name} is no camera, no address and no file; see `streamderain camera --list`", "absent")
    if not wish.pace:
        raise CameraError(f"{name} is a file: use --pace to play it like a camera, or `streamderain video`", "absent")
    guard = {"protocol_whitelist": "file", "format_whitelist": containers.READABLE_FORMATS}
    url = f"file:{Path(name).absolute()}"
    return Paced(lambda: _opened(Address(name), wish, guard, clock, url=url), wish.loop, clock)


def _opened(
    address: Address, wish: Wish, options: dict[str, str], clock: Clock, *,
    url: str | None = None, format: str | None = None,
) -> Stream:  # fmt: skip
    seconds, begun = (wish.connect_seconds, wish.read_seconds), clock.now()
    if address.secret.partition("?")[0].endswith(".m3u8"):
        seconds = _HLS_SECONDS
    try:
        with _acceleration(wish) as accelerated:
            container = av.open(
                url or address.secret, format=format, container_options=options, timeout=seconds,
                metadata_errors="ignore", options={"max_pixels": str(wish.max_pixels)}, hwaccel=accelerated,
            )  # fmt: skip
    except (FFmpegError, OSError, ValueError) as error:
        late = clock.now() - begun >= seconds[0]
        trouble = silent(address) if late else told(address, error, "does not open")
    else:
        return Stream(container, address, wish, clock, seconds[1])
    raise trouble  # here, where it no longer has the library's error, which knows the password, for its context


@contextmanager
def _acceleration(wish: Wish) -> Iterator[Any]:
    """What a stream is opened with so that its pictures stay on the GPU; None where there is none, or no NVDEC."""
    accelerated = None
    with ExitStack() as stack:
        if wish.cuda is not None:
            try:
                accelerated = stack.enter_context(nvdec.acceleration(wish.cuda))
                av.CodecContext.create("h264", "r", accelerated)  # tries the driver: a camera is not asked twice
            except nvdec.TROUBLE as error:
                accelerated = None
                wish.tell(nvdec.reason_of(error))
        yield accelerated
