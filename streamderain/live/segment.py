"""A segment of a recording: a Matroska file that plays up to its last moment, however it ended. A door to PyAV."""
from __future__ import annotations

import errno
import os
from contextlib import suppress
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from streamderain.live.coded import Coded
from streamderain.live.encoder import TROUBLE

# A killed recording plays up to its last cluster, so clusters are short and go to the disk when they are complete.
_OPTIONS = {"cluster_time_limit": "500", "flush_packets": "1"}
_BUFFER_BYTES = 1 << 18


class Segment:
    """One Matroska file.

    Args:
        path: nothing stands there yet.
        first: the packet it begins with, a key frame; it gets the time zero.
        now: UTC, written into the file.

    Raises:
        FFmpegError, OSError, ValueError: it cannot be written; `write` and `complete` raise them too.

    Attributes:
        tracks: of the packets it takes.
        begins: when its first packet is, seconds on the run's line of time.
        largest_group: bytes of its longest run from one key frame to the next.
    """

    def __init__(self, path: Path, first: Coded, now: datetime) -> None:
        self.path, self.tracks, self.begins = path, first.tracks, first.seconds
        self.largest_group = self._group = 0
        self._named = False
        self._file, self._header = NewFile(path), 0
        try:
            self._container = av.open(
                self._file, "w", format="matroska", container_options=_OPTIONS, buffer_size=_BUFFER_BYTES
            )
            self._streams = streams_like(self._container, first)
            self._container.metadata["creation_time"] = f"{now:%Y-%m-%dT%H:%M:%SZ}"
            self._container.start_encoding()
            self._header = self._file.size
        except BaseException:
            self.abandon()
            raise

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.size

    def write(self, coded: Coded) -> None:
        """Add a packet of its tracks; their order in time is the caller's care."""
        if coded.begins:
            self._group = 0
        self._group += len(coded.data)
        self.largest_group = max(self.largest_group, self._group)
        self._container.mux_one(packet_of(coded, self._streams[coded.is_video], self.begins))

    def sync(self) -> None:
        """What was written, and the file's name, shall survive a power cut."""
        self._file.sync()
        if not self._named and hasattr(os, "O_DIRECTORY"):
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self._named = True

    def complete(self) -> None:
        """Write length and index."""
        try:
            self._container.close()
            self._file.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close it as it is: it plays up to the last cluster. One without a cluster is deleted."""
        with suppress(*TROUBLE, AttributeError):  # it fails again where it failed before
            self._container.close()
        self._file.close()
        if not self._header or self._file.size <= self._header:
            self.path.unlink(missing_ok=True)


class NewFile:
    """A new file that counts its bytes and writes all or raises; FFmpeg takes a short write for a whole one."""

    def __init__(self, path: Path) -> None:
        self._raw = open(path, "xb", buffering=0)  # noqa: SIM115
        self._named = bool(os.fstat(self._raw.fileno()).st_nlink)  # some file systems do not say
        self.size = 0

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[self._raw.write(rest) :]
        self.size = max(self.size, self._raw.tell())
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def sync(self) -> None:
        os.fsync(self._raw.fileno())
        if self._named and not os.fstat(self._raw.fileno()).st_nlink:  # the system would take all that comes
            raise FileNotFoundError(errno.ENOENT, "its file was deleted")

    def close(self) -> None:
        with suppress(OSError):
            self._raw.close()


def streams_like(container: Any, coded: Coded) -> dict[bool, Any]:
    """Streams of an output container for a packet's tracks: video under True, sound under False where there is any."""
    found = {True: container.add_stream_from_template(coded.tracks.video, opaque=True)}
    if coded.tracks.sound is not None:
        found[False] = container.add_stream_from_template(coded.tracks.sound, opaque=True)
    return found


def packet_of(coded: Coded, stream: Any, zero: Fraction) -> Any:
    """A packet for an output container; `zero` seconds become its time 0."""
    packet = av.Packet(coded.data)
    shift = round(zero / coded.unit)
    packet.pts, packet.dts, packet.duration = coded.pts - shift, coded.dts - shift, coded.duration
    packet.time_base, packet.is_keyframe, packet.stream = coded.unit, coded.key, stream
    return packet
