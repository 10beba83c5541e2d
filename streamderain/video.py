"""Video files in. A door to PyAV: frames leave here as plain planes with exact timestamps."""
from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError

from streamderain import containers, nvdec, pictures, slots
from streamderain.conform import Conformer
from streamderain.errors import DerainError
from streamderain.inputs import NamelessReader, decoder_of, guard, open_input, refuse_large
from streamderain.joins import Joins
from streamderain.nvdec import Decoder
from streamderain.outputs import check_name
from streamderain.picture_files import PictureFiles
from streamderain.shortfall import Tally
from streamderain.source import Limits, VideoSource, Warnings
from streamderain.switch import Switch

MAX_PIXELS = 8192 * 4320
_log = logging.getLogger("streamderain")
_SEEK_MARGIN_SECONDS = 3  # seeking lands late in formats without an index
_BEFORE_ALL_SECONDS = 10  # a seek to the very beginning may land behind the first key frame
_TICK = Fraction(1, 1_000_000)  # of container times


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
        if sys.stdin is None:
            raise DerainError("stdin is closed; pipe a video into it or name a file")
        return _source(_File(NamelessReader(sys.stdin.buffer), "stdin", limits), limits, decoder, device)
    check_name(str(path))
    path = Path(path)
    if pictures.is_pictures(path):
        files = pictures.find(path)
        source = _source(PictureFiles(files, rate, limits, str(path)), limits, decoder, device, path)
        if gap := pictures.gap_in(files):
            source.warnings.append(f"{gap}: what is there follows without a gap")
        return source
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
    return VideoSource(reader, Conformer(reader, warnings.once), warnings, limits, path)


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
        self.container = open_input(file, name, containers.READABLE_FORMATS, limits.max_pixels)
        videos = [s for s in self.container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not videos:
            self.container.close()
            raise DerainError(f"{name} has no video stream; give a file that plays as video")
        self._video = videos[0]
        self.others = [stream for stream in self.container.streams if stream.index != self._video.index]
        self._joins = Joins(self._video.index)
        self._tally = Tally(self.container, self._video)
        self._decoder = decoder_of(self._video)
        self._prepare()

    def _prepare(self) -> None:
        context = self._decoder
        if context is None:
            self.container.close()
            raise DerainError(f"{self.name} holds video that no decoder here reads; convert it first")
        refuse_large(self.name, context.width, context.height, self._limits.max_pixels)
        context.options = {"max_pixels": str(self._limits.max_pixels)}
        context.thread_type = "AUTO"
        context.thread_count = self._limits.threads

    def decode_on(self, index: int | None, tell: Callable[[str], None]) -> None:
        """Decode on a CUDA device from the first packet on, as long as that goes well; `tell` hears why it does not."""
        if index is None:
            return tell(nvdec.NO_CUDA)
        if not isinstance(self._file, str):
            return tell("standard input cannot be opened twice")
        software = self._decoder
        try:
            self._second, hardware = nvdec.second_look(
                self._file, self._video.index, index, container_options=guard(containers.READABLE_FORMATS),
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

    @property
    def joins(self) -> int:
        return self._joins.count

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
        decode: Callable[[Any], Iterable[Any]] = self._switch.decode if self._switch is not None else self._decode
        if slots.are_needed(self.container.format.name, self._decoder.name):
            decode = slots.Slots(decode, lambda: self.corrupt).decode
        for packet in self._demuxed():
            if packet.stream.index != self._video.index:
                self._keep(packet)
                continue
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
        return self._tally.shortfall(from_the_start=not self._limits.start)

    def close(self) -> None:
        self.container.close()
        if self._second is not None:
            self._second.close()

    def _seek(self) -> None:
        """Go to a key frame before the start; what still comes before the start is decoded and dropped."""
        if self.container.start_time is None or not isinstance(self._file, str):
            return  # a bare stream has no times and a pipe no way back: a seek only loses the place
        begin, margin, found = self.origin() + (self._limits.start or 0), _SEEK_MARGIN_SECONDS, True
        with suppress(FFmpegError):
            while begin - margin > self.origin():
                self._go_to(begin - margin)
                found = self._decodes_before(begin)
                if found:
                    return self._go_to(begin - margin)
                margin *= 4
            if not found:
                self._go_to(self.origin() - _BEFORE_ALL_SECONDS)

    def _go_to(self, seconds: Fraction) -> None:
        self.container.seek(int(seconds / _TICK), backward=True)

    def _decodes_before(self, begin: Fraction) -> bool:
        """Whether a key frame comes before this time: without an index a seek lands anywhere between two of them."""
        try:
            for packet in self.container.demux(self._video):
                time = packet.dts if packet.pts is None else packet.pts  # AVI has no other
                if time is None or time * packet.time_base > begin:
                    return False
                if packet.is_keyframe:
                    return True
        except (FFmpegError, IndexError):
            pass
        return False

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
            self._tally.count(packet)
            self._joins.place(packet)
            self._tally.reach(packet)
            yield packet

    def _decode(self, packet: Any) -> list[av.VideoFrame]:
        try:
            return self._decoder.decode(packet)
        except EOFError:
            return []
        except FFmpegError:
            self.corrupt += 1
            return []

    def _keep(self, packet: Any) -> None:
        if self.carried is not None and packet.size:
            self.carried.append(packet)


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
