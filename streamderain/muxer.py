"""One output container: the derained video and its passengers. A door to PyAV."""
from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from streamderain import containers, nvenc
from streamderain.carry import Passengers, Route, add_lane, is_bare_aac, live_tags, plan
from streamderain.encoders import add_video, choose_encoder, codec_of, plan_encoding
from streamderain.encoding import AUTO, Choice, Ticks, hdr_lost
from streamderain.errors import DerainError
from streamderain.fit import fit
from streamderain.frame import Frame
from streamderain.outputs import ReaderGone, Unfinished, full
from streamderain.source import VideoSource, Warnings
from streamderain.spare import SpareFile

X265_DELAY = 2  # pictures; of no more than these x265 subtracts a delay that it never measured from the decode times
_LATE_SECONDS = 0.1  # sound that is off by less is not noticed


class Muxer:
    """One output container with the video and its passengers.

    Args:
        place: the file while it is unfinished, None for stdout.
        format_name: FFmpeg's name of the container.
        source: where all but the frames comes from.
        choice: encoder, quality and speed as asked for.
        size: (width, height) of the frames that will come.
        cuda: number of the CUDA device that frames may come on, None where they come in memory.

    Raises:
        DerainError: the container or the encoder cannot do this.

    Attributes:
        encoding: what the encoder is opened with.
        feed: takes frames on the device, None where they are encoded from memory.
        warnings: what the output cannot keep.
    """

    def __init__(
        self,
        place: Unfinished | None,
        format_name: str,
        source: VideoSource,
        choice: Choice,
        size: tuple[int, int],
        cuda: int | None,
    ) -> None:
        if place is None and sys.stdout is None:
            raise DerainError("stdout is closed; pipe it into a program or name a file")
        self._place, self._format, self._source = place, format_name, source
        self.warnings = Warnings()
        if choice.encoder == AUTO:
            choice = replace(choice, encoder=choose_encoder(source.info.pixel_format, cuda, self.warnings, format_name))
        self.encoding = plan_encoding(source, choice, format_name, size, self.warnings, cuda)
        self.feed: nvenc.Feed | None = None
        if self.encoding.cuda is not None:
            self.feed = nvenc.Feed(self.encoding.cuda, self.encoding.pixel_format, size)
        self._ticks = Ticks(format_name, self.encoding)
        aspect, encoder = source.info.sample_aspect_ratio, self.encoding.encoder
        if aspect != 1 and not containers.keeps_aspect(format_name, codec_of(encoder).canonical_name):
            self.warnings.append(f"{format_name} with {encoder} cannot say that pixels are {aspect} wide")
        degrees = source.look.rotation
        if (degrees or source.look.turn) and not containers.keeps_rotation(format_name):
            self.warnings.append(f"{format_name} cannot say that the picture is to be turned by {degrees} degrees")
        self.warnings.extend(hdr_lost(encoder, source.look))
        self._routes = self._plan_others()
        self._packets = self._packets_beside = 0
        self._played = _Played(self.warnings)
        self._container: Any = None
        self._spare: SpareFile | None = None

    def write(self, picture: av.VideoFrame, frame: Frame) -> None:
        """Encode a picture at its frame's time, and bring along what belongs before it."""
        with trouble_told(self._name()):
            if self._container is None:
                self._open()
            if picture.format.name != "cuda":
                picture = fit(picture, self.encoding)
            picture.pts, picture.duration = self._ticks.stamp(frame)
            picture.time_base = self.encoding.unit
            if self._spare is not None:
                self._spare.expect(self._packets + self._packets_beside)
            self._mux_video(self._video.encode(picture))
            self._mux_others(self._take_others())

    def finish(self) -> None:
        """Write what is left, read the header back, and move the file into place."""
        with trouble_told(self._name()):
            self._mux_video(self._last_packets())
            self._mux_others(self._take_others())
            self._mux_others(self._passengers.flush(self._shift()))
            self._close()
            if self._place is None:
                sys.stdout.buffer.flush()
                return
            self._verify()
            self._place.commit()

    def abort(self, keep: bool) -> Path | None:
        """Close without completing; where the finished part is, if it is kept."""
        if self._container is not None:
            try:
                if self._spare is None or not self._spare.full:
                    self._mux_video(self._last_packets())
                self._close()
            except (FFmpegError, OSError, DerainError):
                keep = keep and self._packets > 0  # the disk is full or the reader gone: what is there is there
            self._container = None
        if self._place is None:
            return None
        if keep:
            return self._keep_partial(self._place)
        self._place.discard()
        return None

    def _close(self) -> None:
        try:
            self._container.close()
            self._container = None
        finally:
            if self._spare is not None:
                self._spare.close()

    def _keep_partial(self, place: Unfinished) -> Path | None:
        partial = place.keep_partial()
        try:
            av.open(f"file:{partial.absolute()}", metadata_errors="ignore").close() if partial is not None else None
        except (FFmpegError, OSError):
            self.warnings.append(f"{partial} lacks its index and does not play")
        return partial

    def _open(self) -> None:
        unit, start = self.encoding.unit, float(self._source.earliest)
        options = containers.container_options(self._format, time_base=unit, start=start)
        target: Any = f"file:{self._place.path.absolute()}" if self._place else _Stdout()
        if self._place is not None and self._format in containers.INDEX_LAST:
            target = self._spare = SpareFile(self._place.path)
        elif self._place is None and self._format in ("mp4", "mov"):
            options["movflags"] = "frag_keyframe+empty_moov"  # a pipe cannot be gone back in
        self._container = av.open(
            target, "w", format=self._format, container_options=options, metadata_errors="ignore"
        )
        self._video = add_video(self._container, self.encoding, self._source)
        if self._format in ("mp4", "mov") and self._video.codec_context.codec.canonical_name == "hevc":
            self._video.codec_context.codec_tag = "hvc1"  # some players take no other
        self._passengers = Passengers(self._routes, self._container, self._source.covers())
        self._container.metadata.update(live_tags(self._source.metadata))
        self._container.set_chapters(self._source.chapters)
        self._container.start_encoding()

    def _plan_others(self) -> list[Route]:
        routes, lines = plan(self._source.streams, self._format, self._carries)
        self.warnings.extend(lines)
        if routes:
            self._source.keep_others()
        return routes

    def _carries(self, route: Route) -> bool:
        """Whether the output holds what a route brings."""
        if route.encoder is None and not containers.reads_back(self._format, route.stream):
            return False
        piped = self._place is None and containers.describes_sound(self._format)
        if piped and route.encoder is None and is_bare_aac(route.stream):
            return False  # its description is known with its first packet, and a pipe's header cannot be mended
        return _takes(self._format, route)

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
                found += self._passengers.take(packet, self._shift())
            except FFmpegError:
                self._drop(packet)
        return found

    def _shift(self) -> Fraction:
        """Seconds taken off the passengers' times: in a container that numbers its frames the first one is at zero."""
        return self._source.shift + self._ticks.begin

    def _mux_others(self, packets: list[Any]) -> None:
        for packet in packets:
            if self._format == "avi" and packet.stream.type == "audio":
                self._played.place(packet)
            try:
                self._container.mux_one(packet)
                self._packets_beside += 1
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


class _Played:
    """What AVI makes of sound: it is played from the beginning and without a gap, whatever its packets' times say.

    Args:
        warnings: told what plays too early.
    """

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings
        self._seconds: dict[int, Fraction] = {}  # played so far, by stream
        self._last: dict[int, int] = {}
        self._told: set[int] = set()

    def place(self, packet: Any) -> None:
        """Give a packet of sound a time above that of the one before: AVI's ticks are as long as a packet."""
        index, unit = packet.stream.index, packet.stream.time_base
        time, length = (packet.dts or 0) * packet.time_base, (packet.duration or 0) * packet.time_base
        early = time - self._seconds.get(index, Fraction(0))
        if length and early > _LATE_SECONDS and index not in self._told:
            self._told.add(index)
            self._warnings.append(
                f"avi has no place for silence: audio stream {index} plays {float(early):.1f} s early from its first "
                "gap on; write mkv or mp4 instead"
            )
        self._seconds[index] = self._seconds.get(index, Fraction(0)) + length if length else time
        ticks = max(round(time / unit), self._last.get(index, -(1 << 62)) + 1)
        self._last[index] = packet.pts = packet.dts = ticks
        packet.duration, packet.time_base = max(1, round(length / unit)), unit


class _Stdout:
    """Only write(): a pipe."""

    def write(self, data: bytes) -> int:
        return sys.stdout.buffer.write(data)


@contextmanager
def trouble_told(name: str) -> Iterator[None]:
    """What stops an output from being written, in one line; a reader that closed our stdout is told nothing."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone() from None
    except (FFmpegError, OSError) as error:
        reason = full(error) if isinstance(error, OSError) else str(error.strerror or error).lower()
        line = f"{name} cannot be written any further: {reason}; what is finished is kept"
        raise DerainError(line, exit_code=4) from None


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
