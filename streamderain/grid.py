"""A rate for containers that number their frames instead of timing them, found in the input's times. A door to PyAV."""
from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

from av.error import FFmpegError
from av.stream import Disposition

from streamderain import containers, pictures
from streamderain.errors import DerainError
from streamderain.inputs import open_input
from streamderain.joins import Joins
from streamderain.source import VideoSource


def rate_for(source: VideoSource, format_name: str) -> Fraction | None:
    """The constant rate at which a container holds a video; None where its times are not known before it is read.

    Args:
        source: a pipe is not read ahead, pictures have a rate, and fields are not counted as frames.
        format_name: of a container without a clock.

    Raises:
        DerainError: the rate is variable, or there are frames missing.
    """
    path = source.path
    if path is None or not path.is_file() or pictures.is_pictures(path) or source.info.interlaced:
        return None
    times, guessed = _look_ahead(source)
    if len(times) < 2:
        return None
    rates = [rate for rate in (source.info.rate, guessed) if rate]
    for rate in rates or [(len(times) - 1) / (times[-1] - times[0])]:
        if _is_constant(times, rate):
            return rate
    raise DerainError(
        f"{format_name} holds a constant rate only, and that of {path} varies; write mkv or mp4 instead"
    )


def _look_ahead(source: VideoSource) -> tuple[list[Fraction], Fraction | None]:
    """Times of the frames that will be read, rising, seconds, by their packets; and the rate that FFmpeg guesses."""
    assert source.path is not None
    times: set[Fraction] = set()
    with open_input(f"file:{source.path.absolute()}", str(source.path), containers.READABLE_FORMATS, 1 << 31) as again:
        video = next(each for each in again.streams.video if not each.disposition & Disposition.attached_pic)
        joins = Joins(video.index)
        with suppress(FFmpegError, IndexError):
            for packet in again.demux(video):
                joins.place(packet)
                ticks = packet.dts if packet.pts is None else packet.pts
                if ticks is not None and packet.size and not packet.is_discard:
                    times.add(ticks * packet.time_base)
        rate = video.base_rate
    kept = [time for time in sorted(times) if not source.shift or time >= source.begin]
    return [time for time in kept if source.end is None or time < source.end], rate or None


def _is_constant(times: list[Fraction], rate: Fraction) -> bool:
    """Whether every frame is at most one place beside its own."""
    return all(abs(round((time - times[0]) * rate) - number) <= 1 for number, time in enumerate(times))
