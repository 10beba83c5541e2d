"""Video files and pictures out: frames and all else that the source holds. A door to PyAV."""
from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError, find_best_pix_fmt_of_list
from av.error import FFmpegError

from streamderain import containers, nvdec, nvenc, pictures, planes, surfaces
from streamderain.carry import Passengers, Route, add_lane, live_tags, plan
from streamderain.encoding import (
    AUTO,
    DEFAULT,
    Choice,
    Encoding,
    Ticks,
    candidate,
    on_cuda,
    set_up,
    settle,
    wish,
)
from streamderain.errors import DerainError
from streamderain.frame import Frame, on_host
from streamderain.outputs import ReaderGone, Unfinished, claim, full
from streamderain.source import VideoSource, Warnings, format_of
from streamderain.video import EXACT

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes its settings to stderr otherwise

__all__ = ["VideoSink", "probe_encoder"]

X265_DELAY = 2  # pictures; of no more than these x265 subtracts a delay that it never measured from the decode times


class VideoSink:
    """Writes frames into a file, a stream on stdout or a row of pictures, and everything else the source holds.

    All that can be known to fail fails here, before a frame is made. What the output cannot keep is said in
    `warnings`. The output stands under its name only after finish().

    Args:
        path: a file (container from its suffix), a pattern or folder of pictures, or "-" for stdout.
        source: where sound, chapters, colour and so on come from.
        encoder: FFmpeg's name; pictures and "yuv4mpegpipe" have their own. "auto" is NVENC where the network runs on a
            CUDA device and NVENC encodes a frame, else libx264.
        crf: the encoder's quality number, None for a visually near-lossless default.
        preset: the encoder's own word for speed.
        container_format: FFmpeg's name of a container, None for that of the suffix (stdout: matroska).
        size: (width, height) of the frames that will come, None for the source's.
        overwrite: replace an existing output.
        cuda: number of the CUDA device that frames may come on, None where they come in memory.

    Raises:
        DerainError: one line with the reason.

    Attributes:
        frames: frames written.
        on_device: frames on the device are encoded there; otherwise they are fetched from it.
        encoder: FFmpeg's name of the one that was settled on.
        partial: after abort(): where the finished part was kept, None where there is none.
    """

    def __init__(
        self,
        path: str | Path,
        source: VideoSource,
        *,
        encoder: str = DEFAULT,
        crf: int | None = None,
        preset: str | None = None,
        container_format: str | None = None,
        size: tuple[int, int] | None = None,
        overwrite: bool = False,
        cuda: int | None = None,
    ) -> None:
        self._source, self.frames = source, 0
        self.partial: Path | None = None
        self._size = size or (source.info.width, source.info.height)
        self._writer: _Container | _Pictures
        if str(path) != "-" and container_format is None and pictures.is_picture_output(Path(path)):
            self._writer = _Pictures(Path(path), source, self._size, overwrite=overwrite)
        else:
            place = None if str(path) == "-" else claim(Path(path), source.path, overwrite=overwrite)
            format_name, choice = _output_format(path, container_format), Choice(encoder, crf, preset)
            self._writer = _Container(place, format_name, source, choice, self._size, cuda)
        self.warnings: list[str] = self._writer.warnings
        self.on_device, self.encoder = self._writer.feed is not None, self._writer.encoding.encoder

    def write(self, frame: Frame) -> None:
        """Encode one frame; its pts must be above that of the frame before.

        Raises:
            DerainError: nothing more can be written (exit code 4).
            ValueError: the frame is not of the announced size.
        """
        if (frame.width, frame.height) != self._size:
            raise ValueError(f"a frame of {frame.width}x{frame.height} came, announced were {self._size}; pass size=")
        feed = self._writer.feed
        here = feed is not None and feed.takes(frame)
        self._writer.write(feed.picture(frame) if feed is not None and here else _picture_of(on_host(frame)), frame)
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


class _Container:
    """One output container with the video and its passengers."""

    def __init__(
        self,
        place: Unfinished | None,
        format_name: str,
        source: VideoSource,
        choice: Choice,
        size: tuple[int, int],
        cuda: int | None,
    ) -> None:
        self._place, self._format, self._source = place, format_name, source
        self.warnings = Warnings()
        if choice.encoder == AUTO:
            choice = replace(choice, encoder=choose_encoder(source.info.pixel_format, cuda, self.warnings, format_name))
        self.encoding = _plan_encoding(source, choice, format_name, size, self.warnings, cuda)
        self.feed: nvenc.Feed | None = None
        if self.encoding.cuda is not None:
            self.feed = nvenc.Feed(self.encoding.cuda, self.encoding.pixel_format, size)
        self._ticks = Ticks(format_name, self.encoding)
        aspect, encoder = source.info.sample_aspect_ratio, self.encoding.encoder
        if aspect != 1 and not containers.keeps_aspect(format_name, _encoder(encoder).canonical_name):
            self.warnings.append(f"{format_name} with {encoder} cannot say that pixels are {aspect} wide")
        self._routes = self._plan_others()
        self._packets = 0
        self._container: Any = None

    def write(self, picture: av.VideoFrame, frame: Frame) -> None:
        with _trouble_told(self._name()):
            if self._container is None:
                self._open()
            if picture.format.name != "cuda":
                picture = _fit(picture, self.encoding)
            picture.pts, picture.duration = self._ticks.stamp(frame)
            picture.time_base = self.encoding.unit
            self._mux_video(self._video.encode(picture))
            self._mux_others(self._take_others())

    def finish(self) -> None:
        with _trouble_told(self._name()):
            self._mux_video(self._last_packets())
            self._mux_others(self._take_others())
            self._mux_others(self._passengers.flush(self._source.shift))
            self._container.close()
            self._container = None
            if self._place is None:
                sys.stdout.buffer.flush()
                return
            self._verify()
            self._place.commit()

    def abort(self, keep: bool) -> Path | None:
        if self._container is not None:
            try:
                self._mux_video(self._last_packets())
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
        unit, start = self.encoding.unit, float(self._source.earliest)
        options = containers.container_options(self._format, time_base=unit, start=start)
        target: Any = f"file:{self._place.path.absolute()}" if self._place else _Stdout()
        if self._place is None and self._format in ("mp4", "mov"):
            options["movflags"] = "frag_keyframe+empty_moov"  # a pipe cannot be gone back in
        self._container = av.open(
            target, "w", format=self._format, container_options=options, metadata_errors="ignore"
        )
        self._video = _add_video(self._container, self.encoding, self._source)
        if self._format in ("mp4", "mov") and self._video.codec_context.codec.canonical_name == "hevc":
            self._video.codec_context.codec_tag = "hvc1"  # some players take no other
        self._passengers = Passengers(self._routes, self._container)
        self._container.metadata.update(live_tags(self._source.metadata))
        self._container.set_chapters(self._source.chapters)
        self._container.start_encoding()

    def _plan_others(self) -> list[Route]:
        routes, lines = plan(self._source.streams, self._format, lambda route: _takes(self._format, route))
        self.warnings.extend(lines)
        if routes:
            self._source.keep_others()
        return routes

    def _last_packets(self) -> list[Any]:
        packets = self._video.encode(None)
        if self._packets == 0 and len(packets) <= X265_DELAY and self.encoding.encoder == "libx265":
            for packet in packets:  # so few pictures are never reordered
                packet.dts = packet.pts
        return packets

    def _mux_video(self, packets: list[Any]) -> None:
        for packet in packets:
            self._packets += 1
            packet.duration = self._ticks.take_duration(packet.pts) or packet.duration
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
        stream = packet.stream
        self.warnings.once(f"some packets of {stream.type} stream {stream.index} are damaged and were left out")

    def _verify(self) -> None:
        """Read back the header of what was written."""
        assert self._place is not None
        with av.open(f"file:{self._place.path.absolute()}", metadata_errors="ignore") as written:
            found = written.streams.video[0].frames if written.streams.video else -1
        if found < 0 or 0 < found < self._packets:
            raise OSError(f"the file reads back with {max(found, 0)} of {self._packets} frames")

    def _name(self) -> str:
        return str(self._place.final) if self._place else "stdout"


class _Pictures:
    """A row of picture files, made in a folder of their own and moved at the end."""

    def __init__(self, path: Path, source: VideoSource, size: tuple[int, int], *, overwrite: bool) -> None:
        self._folder, self._pattern = pictures.output_pattern(path)
        self._keeps_stems = path == self._folder
        self.feed: nvenc.Feed | None = None
        self._place = pictures.claim(path, source.path, overwrite=overwrite)
        encoder = containers.PICTURE_ENCODERS[Path(self._pattern).suffix.lower()]
        self.warnings = Warnings()
        self.encoding = _plan_encoding(source, Choice(encoder), None, size, self.warnings)
        self._source = source
        self._context: Any = None
        self._count = 0

    def write(self, picture: av.VideoFrame, frame: Frame) -> None:
        with _trouble_told(str(self._folder)):
            if self._context is None:
                self._place.path.mkdir()
                self._context = _new_context(self.encoding, self._source)
            self._count += 1
            picture = _fit(picture, self.encoding)
            picture.pts, picture.time_base = self._count, self.encoding.unit
            data = b"".join(bytes(packet) for packet in self._context.encode(picture))
            stem = frame.side.get("stem") if self._keeps_stems else None
            (self._place.path / pictures.numbered(self._pattern, self._count, stem)).write_bytes(data)

    def finish(self) -> None:
        with _trouble_told(str(self._folder)):
            self._place.commit()

    def abort(self, keep: bool) -> Path | None:
        if keep:
            return self._place.keep_partial()
        self._place.discard()
        return None


class _Stdout:
    """Only write(): a pipe."""

    def write(self, data: bytes) -> int:
        return sys.stdout.buffer.write(data)


@contextmanager
def _trouble_told(name: str) -> Iterator[None]:
    """What stops an output from being written, in one line; a reader that closed our stdout is told nothing."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone() from None
    except (FFmpegError, OSError) as error:
        reason = full(error) if isinstance(error, OSError) else str(error.strerror or error).lower()
        line = f"{name} cannot be written any further: {reason}; what is finished is kept"
        raise DerainError(line, exit_code=4) from None


def _picture_of(frame: Frame) -> av.VideoFrame:
    """A frame's planes in an FFmpeg picture: the decoder's own where it fits, because it carries side data."""
    name = containers.planar_name(frame.format, alpha=frame.alpha is not None)
    picture, own = frame.side.get("picture"), None
    shape = name, frame.width, frame.height
    if picture is not None and (surfaces.name_of(picture), picture.width, picture.height) == shape:
        if surfaces.planar(picture) is None:
            own = picture
            own.make_writable()
        elif surfaces.has_side_data(picture):
            own = picture.reformat(format=name)  # fetched once more, because nothing else takes the side data along
    target = own or av.VideoFrame(frame.width, frame.height, name)
    if own is None and picture is not None:
        _copy_colour(picture, target)
    planes.write(target, [*frame.planes, *([] if frame.alpha is None else [frame.alpha])])
    if frame.format.full_range and frame.format.family != "rgb":
        target.color_range = containers.RANGE_FULL
    target.pict_type = 0  # the old encoder's choice is not ours
    return target


def _fit(picture: av.VideoFrame, encoding: Encoding) -> av.VideoFrame:
    """The picture in the size and format that the encoder takes."""
    if (picture.width, picture.height) != (encoding.width, encoding.height):
        picture = _padded(picture, encoding.width, encoding.height)
    if picture.format.name == encoding.pixel_format:
        return picture
    if picture.format.is_rgb == av.VideoFormat(encoding.pixel_format).is_rgb:
        return picture.reformat(format=encoding.pixel_format, interpolation=EXACT)
    matrix = containers.coded_matrix(picture.colorspace, picture.height)
    sws = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}.get(matrix, 5)
    source_range = picture.color_range or (2 if picture.format.is_rgb else 1)
    return picture.reformat(
        format=encoding.pixel_format, interpolation=EXACT, src_colorspace=sws, dst_colorspace=sws,
        src_color_range=source_range, dst_color_range=1 if picture.format.is_rgb else 2,
    )  # fmt: skip


def _padded(picture: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """The last column and row once more, where the encoder wants even sizes."""
    format, _ = format_of(picture)
    target = av.VideoFrame(width, height, picture.format.name)
    few, many = (planes.read(each, bit_depth=format.bit_depth) for each in (picture, target))
    planes.write(target, [planes.extended(small, large.shape) for small, large in zip(few, many, strict=True)])
    _copy_colour(picture, target)
    return target


def _copy_colour(picture: av.VideoFrame, target: av.VideoFrame) -> None:
    target.colorspace, target.color_range = picture.colorspace, picture.color_range
    target.color_trc, target.color_primaries = picture.color_trc, picture.color_primaries


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
    choice: Choice,
    format_name: str | None,
    size: tuple[int, int],
    warnings: list[str],
    cuda: int | None = None,
) -> Encoding:
    """Choose pixel format and size that the encoder takes, and prove it with one frame."""
    raw = format_name == "yuv4mpegpipe"
    choice = Choice("rawvideo") if raw else choice
    codec = _encoder(choice.encoder)
    if format_name is not None and not _holds(format_name, choice.encoder):
        raise DerainError(f"{format_name} does not hold {codec.canonical_name}; choose another --encoder")
    offered = list(containers.Y4M_FORMATS) if raw else _offered(codec)
    chosen = _nearest(source.info.pixel_format, offered, choice.encoder, warnings)
    first = wish(choice, chosen, size, source.info, source.look, format_name)
    there = on_cuda(first, cuda, source.info.pixel_format)
    if there is not None and _probe(there) is None:
        return there
    return settle(first, offered, _probe, warnings)


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


def _probe(encoding: Encoding) -> str | None:
    """Encode one black frame; the reason where that fails."""
    try:
        context = _new_context(encoding, None)
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


def _new_context(encoding: Encoding, source: VideoSource | None) -> Any:
    """An encoder outside of any container."""
    with _acceleration(encoding) as accelerated:
        context: Any = av.CodecContext.create(encoding.encoder, "w", accelerated)
    set_up(context, encoding, source)
    return context


def _acceleration(encoding: Encoding) -> AbstractContextManager[Any]:
    return nullcontext() if encoding.cuda is None else nvdec.acceleration(encoding.cuda)


def _add_video(output: Any, encoding: Encoding, source: VideoSource) -> Any:
    with _acceleration(encoding) as accelerated:
        rate, unit = encoding.rate, encoding.unit
        stream = output.add_stream(encoding.encoder, rate=rate, hwaccel=accelerated, time_base=unit)
    set_up(stream.codec_context, encoding, source)
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
