"""Sound, subtitles, cover art and whatever else an input holds, on their way into the output beside the video."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from av.bitstream import BitStreamFilterContext
from av.stream import Discard, Disposition

from streamderain.containers import describes_sound, substitute, writes_timecode

# What a muxer writes itself, or what described the old bytes.
_STALE_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "number_of_frames",
               "number_of_bytes", "bps", "vendor_id", "rotate"}  # fmt: skip

_COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
_ALIKE = Fraction(1, 100)  # seconds; clocks of different fineness tell the same time
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@dataclass(frozen=True, slots=True)
class Route:
    """One stream of the input and how it goes along: as packets, or through an encoder of this name."""

    stream: Any
    encoder: str | None = None


def plan(streams: list[Any], format_name: str, takes: Callable[[Route], bool]) -> tuple[list[Route], list[str]]:
    """Decide for every stream whether it is copied, converted or left out.

    Args:
        streams: the input's streams without the video that is derained.
        format_name: of the output container.
        takes: whether that container can be begun with what a route brings.

    Returns:
        The routes, and one line for each stream that is not copied as it is.
    """
    routes, warnings = [], []
    for stream in streams:
        if _is_list_of_chapters(stream):
            continue
        if _is_timecode(stream) and writes_timecode(format_name):
            continue  # made anew from the tag; a copy lacks its rate, and no index could be written at the end
        if _lost_its_description(stream):
            warnings.append(f"{describe(stream)} is damaged: left out")
            continue
        encoder = None if stream.codec_context is None or _is_bitmap(stream) else substitute(stream.type, format_name)
        if takes(Route(stream)):
            routes.append(Route(stream))
        elif encoder is not None and takes(Route(stream, encoder)):
            routes.append(Route(stream, encoder))
            warnings.append(f"{describe(stream)} does not go into {format_name}: converted with {encoder}")
        else:
            warnings.append(f"{describe(stream)} does not go into {format_name}: left out")
    return routes, warnings


def describe(stream: Any) -> str:
    """A stream in words: "audio stream 1 (flac)"."""
    codec = stream.codec_context.name if stream.codec_context is not None else getattr(stream, "name", None)
    return f"{stream.type} stream {stream.index} ({codec or 'unknown codec'})"


def live_tags(tags: dict[str, str]) -> dict[str, str]:
    """Metadata without what described the old file's bytes."""
    return {key: value for key, value in tags.items() if not key.startswith("_") and key.lower() not in _STALE_TAGS}


def cut_chapters(chapters: list[Any], begin: Fraction | None, end: Fraction | None, shift: Fraction) -> list[Any]:
    """Chapters that reach into [begin, end), in seconds, cut to it and moved by -shift; None is no bound."""
    kept = []
    for chapter in chapters:
        unit = chapter["time_base"]
        first = chapter["start"] * unit if begin is None else max(chapter["start"] * unit, begin)
        last = chapter["end"] * unit if end is None else min(chapter["end"] * unit, end)
        if last > first:
            kept.append({**chapter, "start": round((first - shift) / unit), "end": round((last - shift) / unit)})
    return kept


def cut_text(packet: Any, begin: Fraction | None, end: Fraction | None) -> None:
    """Shorten a text subtitle to what is shown of it in [begin, end), seconds; None is no bound.

    One that is not shown there, says not how long it is shown, or is a picture, stays as it is.
    """
    stream = packet.stream
    if stream.type != "subtitle" or stream.codec_context is None or _is_bitmap(stream):
        return
    if not packet.duration or packet.pts is None:
        return
    first, last, unit = packet.pts, packet.pts + packet.duration, packet.time_base
    first = first if begin is None else max(first, math.ceil(begin / unit))
    last = last if end is None else min(last, math.floor(end / unit))
    if last > first:
        packet.pts = packet.dts = first
        packet.duration = last - first


class Lane(Protocol):
    """One carried stream: packets of the input in, packets of the output out."""

    def take(self, packet: Any) -> list[Any]: ...
    def flush(self) -> list[Any]: ...


def add_lane(route: Route, output: Any, cover: bytes | None = None) -> Lane:
    """Add a route's stream to an output container.

    Args:
        route: which stream, and how it goes.
        output: an av.container.OutputContainer without a header yet.
        cover: the picture where the stream is one that is attached, None where it is not known yet.

    Raises:
        ValueError: the container does not take it.
    """
    if route.encoder is None:
        if cover is not None and output.format.name == "matroska" and _is_cover(route.stream):
            return _Attached(route.stream, output, cover)
        return _Copied(route.stream, output)
    return (_Sound if route.stream.type == "audio" else _Text)(route.stream, output, route.encoder)


class Passengers:
    """The carried streams of one output; turns packets of the input into packets of the output.

    Args:
        routes: from `plan`.
        output: an av.container.OutputContainer without a header yet.
        covers: attached pictures, by their streams.
    """

    def __init__(self, routes: list[Route], output: Any, covers: dict[int, bytes]) -> None:
        self._lanes: dict[int, Lane] = {
            route.stream.index: add_lane(route, output, covers.get(route.stream.index)) for route in routes
        }

    def take(self, packet: Any, shift: Fraction) -> list[Any]:
        """Packets for the output that come from one of the input.

        Args:
            packet: of a stream with a route; others give nothing.
            shift: seconds taken off its timestamps.
        """
        lane = self._lanes.get(packet.stream.index)
        packets = lane.take(packet) if lane is not None else []
        for each in packets:
            ticks = round(shift / each.time_base)
            each.pts = None if each.pts is None else each.pts - ticks
            each.dts = None if each.dts is None else each.dts - ticks
        return packets

    def flush(self, shift: Fraction) -> list[Any]:
        """What the encoders still hold; `shift` as in `take`."""
        packets = [packet for lane in self._lanes.values() for packet in lane.flush()]
        for each in packets:
            ticks = round(shift / each.time_base)
            each.pts, each.dts = each.pts - ticks, each.dts - ticks
        return packets


class _Copied:
    """Packets as they are; H.264 for AVI in the form with start codes, because that muxer takes no other."""

    def __init__(self, stream: Any, output: Any) -> None:
        self.target = _add_copy(output, stream)
        self._rewrite: Any = None
        if output.format.name != "avi" or stream.type != "video":
            return
        if stream.average_rate:
            self.target.time_base = 1 / stream.average_rate  # AVI fills every tick of it with a frame
        if stream.codec_context.name == "h264":
            self._rewrite = BitStreamFilterContext("h264_mp4toannexb", self.target, self.target)

    def take(self, packet: Any) -> list[Any]:
        packets = [packet] if self._rewrite is None else self._rewrite.filter(packet)
        for each in packets:
            each.stream = self.target
        return packets

    def flush(self) -> list[Any]:
        return []


class _Attached:
    """A cover as Matroska has it: a file in the header, and no track of video beside the video."""

    def __init__(self, stream: Any, output: Any, data: bytes) -> None:
        tags = {key.lower(): value for key, value in live_tags(stream.metadata).items()}
        name, mimetype = _COVERS[stream.codec_context.name]
        added = output.add_attachment(tags.pop("filename", name), tags.pop("mimetype", mimetype), data)
        added.metadata.update(tags)

    def take(self, packet: Any) -> list[Any]:
        return []

    def flush(self) -> list[Any]:
        return []


class _Sound:
    """Sound through an encoder."""

    def __init__(self, stream: Any, output: Any, encoder: str) -> None:
        self.target = output.add_stream(encoder, rate=48000 if encoder == "libopus" else stream.codec_context.rate)
        self.target.codec_context.layout = _named_layout(stream)
        self.target.codec_context.bit_rate = 96000 * stream.codec_context.channels
        self.target.metadata.update(live_tags(stream.metadata))

    def take(self, packet: Any) -> list[Any]:
        return [coded for frame in packet.decode() for coded in self.target.encode(frame)]

    def flush(self) -> list[Any]:
        return self.target.encode(None)


class _Text:
    """Text subtitles through an encoder; times stay the packet's own."""

    def __init__(self, stream: Any, output: Any, encoder: str) -> None:
        stream.codec_context.open(strict=False)
        self.target = output.add_stream(encoder)
        self.target.codec_context.subtitle_header = stream.codec_context.subtitle_header
        self.target.metadata.update(live_tags(stream.metadata))
        self.target.disposition = stream.disposition

    def take(self, packet: Any) -> list[Any]:
        text = packet.stream.codec_context.decode2(packet)
        if text is None:
            return []
        coded = self.target.codec_context.encode_subtitle(text)
        coded.time_base = packet.time_base
        coded.pts, coded.dts, coded.duration = packet.pts, packet.pts, packet.duration
        coded.stream = self.target
        return [coded]

    def flush(self) -> list[Any]:
        return []


def _lost_its_description(stream: Any) -> bool:
    """Whether damage took what a decoder must know of AAC: muxers begin with such a stream and fail at a packet."""
    return is_bare_aac(stream) and describes_sound(stream.container.format.name)


def _is_list_of_chapters(stream: Any) -> bool:
    """Whether this is the track in which MP4 holds its chapters too.

    FFmpeg has read them and gives none of its packets. Out of a pipe it has read them elsewhere, and gives the track as
    subtitles that begin when the chapters do.
    """
    starts = [chapter["start"] * chapter["time_base"] for chapter in stream.container.chapters()]
    if stream.type == "data":
        return stream.discard == Discard.all and bool(starts)
    if stream.type != "subtitle" or stream.codec_context is None or stream.codec_context.name != "mov_text":
        return False
    lines = [each.timestamp * stream.time_base for each in stream.index_entries]
    return len(lines) == len(starts) > 0 and all(abs(a - b) < _ALIKE for a, b in zip(lines, starts, strict=True))


def _is_timecode(stream: Any) -> bool:
    """Whether this track holds nothing but the timecode that the tags say too."""
    return stream.type == "data" and "timecode" in stream.metadata


def is_bare_aac(stream: Any) -> bool:
    """Whether only its packets say how this AAC is to be decoded, as in MPEG-TS."""
    context = stream.codec_context
    return context is not None and context.name == "aac" and not context.extradata


def _is_cover(stream: Any) -> bool:
    attached = stream.type == "video" and stream.disposition & Disposition.attached_pic
    return bool(attached) and stream.codec_context is not None and stream.codec_context.name in _COVERS


def _is_bitmap(stream: Any) -> bool:
    return stream.type == "subtitle" and stream.codec_context.codec.bitmap_sub


def _named_layout(stream: Any) -> Any:
    """The sound's layout; of PCM without one (mov, mkv) the usual one of so many channels: AAC takes no other."""
    layout = stream.codec_context.layout
    return LAYOUTS.get(stream.codec_context.channels, layout) if layout.name.endswith("channels") else layout


def _add_copy(output: Any, stream: Any) -> Any:
    added = output.add_stream_from_template(stream, opaque=True)
    if stream.type == "audio" and stream.codec_context.layout.name.endswith("channels"):  # mov wants them named
        added.codec_context.layout = _named_layout(stream)
    added.metadata.update(live_tags(stream.metadata))
    added.disposition = stream.disposition
    return added
