"""How frames are encoded and when: settled before the first one, by trying. The trying itself is in encoders.py."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from streamderain import containers, hdr, surfaces
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.look import Look
from streamderain.source import VideoInfo, VideoSource

DEFAULT = "libx264"
AUTO = "auto"  # as the name of an encoder: NVENC where it works, else DEFAULT


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for.

    Attributes:
        encoder: FFmpeg's name.
        crf: the encoder's own quality number, None for our default.
        preset: the encoder's own word for speed, None for its default.
    """

    encoder: str
    crf: int | None = None
    preset: str | None = None


@dataclass(frozen=True, slots=True)
class Encoding:
    """What an encoder is opened with.

    Attributes:
        encoder, pixel_format: FFmpeg's names.
        options: the encoder's own.
        width, height: pixels.
        unit: seconds per tick.
        rate: frames per second.
        cuda: number of the CUDA device on which the encoder takes frames, None where it takes them from memory.
    """

    encoder: str
    options: dict[str, str]
    pixel_format: str
    width: int
    height: int
    unit: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)
    cuda: int | None = None


def wish(
    choice: Choice, pixel_format: str, size: tuple[int, int], info: VideoInfo, look: Look, format_name: str | None
) -> Encoding:
    """The encoding that keeps most of the input; `settle` says whether the encoder takes it.

    Args:
        choice: what was asked for.
        pixel_format: that the encoder has, nearest to the input's.
        size: (width, height) of the frames.
        info, look: of the input.
        format_name: of the container, None for pictures.
    """
    options = containers.encoder_options(choice.encoder, choice.crf, choice.preset)
    for key, value in hdr.encoder_parameters(choice.encoder, look.mastering, look.light).items():
        options[key] = ":".join(filter(None, (options.get(key), value)))
    unit, rate = info.time_base, info.rate or Fraction(25)
    if format_name is None or containers.constant_rate(format_name):
        unit = 1 / rate
    if choice.encoder == "mjpeg" and pixel_format.startswith("yuv4"):
        pixel_format = pixel_format.replace("yuv4", "yuvj4")
    return Encoding(choice.encoder, options, pixel_format, *size, unit, rate)


def hdr_lost(encoder: str, look: Look) -> list[str]:
    """What to tell of HDR metadata that this encoder does not write."""
    held = look.mastering is not None or look.light is not None
    if not held or uses_nvenc(encoder) or hdr.encoder_parameters(encoder, look.mastering, look.light):
        return []
    return [f"{encoder} does not write HDR metadata (mastering display, light level): left out"]


def uses_nvenc(encoder: str) -> bool:
    """Whether this is one of NVENC's encoders."""
    return encoder.endswith("_nvenc")


def candidate(pixel_format: str) -> str | None:
    """NVENC's encoder for frames of a planar format; None where it would have to change their samples."""
    return {"nv12": "h264_nvenc", "p010le": "hevc_nvenc"}.get(surfaces.layout_for(pixel_format) or "")


def on_cuda(first: Encoding, index: int | None, source_format: str) -> Encoding | None:
    """The same encoding of frames that stay on a CUDA device; None where the encoder or the frames are not for that.

    Args:
        first: the wish.
        index: of the device, None without one.
        source_format: FFmpeg's name of the input's planar format.
    """
    layout = surfaces.layout_for(source_format)
    if index is None or not uses_nvenc(first.encoder) or layout is None or first.width % 2 or first.height % 2:
        return None
    return replace(first, pixel_format=layout, cuda=index)


def settle(
    first: Encoding, offered: list[str], probe: Callable[[Encoding], str | None], warnings: list[str]
) -> Encoding:
    """The wish itself, or the least change of it that works.

    Args:
        first: the wish.
        offered: pixel formats of the encoder; empty where it takes any.
        probe: tries an encoding; None where it works, else the reason.
        warnings: is told what had to change.

    Raises:
        DerainError: nothing works.
    """
    reason = probe(first)
    if reason is None:
        return first
    coarse = replace(first, unit=containers.coarse_unit(first.rate))
    if first.unit.denominator > coarse.unit.denominator and probe(coarse) is None:
        warnings.append(f"{first.encoder} counts time in {coarse.unit} s at the finest: frames go to the nearest tick")
        return coarse
    for other, how in _even(first):
        if (other.pixel_format in offered or not offered) and probe(other) is None:
            size = f"{first.width}x{first.height}"
            warnings.append(f"{first.encoder} does not take {first.pixel_format} of odd size {size}: {how}")
            return other
    raise DerainError(
        f"encoder {first.encoder} does not start for {first.width}x{first.height} {first.pixel_format} ({reason}); "
        "choose another --encoder, --preset or --crf"
    )


def _even(first: Encoding) -> list[tuple[Encoding, str]]:
    """Ways around an odd size with reduced chroma, and what each does."""
    known = containers.pixel_format(first.pixel_format)
    if not known or known[0].subsampling == (0, 0) or not (first.width % 2 or first.height % 2):
        return []
    whole = containers.planar_name(replace(known[0], subsampling=(0, 0)))
    width, height = first.width + first.width % 2, first.height + first.height % 2
    return [
        (replace(first, pixel_format=whole), f"encoded as {whole}"),
        (replace(first, width=width, height=height), f"grown to {width}x{height} by repeating the edge"),
    ]


def set_up(context: Any, encoding: Encoding, source: VideoSource | None) -> None:
    """Tell an encoder how to encode.

    Args:
        context: an av.VideoCodecContext that is not open yet.
        encoding: how.
        source: whose colour and shape of pixels are written into the stream; None says nothing of them.
    """
    context.width, context.height, context.pix_fmt = encoding.width, encoding.height, encoding.pixel_format
    context.time_base, context.framerate = encoding.unit, encoding.rate
    context.options = dict(encoding.options)
    context.thread_count = 0
    if source is None:
        return
    look, known = source.look, containers.pixel_format(source.info.pixel_format)
    context.color_primaries, context.color_trc = look.primaries, look.transfer
    context.color_range = containers.RANGE_FULL if source.info.pixel_format.startswith("yuvj") else look.range
    context.colorspace = look.matrix
    if known and known[0].family == "rgb" and not context.format.is_rgb:
        context.colorspace = containers.coded_matrix(look.matrix, encoding.height)
        context.color_range = containers.RANGE_LIMITED
    if source.info.sample_aspect_ratio != 1:
        context.sample_aspect_ratio = source.info.sample_aspect_ratio


class Ticks:
    """Frames' own times in the encoder's ticks.

    Args:
        format_name: of the container; some have no clock and only number their frames.
        encoding: how they are encoded.
    """

    def __init__(self, format_name: str, encoding: Encoding) -> None:
        self._format, self._unit, self._rate = format_name, encoding.unit, encoding.rate
        self._numbered = containers.constant_rate(format_name)
        self._count = 0
        self._first: int | None = None
        self._durations: dict[int, int] = {}

    def stamp(self, frame: Frame) -> tuple[int, int]:
        """Time and duration of the next frame, ticks.

        Raises:
            DerainError: the container only numbers frames, and this one is not at its place (exit code 4).
        """
        seconds = frame.pts * frame.time_base if frame.pts is not None else self._count / self._rate
        time = round(seconds / self._unit)
        if self._numbered:
            time = self._number(time)
        self._count += 1
        self._durations[time] = max(0, round(frame.duration * frame.time_base / self._unit))
        return time, self._durations[time]

    def take_duration(self, time: int | None) -> int:
        """The duration of the frame stamped with this time, once: an encoder forgets it. 0 where it is unknown."""
        return 0 if time is None else self._durations.pop(time, 0)

    @property
    def begin(self) -> Fraction:
        """Seconds from the beginning to the first frame that the container leaves out, because it only numbers."""
        return Fraction(0) if self._first is None else self._first * self._unit

    def _number(self, time: int) -> int:
        self._first = time if self._first is None else self._first
        if abs(time - self._first - self._count) > 1:
            raise DerainError(
                f"{self._format} holds a constant rate only, and frame {self._count + 1} is not at its place at "
                f"{float(self._rate):.3f} fps; write mkv or mp4 instead",
                exit_code=4,
            )
        return self._count
