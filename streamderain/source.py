"""A video as a source of frames: its description, its time, and what of it is read. FFmpeg's side is in video.py."""
from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from streamderain import containers, surfaces, timecode
from streamderain.carry import cut_chapters, cut_text
from streamderain.clock import Clock
from streamderain.core.colour import PixelFormat
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.look import look_of

ATTACHED_PICTURE = 1 << 10  # FFmpeg's flag for cover art


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video is.

    Attributes:
        width, height: of its first frame, pixels, before any rotation.
        rate: average frames per second, None where unknown; never used to compute a timestamp.
        frames: estimated number of frames, None where unknown.
        seconds: length of what will be read, None where unknown.
        codec: FFmpeg's name of the decoder.
        pixel_format: FFmpeg's name of the planar format that the frames' planes have.
        sample_aspect_ratio: width of a pixel over its height, 1 where the stream does not say.
        rotation: degrees counter-clockwise to turn for display.
        time_base: seconds per tick of the frames' pts.
        interlaced: the input is interlaced; its frames come deinterlaced.
    """

    width: int
    height: int
    rate: Fraction | None
    frames: int | None
    seconds: float | None
    codec: str
    pixel_format: str
    sample_aspect_ratio: Fraction
    rotation: int
    time_base: Fraction
    interlaced: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What of a video is read, as open_video was asked; times in seconds."""

    start: Fraction | None
    duration: Fraction | None
    max_pixels: int
    threads: int


class Warnings(list[str]):
    """Lines for the user, each kept once."""

    def once(self, line: str) -> None:
        """Keep a line unless it is there already."""
        if line not in self:
            self.append(line)


class Reader(Protocol):
    """Where a VideoSource has its pictures and packets from.

    Attributes:
        name: for messages.
        corrupt: damaged packets that gave no picture.
        others: the streams beside the video.
        carried: packets of these in the order of the file; None when nobody takes them.
        on_device: pictures stay on a CUDA device, so far.
        joins: how often the clock of the file began again, so far.
    """

    name: str
    corrupt: int
    others: list[Any]
    carried: deque[Any] | None

    @property
    def on_device(self) -> bool: ...
    @property
    def joins(self) -> int: ...
    def stream(self) -> Any: ...
    def length(self) -> tuple[float | None, int | None]: ...
    def origin(self) -> Fraction: ...
    def tags(self) -> dict[str, str]: ...
    def chapters(self) -> list[Any]: ...
    def read_others(self, end: Fraction) -> None: ...
    def shortfall(self) -> str | None: ...
    def close(self) -> None: ...


class VideoSource:
    """Frames of a video in presentation order; iterate once. Made by `open_video`.

    A frame of another size or pixel format than the first is resized to it, a damaged packet is skipped and counted,
    interlaced frames are deinterlaced: each is said in `warnings`.

    Attributes:
        info: what the video is.
        look: how its first frame is to be shown.
        warnings: what the user should know, one line each; grows while frames are read.
        frames: frames given so far.
        corrupt: damaged packets skipped and concealed frames so far.
        shortfall: once all is read: what the container promised and did not hold, in words, else None.
        path: of the input, None for stdin.
    """

    def __init__(self, reader: Reader, film: Any, warnings: Warnings, limits: Limits, path: Path | None) -> None:
        self._reader, self._film, self._limits, self.path = reader, film, limits, path
        self.warnings = warnings
        self.frames = self._concealed = 0
        self.shortfall: str | None = None
        self._others_wanted = False
        self._clock: Clock | None = None
        begin = Fraction(limits.start or 0)
        self.begin = reader.origin() + begin
        self.end = None if limits.duration is None else self.begin + limits.duration
        self.shift = self.begin if begin else Fraction(0)
        self._pictures: Any = self._cut()
        self._first: Any = self._peek()
        self._first_seconds = self._first.pts * self._first.time_base + self.shift
        self.look = look_of(self._first)
        self.info = self._describe(self._first)

    @property
    def corrupt(self) -> int:
        """Damaged packets skipped and concealed frames so far."""
        return self._reader.corrupt + self._concealed

    @property
    def on_device(self) -> bool:
        """Frames stay on a CUDA device, so far."""
        return self._reader.on_device

    @property
    def streams(self) -> list[Any]:
        """The container's other streams."""
        return self._reader.others

    @property
    def metadata(self) -> dict[str, str]:
        """Tags of the file."""
        return self._retimed(self._reader.tags())

    @property
    def video_metadata(self) -> dict[str, str]:
        """Tags of the video stream."""
        return self._retimed(self._reader.stream().metadata)

    @property
    def chapters(self) -> list[Any]:
        """Chapters, cut to what is read."""
        begin = self.begin if self.shift else None
        return cut_chapters(self._reader.chapters(), begin, self.end, self.shift)

    @property
    def earliest(self) -> Fraction:
        """The first timestamp of any stream in the output, seconds."""
        return self._reader.origin() - self.shift

    def keep_others(self) -> None:
        """Somebody will call `take_carried`; to be said before the first frame is taken."""
        self._others_wanted = True

    def take_carried(self) -> list[Any]:
        """Packets of the other streams that were read since the last call, cut to what is read."""
        kept, packets = self._reader.carried, []
        while kept:
            packet = kept.popleft()
            cut_text(packet, self.begin if self.shift else None, self.end)
            if self._inside(packet):
                packets.append(packet)
        return packets

    def covers(self) -> dict[int, bytes]:
        """The attached pictures among the packets that wait for `take_carried`, by stream."""
        kept = list(self._reader.carried or ())  # at once: another thread reads on
        return {each.stream.index: bytes(each) for each in kept if each.stream.disposition & ATTACHED_PICTURE}

    def __iter__(self) -> Iterator[Frame]:
        if not self._others_wanted:
            self._reader.carried = None
        picture, self._first = self._first, None
        while picture is not None:
            self._concealed += picture.is_corrupt
            self.frames += 1
            yield self._frame(picture)
            picture = next(self._pictures, None)
        self._finish()

    def close(self) -> None:
        """Release the file."""
        self._pictures.close()
        self._reader.close()

    def _finish(self) -> None:
        if self.end is not None:
            if self._reader.carried is not None:
                self._reader.read_others(self.end)
        else:
            self.shortfall = self._reader.shortfall()
        if self._reader.joins:
            self.warnings.once("the clock of the file begins again: what comes then follows without a gap")
        if self._film.resized:
            self.warnings.once(f"{self._film.resized} frames had another size than the first and were resized to it")

    def _inside(self, packet: Any) -> bool:
        if packet.stream.disposition & ATTACHED_PICTURE:
            return True
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            return False
        seconds = time * packet.time_base
        return (not self.shift or seconds >= self.begin) and (self.end is None or seconds < self.end)

    def _retimed(self, tags: dict[str, str]) -> dict[str, str]:
        """Tags whose timecode is that of the first frame read."""
        if not self.shift or "timecode" not in map(str.lower, tags):
            return tags
        stream = self._reader.stream()
        skipped = self._first_seconds - (stream.start_time or 0) * (stream.time_base or 0)
        return timecode.retimed(tags, skipped, stream.average_rate or Fraction(25), self.warnings.once)

    def _peek(self) -> Any:
        picture = next(self._pictures, None)
        if picture is None:
            name, start = self._reader.name, self._limits.start
            piped_mp4 = self.path is None and "mp4" in self._reader.stream().container.format.name
            self._reader.close()
            if self._limits.duration == 0:
                raise DerainError("nothing is asked for; give a --duration above zero")
            if start and not self._reader.corrupt:
                raise DerainError(f"{name} ends before {float(start):g} seconds; give an earlier --start")
            if piped_mp4:
                raise DerainError(f"{name} is an MP4 whose index comes last, or damaged; give the file itself, no pipe")
            raise DerainError(f"{name} has no frame that decodes; it is empty or damaged beyond use")
        return picture

    def _cut(self) -> Iterator[Any]:
        """Pictures within the time asked for, with their time in the output."""
        for picture in self._film.pictures():
            unit = picture.time_base
            self._clock = self._clock or Clock(unit, self.warnings.once)
            step = picture.duration or max(1, round(1 / (unit * (self._reader.stream().average_rate or 25))))
            pts = self._clock.stamp(picture.pts, step)
            if self.shift and pts * unit < self.begin:
                continue
            if self.end is not None and pts * unit >= self.end:
                return
            picture.pts = pts - round(self.shift / unit)
            yield picture

    def _describe(self, picture: Any) -> VideoInfo:
        stream = self._reader.stream()
        length, frames = self._reader.length()
        seconds, rate = length, stream.average_rate or None
        start, duration = Fraction(self._limits.start or 0), self._limits.duration
        if seconds is not None and (start or duration):
            rest = max(0.0, seconds - float(start))
            seconds, frames = min(rest, float(duration or rest)), None
        if frames is None and length is not None and rate:  # one that begins within the part is in, ended or not
            last = round(length * rate)
            last = min(last, math.ceil((start + duration) * rate)) if duration else last
            frames = max(1, last - math.ceil(start * rate))
        return VideoInfo(
            picture.width, picture.height, rate, frames, seconds, stream.name, surfaces.name_of(picture),
            stream.sample_aspect_ratio or Fraction(1), picture.rotation, picture.time_base, self._film.interlaced,
        )  # fmt: skip

    def _frame(self, picture: Any) -> Frame:
        format, alpha = format_of(picture)
        arrays = surfaces.planes_of(picture, format.bit_depth)
        side: dict[str, Any] = {"picture": picture, "sample_aspect_ratio": self.info.sample_aspect_ratio}
        if picture.opaque is not None:
            side["stem"] = picture.opaque
        return Frame(
            tuple(arrays[:-1] if alpha else arrays), format, picture.pts, picture.time_base, picture.duration or 0,
            arrays[-1] if alpha else None, picture.rotation, bool(picture.is_corrupt), side,
        )  # fmt: skip


def format_of(picture: Any) -> tuple[PixelFormat, bool]:
    """How the planes of a planar picture, or of one on the GPU, are to be read, and whether the last one is alpha."""
    found = containers.pixel_format(
        surfaces.name_of(picture), matrix=picture.colorspace, color_range=picture.color_range,
        transfer=picture.color_trc, height=picture.height,
    )  # fmt: skip
    assert found is not None
    return found
