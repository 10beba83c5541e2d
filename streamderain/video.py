"""Video files in and out. The only door to PyAV: frames leave here as plain planes with exact timestamps."""
from __future__ import annotations

import io
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError, find_best_pix_fmt_of_list
from av.error import FFmpegError
from av.video.reformatter import Interpolation

from streamderain import containers, hdr, pictures, planes
from streamderain.carry import Passengers, Route, add_lane, live_tags, plan
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.outputs import ReaderGone, Unfinished, check_place, full, same_file
from streamderain.source import Limits, VideoInfo, VideoSource, Warnings, format_of

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes its settings to stderr otherwise

__all__ = ["MAX_PIXELS", "VideoInfo", "VideoSink", "VideoSource", "open_video", "probe_encoder"]

MAX_PIXELS = 8192 * 4320
_SEEK_MARGIN_SECONDS = 3  # seeking lands late in formats without an index
_TICK = Fraction(1, 1_000_000)  # of container times
_FULL_CHROMA = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | _FULL_CHROMA


def open_video(
    path: str | Path,
    *,
    start: float | None = None,
    duration: float | None = None,
    max_pixels: int = MAX_PIXELS,
    rate: Fraction = Fraction(25),
    threads: int = 0,
) -> VideoSource:
    """Open a video and decode its first frame.

    Args:
        path: a file, a folder of pictures, a pattern ("frames/%04d.png" or "frames/*.png"), or "-" for stdin.
        start: skip to this time, seconds from the beginning; what is read then begins at zero.
        duration: read this long, seconds.
        max_pixels: refuse larger frames.
        rate: frames per second of pictures; of no meaning for a file.
        threads: of the decoder, 0 for as many as there are processors.

    Raises:
        DerainError: there is no such file, or no video in it that decodes.
    """
    limits = Limits(start, duration, max_pixels, threads)
    if str(path) == "-":
        return _source(_File(_NamelessReader(sys.stdin.buffer), "stdin", limits), limits)
    if "\0" in str(path):
        raise DerainError("a file name cannot hold a NUL byte; give the path again")
    path = Path(path)
    if pictures.is_pictures(path):
        return _source(_PictureFiles(pictures.find(path), rate, limits, str(path)), limits, path)
    if not path.exists():
        raise DerainError(f"{path} does not exist; check the name")
    return _source(_File(f"file:{path.absolute()}", str(path), limits), limits, path)


def _source(reader: Any, limits: Limits, path: Path | None = None) -> VideoSource:
    warnings = Warnings()
    return VideoSource(reader, _Conformer(reader, warnings.once), warnings, limits, path)


class _NamelessReader:
    """Only read(): so that FFmpeg neither seeks in a pipe nor takes its name for a hint."""

    def __init__(self, file: Any) -> None:
        self.read = file.read


class _File:
    """One container: its video decoded, packets of its other streams kept for the sink.

    Attributes:
        corrupt: damaged packets that gave no picture.
        carried: packets of other streams in the order of the file; None when nobody takes them.
    """

    def __init__(self, file: Any, name: str, limits: Limits) -> None:
        self.name, self._limits = name, limits
        self.corrupt = 0
        self.carried: deque[Any] | None = deque()
        self._packets = self._end = 0
        self._end_seconds = Fraction(0)
        self.container = _open_input(file, name, containers.READABLE_FORMATS, limits.max_pixels)
        videos = [s for s in self.container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not videos:
            self.container.close()
            raise DerainError(f"{name} has no video stream; give a file that plays as video")
        self._video = videos[0]
        self.others = [stream for stream in self.container.streams if stream.index != self._video.index]
        self._prepare()

    def _prepare(self) -> None:
        context = self._video.codec_context
        if context is None:
            self.container.close()
            raise DerainError(f"{self.name} holds video that no decoder here reads; convert it first")
        _refuse_large(self.name, context.width, context.height, self._limits.max_pixels)
        context.options = {"max_pixels": str(self._limits.max_pixels)}
        context.thread_type = "AUTO"
        context.thread_count = self._limits.threads

    def stream(self) -> Any:
        return self._video

    def origin(self) -> Fraction:
        return (self.container.start_time or 0) * _TICK

    def length(self) -> tuple[float | None, int | None]:
        if self.container.duration:
            return float(self.container.duration * _TICK), self._video.frames or None
        return None, self._video.frames or None

    def pictures(self) -> Iterator[av.VideoFrame]:
        if self._limits.start:
            self._seek()
        drained = False
        for packet in self._demuxed():
            if packet.stream.index != self._video.index:
                self._keep(packet)
                continue
            self._packets += bool(packet.size)
            drained = drained or not packet.size
            yield from self._decode(packet)
        if not drained:  # reading broke off before the packet that empties the decoder
            yield from self._decode(None)

    def tags(self) -> dict[str, str]:
        return self.container.metadata

    def chapters(self) -> list[Any]:
        return self.container.chapters()

    def read_others(self, end: Fraction) -> None:
        """Read on, without decoding, until the video passes `end` by a second: sound may lie behind its picture."""
        for packet in self._demuxed():
            if packet.stream.index != self._video.index:
                self._keep(packet)
            elif packet.dts is not None and packet.dts * packet.time_base > end + 1:
                return

    def shortfall(self) -> str | None:
        """What is missing by the container's own word, once all was read; None where nothing is."""
        missing = (self._video.frames or 0) - self._packets
        names = self.container.format.name
        if not containers.states_length(names):
            return None
        if missing > 0 and "mov" in names:
            return f"{missing} of {self._video.frames} frames are missing"
        promised = (self.container.duration or 0) * _TICK
        read = self._end_seconds - self.origin()
        tolerance = Fraction(1, 10) + Fraction(5, 2) / (self._video.average_rate or 25)
        if promised - read > max(tolerance, 1 if "flv" in names or "asf" in names else 0):
            return f"it ends after {float(read):.1f} of {float(promised):.1f} seconds"
        return None

    def close(self) -> None:
        self.container.close()

    def _seek(self) -> None:
        target = self.origin() + Fraction(self._limits.start or 0) - _SEEK_MARGIN_SECONDS
        if target <= self.origin():
            return
        try:
            self.container.seek(int(target / _TICK), backward=True)
        except FFmpegError:
            return  # a pipe: what comes before the start is decoded and dropped

    def _demuxed(self) -> Iterator[Any]:
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:
                self.corrupt += 1
                packet = None
            except IndexError:  # damage made streams appear that PyAV does not know at the end
                packet = None
            if packet is None:
                return
            if packet.pts is not None:
                self._end_seconds = max(self._end_seconds, (packet.pts + (packet.duration or 0)) * packet.time_base)
            yield packet

    def _decode(self, packet: Any) -> list[av.VideoFrame]:
        try:
            return self._video.codec_context.decode(packet)
        except EOFError:
            return []
        except FFmpegError:
            self.corrupt += 1
            return []

    def _keep(self, packet: Any) -> None:
        if self.carried is not None and packet.size:
            self.carried.append(packet)


class _PictureFiles:
    """Pictures one after the other, each a container of its own."""

    def __init__(self, files: list[Path], rate: Fraction, limits: Limits, name: str) -> None:
        self.name, self._files, self._rate, self._limits = name, files, rate, limits
        self.corrupt = 0
        self.others: list[Any] = []
        self.carried: deque[Any] | None = None
        self._stream: Any = None

    def stream(self) -> Any:
        return self._stream

    def origin(self) -> Fraction:
        return Fraction(0)

    def length(self) -> tuple[float | None, int | None]:
        return float(len(self._files) / self._rate), len(self._files)

    def pictures(self) -> Iterator[av.VideoFrame]:
        for index, file in enumerate(self._files):
            try:
                picture = self._read(file)
            except (DerainError, OSError, FFmpegError, StopIteration):
                self.corrupt += 1
                continue
            picture.pts, picture.time_base, picture.duration = index, 1 / self._rate, 1
            picture.opaque = file.stem
            yield picture

    def tags(self) -> dict[str, str]:
        return {}

    def chapters(self) -> list[Any]:
        return []

    def read_others(self, end: Fraction) -> None:
        """Pictures have no other streams."""

    def shortfall(self) -> str | None:
        return None

    def close(self) -> None:
        self._files = []

    def _read(self, file: Path) -> av.VideoFrame:
        data, most = io.BytesIO(file.read_bytes()), self._limits.max_pixels
        with _open_input(data, str(file), containers.PICTURE_FORMATS, most) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            _refuse_large(str(file), stream.width, stream.height, most)
            picture = next(container.decode(stream))
            self._stream = self._stream or _Still(stream.codec_context.name, self._rate, picture)
            return picture


class _Still:
    """What of a stream a picture has."""

    def __init__(self, codec: str, rate: Fraction, picture: av.VideoFrame) -> None:
        self.name = codec
        self.average_rate, self.time_base = rate, 1 / rate
        self.sample_aspect_ratio = None
        self.metadata: dict[str, str] = {}


class _Conformer:
    """Pictures of one size and one planar format, deinterlaced: those of the first.

    Attributes:
        interlaced: the input is, as far as was seen.
        resized: pictures that had another size.
    """

    def __init__(self, reader: Any, warn: Callable[[str], None]) -> None:
        self._reader, self._warn = reader, warn
        self.resized = 0
        self._graph: av.filter.Graph | None = None

    @property
    def interlaced(self) -> bool:
        return self._graph is not None

    def pictures(self) -> Iterator[av.VideoFrame]:
        """The reader's pictures, made alike."""
        target: tuple[int, int, str] | None = None
        for picture in self._deinterlaced():
            target = target or (picture.width, picture.height, _planar(picture))
            if (picture.width, picture.height) != target[:2]:
                self._warn(f"the size changes to {picture.width}x{picture.height}: those frames are resized")
                self.resized += 1
            if (picture.width, picture.height, picture.format.name) != target:
                picture = _alike(picture, target)
            yield picture

    def _deinterlaced(self) -> Iterator[av.VideoFrame]:
        for picture in self._reader.pictures():
            unit = picture.time_base = picture.time_base or self._reader.stream().time_base
            if self._graph is None and picture.interlaced_frame and min(picture.width, picture.height) >= 4:
                self._graph = _deinterlacer(picture)
                self._warn("the video is interlaced: deinterlaced with bwdif, one frame for each frame")
            if self._graph is None:
                yield picture
            else:
                yield from _through(self._graph, picture, unit)
        if self._graph is not None:
            yield from _through(self._graph, None, self._reader.stream().time_base)


class VideoSink:
    """Writes frames into a file, a stream on stdout or a row of pictures, and everything else the source holds.

    All that can be known to fail fails here, before a frame is made. What the output cannot keep is said in
    `warnings`. The output stands under its name only after finish().

    Args:
        path: a file (container from its suffix), a pattern or folder of pictures, or "-" for stdout.
        source: where sound, chapters, colour and so on come from.
        encoder: FFmpeg's name; pictures and "yuv4mpegpipe" have their own.
        crf: the encoder's quality number, None for a visually near-lossless default.
        preset: the encoder's own word for speed.
        container_format: FFmpeg's name of a container, None for that of the suffix (stdout: matroska).
        size: (width, height) of the frames that will come, None for the source's.
        overwrite: replace an existing output.

    Raises:
        DerainError: one line with the reason.

    Attributes:
        frames: frames written.
        partial: after abort(): where the finished part was kept, None where there is none.
    """

    def __init__(
        self,
        path: str | Path,
        source: VideoSource,
        *,
        encoder: str = "libx264",
        crf: int | None = None,
        preset: str | None = None,
        container_format: str | None = None,
        size: tuple[int, int] | None = None,
        overwrite: bool = False,
    ) -> None:
        self._source, self.frames = source, 0
        self.partial: Path | None = None
        self.warnings: list[str] = []
        self._size = size or (source.info.width, source.info.height)
        choice = (encoder, crf, preset)
        self._writer: _Container | _Pictures
        if str(path) != "-" and container_format is None and pictures.is_picture_output(Path(path)):
            self._writer = _Pictures(Path(path), source, self._size, overwrite, self.warnings)
        else:
            self._writer = _Container(path, source, choice, container_format, self._size, overwrite, self.warnings)

    def write(self, frame: Frame) -> None:
        """Encode one frame; its pts must be above that of the frame before.

        Raises:
            DerainError: nothing more can be written (exit code 4).
            ValueError: the frame is not of the announced size.
        """
        if (frame.width, frame.height) != self._size:
            raise ValueError(f"a frame of {frame.width}x{frame.height} came, announced were {self._size}; pass size=")
        self._writer.write(_picture_of(frame), frame)
        self.frames += 1

    def finish(self) -> None:
        """Complete the output, check it and move it into place.

        Raises:
            DerainError: it could not be written (4); or it stands, but the input was damaged or short (3).
        """
        if not self.frames:
            self.abort()
            raise DerainError("no frame came out of the input; nothing was written", exit_code=3)
        self._writer.finish()
        missing = self._source.frames - self.frames
        faults = [f"{missing} frames were lost on the way"] if missing > 0 else []
        if self._source.corrupt:
            faults.append(f"{self._source.corrupt} damaged frames or packets")
        if self._source.shortfall:
            faults.append(self._source.shortfall)
        if faults:
            name = self._source.path or "stdin"
            lines = ", ".join(faults)
            raise DerainError(f"{name} is damaged or short: {lines}; the output holds the rest", exit_code=3)

    def abort(self) -> None:
        """Close without completing; what is finished is kept under a name that says so (`partial`)."""
        self.partial = self._writer.abort(keep=self.frames > 0)


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
    return _probe(_Encoding(name, containers.encoder_options(name, None, None), wanted, 320, 256))


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How frames are encoded: decided once, before the first."""

    encoder: str
    options: dict[str, str]
    pixel_format: str
    width: int
    height: int
    unit: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)


class _Container:
    """One output container with the video and its passengers."""

    def __init__(
        self,
        path: str | Path,
        source: VideoSource,
        choice: tuple[str, int | None, str | None],
        container_format: str | None,
        size: tuple[int, int],
        overwrite: bool,
        warnings: list[str],
    ) -> None:
        self._source = source
        self._place = None if str(path) == "-" else _place(Path(path), source, overwrite)
        self._format = _output_format(path, container_format)
        self._encoding = _plan_encoding(source, choice, self._format, size, warnings)
        self._unit, self._rate = self._encoding.unit, self._encoding.rate
        aspect = source.info.sample_aspect_ratio
        if aspect != 1 and not containers.keeps_aspect(self._format, _encoder(self._encoding.encoder).canonical_name):
            warnings.append(f"{self._format} with {self._encoding.encoder} cannot say that pixels are {aspect} wide")
        self._routes = self._plan_others(warnings)
        self._packets = self._timed = 0
        self._durations: dict[int, int] = {}
        self._first_pts: int | None = None
        self._container: Any = None
        self._warnings = warnings

    def write(self, picture: av.VideoFrame, frame: Frame) -> None:
        try:
            if self._container is None:
                self._open()
            picture = _fit(picture, self._encoding)
            self._time(picture, frame)
            self._mux_video(self._video.encode(picture))
            self._mux_others(self._take_others())
        except (FFmpegError, OSError) as error:
            raise self._given_up(error) from None

    def finish(self) -> None:
        try:
            self._mux_video(self._video.encode(None))
            self._mux_others(self._take_others())
            self._mux_others(self._passengers.flush(self._source.shift))
            self._container.close()
            self._container = None
            if self._place is None:
                sys.stdout.buffer.flush()
                return
            self._verify()
            self._place.commit()
        except (FFmpegError, OSError) as error:
            raise self._given_up(error) from None

    def abort(self, keep: bool) -> Path | None:
        if self._container is not None:
            try:
                self._mux_video(self._video.encode(None))
                self._container.close()
            except (FFmpegError, OSError, DerainError):
                keep = keep and self._packets > 0  # the disk is full or the reader gone: what is there is there
            self._container = None
        if self._place is None:
            return None
        if keep:
            return self._place.keep_partial()
        self._place.discard()
        return None

    def _open(self) -> None:
        options = containers.container_options(self._format, time_base=self._unit, start=float(self._source.earliest))
        target: Any = f"file:{self._place.path.absolute()}" if self._place else _Stdout()
        if self._place is None and self._format in ("mp4", "mov"):
            options["movflags"] = "frag_keyframe+empty_moov"  # a pipe cannot be gone back in
        self._container = av.open(
            target, "w", format=self._format, container_options=options, metadata_errors="ignore"
        )
        self._video = _add_video(self._container, self._encoding, self._source)
        if self._format in ("mp4", "mov") and self._video.codec_context.codec.canonical_name == "hevc":
            self._video.codec_context.codec_tag = "hvc1"  # some players take no other
        self._passengers = Passengers(self._routes, self._container)
        self._container.metadata.update(live_tags(self._source.metadata))
        self._container.set_chapters(self._source.chapters)
        self._container.start_encoding()

    def _plan_others(self, warnings: list[str]) -> list[Route]:
        routes, lines = plan(self._source.streams, self._format, lambda route: _takes(self._format, route))
        warnings.extend(lines)
        if routes:
            self._source.keep_others()
        return routes

    def _time(self, picture: av.VideoFrame, frame: Frame) -> None:
        """Put the frame's own time on the picture, in the encoder's ticks."""
        pts = frame.pts * frame.time_base if frame.pts is not None else self._packets / self._rate
        ticks = round(pts / self._unit)
        if containers.constant_rate(self._format):
            self._first_pts = ticks if self._first_pts is None else self._first_pts
            ticks -= self._first_pts
            expected = self._timed
            if abs(ticks - expected) > 1:
                raise DerainError(
                    f"{self._format} holds a constant rate only, and frame {expected + 1} is not at its place at "
                    f"{float(self._rate):.3f} fps; write mkv or mp4 instead",
                    exit_code=4,
                )
            ticks = expected
        self._timed += 1
        picture.pts, picture.time_base = ticks, self._unit
        picture.duration = max(0, round(frame.duration * frame.time_base / self._unit))
        self._durations[ticks] = picture.duration

    def _mux_video(self, packets: list[Any]) -> None:
        for packet in packets:
            self._packets += 1
            duration = self._durations.pop(packet.pts, 0)
            if duration:
                packet.duration = duration
            self._container.mux_one(packet)

    def _take_others(self) -> list[Any]:
        found = []
        for packet in self._source.take_carried():
            try:
                found += self._passengers.take(packet, self._source.shift)
            except FFmpegError:
                self._drop(packet)
        return found

    def _mux_others(self, packets: list[Any]) -> None:
        for packet in packets:
            try:
                self._container.mux_one(packet)
            except (FFmpegError, ValueError) as error:
                if isinstance(error, OSError):
                    raise  # the disk or the pipe, not the packet
                self._drop(packet)

    def _drop(self, packet: Any) -> None:
        line = f"some packets of {packet.stream.type} stream {packet.stream.index} are damaged and were left out"
        if line not in self._warnings:
            self._warnings.append(line)

    def _verify(self) -> None:
        """Read back the header of what was written."""
        assert self._place is not None
        with av.open(f"file:{self._place.path.absolute()}", metadata_errors="ignore") as written:
            found = written.streams.video[0].frames if written.streams.video else -1
        if found < 0 or 0 < found < self._packets:
            raise OSError(f"the file reads back with {max(found, 0)} of {self._packets} frames")

    def _given_up(self, error: Exception) -> DerainError:
        if isinstance(error, BrokenPipeError):
            return ReaderGone()
        where = self._place.final if self._place else "stdout"
        reason = full(error) if isinstance(error, OSError) else str(getattr(error, "strerror", error)).lower()
        return DerainError(f"{where} cannot be written any further: {reason}; what is finished is kept", exit_code=4)


class _Pictures:
    """A row of picture files, made in a folder of their own and moved at the end."""

    def __init__(
        self, path: Path, source: VideoSource, size: tuple[int, int], overwrite: bool, warnings: list[str]
    ) -> None:
        self._folder, self._pattern = pictures.output_pattern(path)
        self._keeps_stems = path == self._folder
        if source.path is not None and same_file(self._folder, source.path):
            raise DerainError(f"{path} is the input; give another folder")
        standing = pictures.existing(self._folder, self._pattern)
        if self._keeps_stems:
            standing = standing or list(self._folder.glob("*.png"))
        if standing and not overwrite:
            raise DerainError(f"{standing[0]} exists; give another name or --overwrite")
        self._place = Unfinished(self._folder, folder=True)
        encoder = containers.PICTURE_ENCODERS[Path(self._pattern).suffix.lower()]
        self._encoding = _plan_encoding(source, (encoder, None, None), None, size, warnings)
        self._source = source
        self._context: Any = None
        self._count = 0

    def write(self, picture: av.VideoFrame, frame: Frame) -> None:
        try:
            if self._context is None:
                self._place.path.mkdir()
                self._context = _new_context(self._encoding, self._source)
            self._count += 1
            picture = _fit(picture, self._encoding)
            picture.pts, picture.time_base = self._count, self._encoding.unit
            data = b"".join(bytes(packet) for packet in self._context.encode(picture))
            stem = frame.side.get("stem") if self._keeps_stems else None
            (self._place.path / pictures.numbered(self._pattern, self._count, stem)).write_bytes(data)
        except (FFmpegError, OSError) as error:
            raise self._given_up(error) from None

    def finish(self) -> None:
        try:
            self._place.commit()
        except OSError as error:
            raise self._given_up(error) from None

    def abort(self, keep: bool) -> Path | None:
        if keep:
            return self._place.keep_partial()
        self._place.discard()
        return None

    def _given_up(self, error: Exception) -> DerainError:
        reason = full(error) if isinstance(error, OSError) else str(error)
        return DerainError(f"{self._folder} cannot be written any further: {reason}; the rest is kept", exit_code=4)


class _Stdout:
    """Only write(): a pipe."""

    def write(self, data: bytes) -> int:
        return sys.stdout.buffer.write(data)


def _open_input(file: Any, name: str, formats: str, max_pixels: int) -> Any:
    guard = {"format_whitelist": formats, "protocol_whitelist": "file,pipe"}
    try:
        return av.open(
            file, container_options=guard, options={"max_pixels": str(max_pixels)}, metadata_errors="ignore"
        )
    except IsADirectoryError:
        raise DerainError(f"{name} is a folder; give a file") from None
    except (FFmpegError, OSError) as error:
        reason = str(error.strerror or error).lower()
        raise DerainError(f"{name} does not open as video ({reason}); give a file that plays as video") from None


def _refuse_large(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DerainError(f"{name} has frames of {width}x{height}, too large; raise --max-pixels if you trust it")


def _planar(picture: av.VideoFrame) -> str:
    """The planar format that holds a picture's own samples, depth and sampling."""
    name = picture.format.name
    if containers.pixel_format(name):
        return name
    every = [f"{base}{depth}" for base in _PLANAR_BASES for depth in ("", "10le", "12le", "14le", "16le")]
    best, _ = find_best_pix_fmt_of_list([*every, "ya8", "ya16le"], name, _has_alpha(picture.format))
    return best.name if best is not None else "yuv444p"


_PLANAR_BASES = ("gray", "yuv420p", "yuv422p", "yuv444p", "gbrp", "gbrap")


def _has_alpha(format: Any) -> bool:
    return format.has_palette or any(component.is_alpha for component in format.components)


def _picture_of(frame: Frame) -> av.VideoFrame:
    """A frame's planes in an FFmpeg picture: the decoder's own where it fits, because it carries side data."""
    name = containers.planar_name(frame.format, alpha=frame.alpha is not None)
    picture, own = frame.side.get("picture"), None
    shape = name, frame.width, frame.height
    if picture is not None and (picture.format.name, picture.width, picture.height) == shape:
        own = picture
        own.make_writable()
    target = own or av.VideoFrame(frame.width, frame.height, name)
    if own is None and picture is not None:
        target.colorspace, target.color_range = picture.colorspace, picture.color_range
        target.color_trc, target.color_primaries = picture.color_trc, picture.color_primaries
    planes.write(target, [*frame.planes, *([] if frame.alpha is None else [frame.alpha])])
    if frame.format.full_range and frame.format.family != "rgb":
        target.color_range = containers.RANGE_FULL
    target.pict_type = 0  # the old encoder's choice is not ours
    return target


def _fit(picture: av.VideoFrame, encoding: _Encoding) -> av.VideoFrame:
    """The picture in the size and format that the encoder takes."""
    if (picture.width, picture.height) != (encoding.width, encoding.height):
        picture = _padded(picture, encoding.width, encoding.height)
    if picture.format.name == encoding.pixel_format:
        return picture
    if picture.format.is_rgb == av.VideoFormat(encoding.pixel_format).is_rgb:
        return picture.reformat(format=encoding.pixel_format, interpolation=_EXACT)
    matrix = containers.coded_matrix(picture.colorspace, picture.height)
    sws = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}.get(matrix, 5)
    source_range = picture.color_range or (2 if picture.format.is_rgb else 1)
    return picture.reformat(
        format=encoding.pixel_format, interpolation=_EXACT, src_colorspace=sws, dst_colorspace=sws,
        src_color_range=source_range, dst_color_range=1 if picture.format.is_rgb else 2,
    )  # fmt: skip


def _padded(picture: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """The last column and row once more, where the encoder wants even sizes."""
    format, _ = format_of(picture)
    target = av.VideoFrame(width, height, picture.format.name)
    few, many = (planes.read(each, bit_depth=format.bit_depth) for each in (picture, target))
    planes.write(target, [planes.extended(small, large.shape) for small, large in zip(few, many, strict=True)])
    target.colorspace, target.color_range = picture.colorspace, picture.color_range
    target.color_trc, target.color_primaries = picture.color_trc, picture.color_primaries
    return target


def _alike(picture: av.VideoFrame, target: tuple[int, int, str]) -> av.VideoFrame:
    made = picture.reformat(*target, interpolation=_EXACT)
    made.opaque, made.pts, made.time_base = picture.opaque, picture.pts, picture.time_base
    return made


def _deinterlacer(picture: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    buffer = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(buffer, bwdif, graph.add("buffersink")).configure()
    return graph


def _through(graph: av.filter.Graph, picture: av.VideoFrame | None, unit: Fraction) -> Iterator[av.VideoFrame]:
    graph.push(picture)
    while True:
        try:
            done = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(done, av.VideoFrame)
        if done.pts is not None and done.time_base is not None:
            done.pts = round(done.pts * done.time_base / unit)  # the filter counts in half ticks
        done.duration = round(done.duration * done.time_base / unit) if done.time_base else done.duration
        done.time_base = unit
        yield done


def _place(path: Path, source: VideoSource, overwrite: bool) -> Unfinished:
    if source.path is not None and same_file(path, source.path):
        raise DerainError(f"{path} is the input itself; give another output")
    check_place(path, overwrite=overwrite)
    return Unfinished(path)


def _output_format(path: str | Path, wanted: str | None) -> str:
    if wanted is not None:
        try:
            return av.ContainerFormat(wanted, "w").name
        except ValueError:
            raise DerainError(f"there is no container format {wanted}; try matroska or mp4") from None
    if str(path) == "-":
        return "matroska"
    suffix = Path(path).suffix
    try:
        name = av.open(f"video{suffix}", "w").format.name
    except ValueError:
        name = ""
    if not name or name in ("image2", "rawvideo", "segment", "hls", "dash"):
        raise DerainError(f"{path} names no container for video; end it in .mkv or .mp4, or write pictures: %04d.png")
    return name


def _plan_encoding(
    source: VideoSource,
    choice: tuple[str, int | None, str | None],
    format_name: str | None,
    size: tuple[int, int],
    warnings: list[str],
) -> _Encoding:
    """Choose pixel format and size that the encoder takes, and prove it with one frame."""
    encoder, crf, preset = choice
    if format_name == "yuv4mpegpipe":
        encoder, crf, preset = "rawvideo", None, None
    codec = _encoder(encoder)
    if format_name is not None and not _holds(format_name, encoder):
        raise DerainError(f"{format_name} does not hold {codec.canonical_name}; choose another --encoder")
    name = source.info.pixel_format
    offered = list(containers.Y4M_FORMATS) if format_name == "yuv4mpegpipe" else _offered(codec)
    chosen = name.replace("yuvj", "yuv")
    if offered and chosen not in offered:
        best, loss = find_best_pix_fmt_of_list(offered, chosen, True)
        assert best is not None
        if loss:
            warnings.append(f"{encoder} does not take {name}; encoded as {best.name}")
        chosen = best.name
    if encoder == "mjpeg" and chosen.startswith("yuv4"):
        chosen = chosen.replace("yuv4", "yuvj4")
    options = containers.encoder_options(encoder, crf, preset)
    for key, value in hdr.encoder_parameters(encoder, source.look.mastering, source.look.light).items():
        options[key] = ":".join(filter(None, (options.get(key), value)))
    unit, rate = source.info.time_base, source.info.rate or Fraction(25)
    if format_name is None or containers.constant_rate(format_name):
        unit = 1 / rate
    return _first_that_works(_Encoding(encoder, options, chosen, *size, unit, rate), offered, warnings)


def _first_that_works(first: _Encoding, offered: list[str], warnings: list[str]) -> _Encoding:
    reason = _probe(first)
    if reason is None:
        return first
    coarse = replace(first, unit=containers.coarse_unit(first.rate))
    if first.unit.denominator > coarse.unit.denominator and _probe(coarse) is None:
        warnings.append(f"{first.encoder} counts time in {coarse.unit} s at the finest: frames go to the nearest tick")
        return coarse
    known = containers.pixel_format(first.pixel_format)
    if known and known[0].subsampling != (0, 0) and (first.width % 2 or first.height % 2):
        size = f"{first.width}x{first.height}"
        whole = containers.planar_name(replace(known[0], subsampling=(0, 0)))
        even = first.width + first.width % 2, first.height + first.height % 2
        for other, how in (
            (replace(first, pixel_format=whole), f"encoded as {whole}"),
            (replace(first, width=even[0], height=even[1]), f"grown to {even[0]}x{even[1]} by repeating the edge"),
        ):
            if (other.pixel_format in offered or not offered) and _probe(other) is None:
                warnings.append(f"{first.encoder} does not take {first.pixel_format} of odd size {size}: {how}")
                return other
    raise DerainError(
        f"encoder {first.encoder} does not start for {first.width}x{first.height} {first.pixel_format} ({reason}); "
        "choose another --encoder, --preset or --crf"
    )


def _encoder(name: str) -> Any:
    try:
        codec = av.Codec(name, "w")
    except UnknownCodecError:
        raise DerainError(f"there is no encoder {name}; `streamderain doctor` lists those that work") from None
    if codec.type != "video":
        raise DerainError(f"{name} encodes {codec.type}, not video; choose another --encoder")
    return codec


def _offered(codec: Any) -> list[str]:
    """Software formats that an encoder takes; deprecated full-range doubles left out."""
    names = [(format.name, len(format.components)) for format in codec.video_formats or ()]
    return [name for name, components in names if components and not name.startswith("yuvj")]


def _probe(encoding: _Encoding) -> str | None:
    """Encode one black frame; the reason where that fails."""
    try:
        context = _new_context(encoding, None)
        picture = av.VideoFrame(encoding.width, encoding.height, encoding.pixel_format)
        for plane in picture.planes:
            planes.lines(plane, np.dtype("u1"), plane.line_size)[:] = 0
        picture.pts, picture.time_base = 0, encoding.unit
        packets = [*context.encode(picture), *context.encode(None)]
        unknown = set(context.options) & {"crf", "cq", "preset"}
    except (FFmpegError, OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error).lower()
    if unknown:
        return f"it has no option {' or '.join(sorted(unknown))}"
    return None if packets else "it gave no packet"


def _new_context(encoding: _Encoding, source: VideoSource | None) -> Any:
    """An encoder outside of any container."""
    context: Any = av.CodecContext.create(encoding.encoder, "w")
    _set_up(context, encoding, source)
    return context


def _set_up(context: Any, encoding: _Encoding, source: VideoSource | None) -> None:
    context.width, context.height, context.pix_fmt = encoding.width, encoding.height, encoding.pixel_format
    context.time_base, context.framerate = encoding.unit, encoding.rate
    context.options = dict(encoding.options)
    context.thread_count = 0
    if source is None:
        return
    look, shape = source.look, av.VideoFormat(source.info.pixel_format)
    context.color_primaries, context.color_trc = look.primaries, look.transfer
    context.color_range = containers.RANGE_FULL if shape.name.startswith("yuvj") else look.range
    context.colorspace = look.matrix
    if shape.is_rgb and not av.VideoFormat(encoding.pixel_format).is_rgb:
        context.colorspace = containers.coded_matrix(look.matrix, encoding.height)
        context.color_range = containers.RANGE_LIMITED
    if source.info.sample_aspect_ratio != 1:
        context.sample_aspect_ratio = source.info.sample_aspect_ratio


def _add_video(output: Any, encoding: _Encoding, source: VideoSource) -> Any:
    stream = output.add_stream(encoding.encoder, rate=encoding.rate, time_base=encoding.unit)
    _set_up(stream.codec_context, encoding, source)
    stream.metadata.update(live_tags(source.video_metadata))
    if source.look.turn is not None:
        stream.set_display_matrix(source.look.turn)
    elif source.look.rotation:
        stream.set_display_rotation(source.look.rotation)
    return stream


def _holds(format_name: str, encoder: str) -> bool:
    """Whether a container holds what an encoder makes."""
    try:
        av.open(io.BytesIO(), "w", format=format_name).add_stream(encoder)
    except ValueError:
        return False
    return True


def _takes(format_name: str, route: Route) -> bool:
    """Whether a container takes what a route brings: tried by beginning one that is written to nowhere."""
    output = av.open(io.BytesIO(), "w", format=format_name)
    try:
        add_lane(route, output)
        output.start_encoding()
        output.close()
    except (FFmpegError, OSError, ValueError):
        return False
    return True


def ffmpeg_version() -> str:
    """The version of the FFmpeg inside the av wheel."""
    return av.ffmpeg_version_info


def probe_decoder(name: str) -> str | None:
    """Decode one small frame that this FFmpeg encodes itself. None where it works, else the reason in a few words."""
    try:
        decoder: Any = av.CodecContext.create(name, "r")
        encoder: Any = av.CodecContext.create(decoder.codec.canonical_name, "w")
    except UnknownCodecError:
        return "this FFmpeg does not have it"
    encoder.width, encoder.height, encoder.pix_fmt = 320, 256, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = containers.encoder_options(encoder.codec.name, None, None)
    try:
        packets = [*encoder.encode(av.VideoFrame(320, 256, "yuv420p")), *encoder.encode(None)]
        decoder.extradata, decoder.width, decoder.height = encoder.extradata, 320, 256
        frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    except (FFmpegError, OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error).lower()
    return None if frames else "it gave no frame"
