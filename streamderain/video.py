"""Video files in. A door to PyAV: frames leave here as plain planes with exact timestamps."""
from __future__ import annotations

import io
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec.codec import UnknownCodecError, find_best_pix_fmt_of_list
from av.error import FFmpegError
from av.video.reformatter import Interpolation

from streamderain import containers, nvdec, pictures, surfaces
from streamderain.errors import DerainError
from streamderain.nvdec import Decoder
from streamderain.source import Limits, VideoInfo, VideoSource, Warnings
from streamderain.switch import Switch

__all__ = ["EXACT", "MAX_PIXELS", "VideoInfo", "VideoSource", "ffmpeg_version", "open_video", "probe_decoder"]

MAX_PIXELS = 8192 * 4320
_log = logging.getLogger("streamderain")
_SEEK_MARGIN_SECONDS = 3  # seeking lands late in formats without an index
_TICK = Fraction(1, 1_000_000)  # of container times
_FULL_CHROMA = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | _FULL_CHROMA  # how pictures are converted


def open_video(
    path: str | Path,
    *,
    start: float | None = None,
    duration: float | None = None,
    max_pixels: int = MAX_PIXELS,
    rate: Fraction = Fraction(25),
    threads: int = 0,
    decoder: Decoder = "cpu",
    device: str = "auto",
) -> VideoSource:
    """Open a video and decode its first frame.

    Args:
        path: a file, a folder of pictures, a pattern ("frames/%04d.png" or "frames/*.png"), or "-" for stdin.
        start: skip to this time, seconds from the beginning; what is read then begins at zero.
        duration: read this long, seconds.
        max_pixels: refuse larger frames.
        rate: frames per second of pictures; of no meaning for a file.
        threads: of the decoder, 0 for as many as there are processors.
        decoder: "auto" and "nvdec" leave the frames on the CUDA device where NVDEC decodes them, as long as it gives
            what the CPU decoder would; where not, "nvdec" says why in the warnings.
        device: of the network (see Derainer), where frames are left.

    Raises:
        DerainError: there is no such file, or no video in it that decodes.
    """
    limits = Limits(_exactly(start), _exactly(duration), max_pixels, threads)
    if str(path) == "-":
        return _source(_File(_NamelessReader(sys.stdin.buffer), "stdin", limits), limits, decoder, device)
    if "\0" in str(path):
        raise DerainError("a file name cannot hold a NUL byte; give the path again")
    path = Path(path)
    if pictures.is_pictures(path):
        return _source(_PictureFiles(pictures.find(path), rate, limits, str(path)), limits, decoder, device, path)
    if not path.exists():
        raise DerainError(f"{path} does not exist; check the name")
    return _source(_File(f"file:{path.absolute()}", str(path), limits), limits, decoder, device, path)


def _exactly(seconds: float | None) -> Fraction | None:
    """The decimal number that was written: 0.08 as a binary float is a little more, and would miss a frame there."""
    return None if seconds is None else Fraction(str(seconds))


def _source(reader: Any, limits: Limits, decoder: Decoder, device: str, path: Path | None = None) -> VideoSource:
    warnings = Warnings()
    if decoder != "cpu":
        def tell(reason: str) -> None:
            if decoder == "nvdec":
                warnings.once(f"NVDEC does not decode this ({reason}): the CPU does")
            _log.debug("%s: the CPU decodes (%s)", reader.name, reason)

        reader.decode_on(nvdec.cuda_index(device), tell)
    return VideoSource(reader, _Conformer(reader, warnings.once), warnings, limits, path)


class _NamelessReader:
    """Only read(): so that FFmpeg neither seeks in a pipe nor takes its name for a hint."""

    def __init__(self, file: Any) -> None:
        self.read = file.read


class _File:
    """One container: its video decoded, packets of its other streams kept for the sink.

    Attributes:
        on_device: pictures stay on a CUDA device, so far.
        corrupt: damaged packets that gave no picture.
        carried: packets of other streams in the order of the file; None when nobody takes them.
    """

    def __init__(self, file: Any, name: str, limits: Limits) -> None:
        self.name, self._file, self._limits = name, file, limits
        self._second: Any = None  # the same container once more, for its decoder on the GPU
        self._switch: Switch | None = None
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

    def decode_on(self, index: int | None, tell: Callable[[str], None]) -> None:
        """Decode on a CUDA device from the first packet on, as long as that goes well; `tell` hears why it does not."""
        if index is None:
            return tell(nvdec.NO_CUDA)
        if not isinstance(self._file, str):
            return tell("standard input cannot be opened twice")
        software = self._video.codec_context
        try:
            self._second, hardware = nvdec.second_look(
                self._file, self._video.index, index, container_options=_guard(containers.READABLE_FORMATS),
                options={"max_pixels": str(self._limits.max_pixels)}, metadata_errors="ignore",
            )  # fmt: skip
        except nvdec.TROUBLE as error:
            return tell(nvdec.reason_of(error))
        hardware.options = dict(software.options)
        self._switch = Switch(hardware, software, decode=self._decode, tell=tell)
        return None

    @property
    def on_device(self) -> bool:
        return self._switch is not None and self._switch.on_device

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
        decode = self._switch.decode if self._switch is not None else self._decode
        for packet in self._demuxed():
            if packet.stream.index != self._video.index:
                self._keep(packet)
                continue
            self._packets += bool(packet.size)
            drained = drained or not packet.size
            yield from decode(packet)
        if not drained:  # reading broke off before the packet that empties the decoder
            yield from decode(None)

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
        if self._second is not None:
            self._second.close()

    def _seek(self) -> None:
        target = self.origin() + (self._limits.start or 0) - _SEEK_MARGIN_SECONDS
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

    on_device = False

    def __init__(self, files: list[Path], rate: Fraction, limits: Limits, name: str) -> None:
        self.name, self._files, self._rate, self._limits = name, files, rate, limits
        self.corrupt = 0
        self.others: list[Any] = []
        self.carried: deque[Any] | None = None
        self._stream: Any = None

    def decode_on(self, index: int | None, tell: Callable[[str], None]) -> None:
        """Only said: a picture is a file, and no stream."""
        tell("these are pictures")

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
        on_device = False
        for picture in self._deinterlaced():
            if target is None:
                target = picture.width, picture.height, planar(picture)
                on_device = surfaces.planar(picture) is not None
            name = own = surfaces.name_of(picture)
            if on_device:  # pictures of the CPU that follow say by their format what those of the GPU say beside it
                name = own.replace("yuvj", "yuv")
            if (picture.width, picture.height) != target[:2]:
                self._warn(f"the size changes to {picture.width}x{picture.height}: those frames are resized")
                self.resized += 1
            if (picture.width, picture.height, name) != target:
                picture = alike(picture, (*target[:2], own if name == target[2] else target[2]))
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


def _open_input(file: Any, name: str, formats: str, max_pixels: int) -> Any:
    try:
        return av.open(
            file, container_options=_guard(formats), options={"max_pixels": str(max_pixels)}, metadata_errors="ignore"
        )
    except IsADirectoryError:
        raise DerainError(f"{name} is a folder; give a file") from None
    except (FFmpegError, OSError) as error:
        reason = str(error.strerror or error).lower()
        raise DerainError(f"{name} does not open as video ({reason}); give a file that plays as video") from None


def _guard(formats: str) -> dict[str, str]:
    return {"format_whitelist": formats, "protocol_whitelist": "file,pipe"}


def _refuse_large(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DerainError(f"{name} has frames of {width}x{height}, too large; raise --max-pixels if you trust it")


def planar(picture: av.VideoFrame) -> str:
    """The planar format that holds a picture's own samples, depth and sampling."""
    name = surfaces.name_of(picture)
    if containers.pixel_format(name):
        return name
    every = [f"{base}{depth}" for base in _PLANAR_BASES for depth in ("", "10le", "12le", "14le", "16le")]
    best, _ = find_best_pix_fmt_of_list([*every, "ya8", "ya16le"], name, _has_alpha(picture.format))
    return best.name if best is not None else "yuv444p"


_PLANAR_BASES = ("gray", "yuv420p", "yuv422p", "yuv444p", "gbrp", "gbrap")


def _has_alpha(format: Any) -> bool:
    return format.has_palette or any(component.is_alpha for component in format.components)


def alike(picture: av.VideoFrame, target: tuple[int, int, str]) -> av.VideoFrame:
    made = picture.reformat(*target, interpolation=EXACT)
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
