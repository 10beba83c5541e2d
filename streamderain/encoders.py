"""Which encoder takes what, found by trying it, and encoders made. A door to PyAV."""
from __future__ import annotations

import io
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError, find_best_pix_fmt_of_list

from streamderain import containers, nvdec, planes
from streamderain.carry import live_tags
from streamderain.encoding import DEFAULT, Choice, Encoding, candidate, on_cuda, set_up, settle, wish
from streamderain.errors import DerainError
from streamderain.grid import rate_for
from streamderain.source import VideoSource

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes its settings to stderr otherwise


def choose_encoder(pixel_format: str, cuda: int | None, warnings: list[str], format_name: str | None = None) -> str:
    """What "auto" is: NVENC where the network runs on a CUDA device and NVENC encodes such frames, else libx264.

    Args:
        pixel_format: FFmpeg's name of the frames' planar format.
        cuda: number of the CUDA device, None without one.
        warnings: told why it is not NVENC although there is a device.
        format_name: of the container, None where any will do.
    """
    if cuda is None or format_name == "yuv4mpegpipe":  # which is not encoded
        return DEFAULT
    encoder = candidate(pixel_format)
    if encoder is None:
        reason: str | None = f"it does not take {pixel_format}"
    elif format_name is not None and not _holds(format_name, encoder):
        reason = f"{format_name} does not hold what it makes"
    else:
        reason = probe_encoder(encoder)
    if encoder is not None and reason is None:
        return encoder
    warnings.append(f"NVENC does not encode here ({reason}): {DEFAULT} does, on the CPU")
    return DEFAULT


def probe_encoder(name: str) -> str | None:
    """Encode one small frame. None where it works, else the reason in a few words."""
    try:
        codec = av.Codec(name, "w")
    except UnknownCodecError:
        return "this FFmpeg does not have it"
    if codec.type != "video":
        return f"it encodes {codec.type}, not video"
    offered = _offered(codec)
    wanted = "yuv420p" if not offered or "yuv420p" in offered else offered[0]
    wanted = "yuvj420p" if name == "mjpeg" else wanted
    return _probe(Encoding(name, containers.encoder_options(name, None, None), wanted, 320, 256))


def plan_encoding(
    source: VideoSource,
    choice: Choice,
    format_name: str | None,
    size: tuple[int, int],
    warnings: list[str],
    cuda: int | None = None,
) -> Encoding:
    """Choose pixel format and size that the encoder takes, and prove it with one frame.

    Args:
        source: whose pixel format, colours and rate are to be kept.
        choice: encoder, quality and speed as asked for.
        format_name: FFmpeg's name of the container, None for pictures.
        size: (width, height) of the frames that will come.
        warnings: told what is lost.
        cuda: number of the CUDA device that frames may come on, None where they come in memory.

    Raises:
        DerainError: the encoder is not there, or takes no such frames, or the container does not hold what it makes.
    """
    raw = format_name == "yuv4mpegpipe"
    choice = Choice("rawvideo") if raw else choice
    codec = codec_of(choice.encoder)
    if format_name is not None and not _holds(format_name, choice.encoder):
        raise DerainError(f"{format_name} does not hold {codec.canonical_name}; choose another --encoder")
    offered = list(containers.Y4M_FORMATS) if raw else _offered(codec)
    chosen = _nearest(source.info.pixel_format, offered, choice.encoder, warnings)
    info = source.info
    if format_name is not None and containers.constant_rate(format_name):
        info = replace(info, rate=rate_for(source, format_name) or info.rate)
    first = wish(choice, chosen, size, info, source.look, format_name)
    there = on_cuda(first, cuda, source.info.pixel_format)
    if there is not None and _probe(there) is None:
        return there
    return settle(first, offered, _probe, warnings)


def codec_of(name: str) -> Any:
    """FFmpeg's description of a video encoder.

    Raises:
        DerainError: there is none of this name, or it encodes something else.
    """
    try:
        codec = av.Codec(name, "w")
    except UnknownCodecError:
        raise DerainError(f"there is no encoder {name}; `streamderain doctor` lists those that work") from None
    if codec.type != "video":
        raise DerainError(f"{name} encodes {codec.type}, not video; choose another --encoder")
    return codec


def _holds(format_name: str, encoder: str) -> bool:
    """Whether a container holds what an encoder makes."""
    try:
        av.open(io.BytesIO(), "w", format=format_name).add_stream(encoder)
    except ValueError:
        return False
    return True


def new_context(encoding: Encoding, source: VideoSource | None) -> Any:
    """An encoder outside of any container."""
    with _acceleration(encoding) as accelerated:
        context: Any = av.CodecContext.create(encoding.encoder, "w", accelerated)
    set_up(context, encoding, source)
    return context


def add_video(output: Any, encoding: Encoding, source: VideoSource) -> Any:
    """The video stream of an output container, with its tags and its rotation."""
    with _acceleration(encoding) as accelerated:
        rate, unit = encoding.rate, encoding.unit
        stream = output.add_stream(encoding.encoder, rate=rate, hwaccel=accelerated, time_base=unit)
    set_up(stream.codec_context, encoding, source)
    tags = live_tags(source.video_metadata)
    stream.metadata.update({key: value for key, value in tags.items() if key.lower() != containers.ALPHA_TAG})
    if source.look.turn is not None:
        stream.set_display_matrix(source.look.turn)
    elif source.look.rotation:
        stream.set_display_rotation(source.look.rotation)
    return stream


def _acceleration(encoding: Encoding) -> AbstractContextManager[Any]:
    return nullcontext() if encoding.cuda is None else nvdec.acceleration(encoding.cuda)


def _nearest(name: str, offered: list[str], encoder: str, warnings: list[str]) -> str:
    """The pixel format that loses least; no offers are all offers."""
    plain = name.replace("yuvj", "yuv")
    if not offered or plain in offered:
        return plain
    best, loss = find_best_pix_fmt_of_list(offered, plain, True)
    assert best is not None
    if loss:
        warnings.append(f"{encoder} does not take {name}; encoded as {best.name}")
    return best.name


def _offered(codec: Any) -> list[str]:
    """Software formats that an encoder takes; deprecated full-range doubles left out."""
    names = [(format.name, len(format.components)) for format in codec.video_formats or ()]
    return [name for name, components in names if components and not name.startswith("yuvj")]


def _probe(encoding: Encoding) -> str | None:
    """Encode one black frame; the reason where that fails."""
    try:
        context = new_context(encoding, None)
        picture = av.VideoFrame(encoding.width, encoding.height, encoding.pixel_format)
        for plane in picture.planes:
            planes.lines(plane, np.dtype("u1"), plane.line_size)[:] = 0
        picture.pts, picture.time_base = 0, encoding.unit
        packets = [*context.encode(picture), *context.encode(None)]
        unknown = set(context.options) & {"crf", "cq", "preset"}
    except nvdec.TROUBLE as error:
        return nvdec.reason_of(error)
    if unknown:
        return f"it has no option {' or '.join(sorted(unknown))}"
    return None if packets else "it gave no packet"
