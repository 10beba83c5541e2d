"""How NVDEC is asked for, through FFmpeg and in the CUDA context that torch has. A door to PyAV.

What its pictures are is in surfaces.py; whether it goes on decoding, in switch.py.
"""
from __future__ import annotations

import ctypes
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Literal

import av
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError

from streamderain import containers, surfaces
from streamderain.errors import DerainError

Decoder = Literal["auto", "cpu", "nvdec"]
TROUBLE = (FFmpegError, OSError, RuntimeError, ValueError, NotImplementedError)  # what a driver or FFmpeg may raise
NO_CUDA = "there is no CUDA device"
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}


def cuda_index(device: str) -> int | None:
    """The number of the CUDA device that a network with this `device` runs on; None where it runs on the CPU."""
    if device == "cpu" or not _has_driver():
        return None
    import torch  # takes seconds: only where it may say yes

    from streamderain.engine import resolve_device

    try:
        where = torch.device(resolve_device(device))
    except DerainError:  # the network will say so
        return None
    return (where.index or 0) if where.type == "cuda" else None


def _has_driver() -> bool:
    """Whether there is an NVIDIA driver, which is asked without torch."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


@contextmanager
def acceleration(index: int) -> Iterator[Any]:
    """What `av.open` and streams need to work on a CUDA device; good within the context.

    Args:
        index: of the device.

    Raises:
        One of TROUBLE: there is no such device.
    """
    import torch

    if not torch.cuda.is_available():
        raise NotImplementedError(NO_CUDA)
    with torch.cuda.device(index):
        torch.zeros(1, device=f"cuda:{index}")  # makes torch's context the thread's current one
        # FFmpeg would ask for the primary context with flags of its own, and fails where torch was there first
        yield HWAccel(
            "cuda", str(index), allow_software_fallback=True, is_hw_owned=True,
            options={"primary_ctx": "0", "current_ctx": "1"},
        )  # fmt: skip


def second_look(file: Any, stream: int, index: int, **options: Any) -> tuple[Any, Any]:
    """Open a file once more, for the decoder of one of its streams on a CUDA device.

    Opened, and not made anew: only so has the decoder all that the container says of the stream, its rotation too.

    Args:
        file: name or file object, as av.open takes it.
        stream: number of the stream.
        index: of the device.
        options: of av.open.

    Returns:
        The container, which has to stay open as long as its decoder is used, and the decoder.

    Raises:
        One of TROUBLE: NVDEC does not decode such a stream, or there is no NVDEC.
    """
    with acceleration(index) as accelerated:
        container: Any = av.open(file, hwaccel=accelerated, **options)
        context = container.streams[stream].codec_context
        if not context.is_hwaccel:
            container.close()
            raise NotImplementedError(f"FFmpeg's decoder {context.name} does not use NVDEC")
        context.thread_count = 1  # more would only hold back pictures and surfaces
        return container, context


def reason_of(error: BaseException) -> str:
    """What went wrong, in a few words."""
    return " ".join(str(getattr(error, "strerror", None) or error).lower().split()) or type(error).__name__


def probe(codec: str, index: int | None, look: Callable[..., tuple[Any, Any]] = second_look) -> str | None:
    """Decode a small clip that this FFmpeg encodes itself, and compare. None where NVDEC works, else the reason.

    Args:
        codec: "h264" or "hevc".
        index: of the CUDA device, None where there is none.
        look: opens the clip there.
    """
    if index is None:
        return NO_CUDA
    clip = _clip(_ENCODERS[codec])
    try:
        container, decoder = look(io.BytesIO(clip), 0, index)
        with container:
            pictures = (each for packet in container.demux(container.streams[0]) for each in decoder.decode(packet))
            picture = next(pictures, None)
            if picture is None or surfaces.planar(picture) is None:
                return "its frames do not stay on the GPU"
            with av.open(io.BytesIO(clip), "r") as own:
                wrong = surfaces.differs(picture, next(own.decode(video=0)))
    except TROUBLE as error:
        return reason_of(error)
    return "its first frame is not the CPU decoder's" if wrong else None


def _clip(encoder: str) -> bytes:
    """Three frames as Matroska."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream(encoder, rate=25, options=containers.encoder_options(encoder, None, None))
        stream.width, stream.height, stream.pix_fmt = 320, 256, "yuv420p"
        for number in range(3):
            picture = av.VideoFrame(320, 256, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes(at * (number + 3) % 211 for at in range(plane.buffer_size)))
            picture.pts, picture.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return file.getvalue()
