"""Small clips made by PyAV for the tests of files in and out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamderain import planes

MILLI = Fraction(1, 1000)


def picture(index: int, *, size: tuple[int, int] = (64, 48), pixel_format: str = "yuv420p") -> av.VideoFrame:
    """A drawn picture, other for every index: noise in every sample of every plane, within the format's depth."""
    rng = np.random.default_rng(index)
    made = av.VideoFrame(*size, pixel_format)
    for plane, component in zip(made.planes, _first_components(made), strict=True):
        bits = component.bits
        dtype = np.dtype("u1" if bits == 8 else "<u2")
        rows = planes.lines(plane, dtype, plane.line_size // dtype.itemsize)
        rows[:] = rng.integers(0, 1 << bits, rows.shape, dtype=dtype)
    return made


def smooth(index: int, *, size: tuple[int, int] = (64, 48), pixel_format: str = "yuv420p") -> av.VideoFrame:
    """A picture that lossy encoders like: a ramp that moves."""
    made = av.VideoFrame(*size, pixel_format)
    for plane, component in zip(made.planes, _first_components(made), strict=True):
        dtype = np.dtype("u1" if component.bits == 8 else "<u2")
        rows = planes.lines(plane, dtype, plane.width)
        ramp = (np.arange(plane.width)[None] + np.arange(plane.height)[:, None] + 3 * index) % 200
        rows[:] = (ramp + 20) << (component.bits - 8)
    return made


def clip(
    path: Path | io.BytesIO,
    times: Sequence[int] = range(0, 400, 40),
    *,
    time_base: Fraction = MILLI,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    pixel_format: str = "yuv420p",
    draw: Any = smooth,
    options: dict[str, str] | None = None,
    container_format: str | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    colour: tuple[int, int, int, int] | None = None,
    sound: str | None = None,
    subtitle: str | None = None,
    tags: dict[str, str] | None = None,
    chapters: list[Any] | None = None,
    attachment: bytes | None = None,
) -> Path:
    """Write a clip with frames at these times.

    Args:
        colour: matrix, range, transfer, primaries as H.273 numbers them.
        sound: an audio encoder; a tone as long as the video.
        subtitle: a text subtitle encoder; one line each 100 ms.
    """
    target: Any = str(path) if isinstance(path, Path) else path
    with av.open(target, "w", format=container_format, container_options=container_options) as output:
        stream: Any = output.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if colour is not None:
            context = stream.codec_context
            context.colorspace, context.color_range, context.color_trc, context.color_primaries = colour
        output.metadata.update(tags or {})
        output.set_chapters(chapters or [])
        others = _others(output, sound, subtitle)
        if attachment is not None:
            output.add_attachment("notes.txt", "text/plain", attachment)
        for index, time in enumerate(times):
            frame = draw(index, size=size, pixel_format=pixel_format)
            frame.pts, frame.time_base = time, time_base
            if colour is not None:
                frame.color_range, frame.colorspace = colour[1], colour[0]
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        seconds = float((max(times) + 40) * time_base) if len(times) else 0.0
        for kind, other in others:
            output.mux(_tone(other, seconds) if kind == "sound" else _lines(other, seconds))
    return path if isinstance(path, Path) else Path()


def packets(path: Path, kind: str) -> list[bytes]:
    """The bytes of every packet of the first stream of a kind: "audio", "subtitle", "video"."""
    with av.open(str(path)) as container:
        stream = next(each for each in container.streams if each.type == kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def times(path: Path) -> list[Fraction]:
    """Presentation times of a file's video packets in order, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(p.pts * p.time_base for p in container.demux(stream) if p.size and p.pts is not None)


def _first_components(made: av.VideoFrame) -> list[Any]:
    found: dict[int, Any] = {}
    for component in made.format.components:
        found.setdefault(component.plane, component)
    return [found[index] for index in range(len(made.planes))]


def _others(output: Any, sound: str | None, subtitle: str | None) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    if sound is not None:
        tone = output.add_stream(sound, rate=48000)
        tone.codec_context.layout = "stereo"
        tone.metadata["language"] = "deu"
        found.append(("sound", tone))
    if subtitle is not None:
        text = output.add_stream(subtitle)
        text.codec_context.subtitle_header = _ASS
        text.metadata["language"] = "fra"
        found.append(("text", text))
    return found


_ASS = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _tone(stream: Any, seconds: float) -> list[Any]:
    count = int(48000 * seconds)
    wave = (8000 * np.sin(np.arange(count) * 0.06)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2)[None], format="s16", layout="stereo")
    frame.sample_rate, frame.pts = 48000, 0
    return [*stream.encode(frame), *stream.encode(None)]


def _lines(stream: Any, seconds: float) -> list[Any]:
    made = []
    for number in range(int(seconds * 10)):
        text = av.subtitles.subtitle.SubtitleSet.create(f"{number},0,Default,,0,0,0,,line {number}".encode(), 0, 80)
        packet = stream.codec_context.encode_subtitle(text)
        packet.pts = packet.dts = 100 * number
        packet.duration, packet.time_base, packet.stream = 80, MILLI, stream
        made.append(packet)
    return made
