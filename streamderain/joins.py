"""Files that were put one after the other: their clocks begin again, and each is set behind the one before."""
from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.stream import Disposition

_BACK_SECONDS = 1  # a step back by more is a new clock, by less a glitch
_MPEG_TICKS, _MPEG_SECONDS = 1 << 33, Fraction(1 << 33, 90_000)  # what the clock of MPEG streams counts to
_APART_SECONDS = Fraction(1, 1000)  # of packets whose times overlap at a join


@dataclass(slots=True)
class _Track:
    """One stream: the number of its clock; its last packet's time there, time in the output, and end of what was shown.

    Times in seconds. Subtitles, data and covers are sparse: that none comes says nothing.
    """

    sparse: bool
    clock: int
    last: Fraction
    placed: Fraction
    end: Fraction


class Joins:
    """Gives the packets of a container one clock.

    A clock begins again where a stream steps back behind what it and every other stream that is not sparse last had.
    What one of them alone has wrong is left to those who take it.

    Args:
        video: number of the stream that is decoded: its decode times may overlap at a join, other streams' may not.

    Attributes:
        count: how often a clock began again.
    """

    def __init__(self, video: int) -> None:
        self._video, self.count = video, 0
        self._shifts = [Fraction(0)]  # seconds to add, for every clock
        self._tracks: dict[int, _Track] = {}

    def place(self, packet: Any) -> None:
        """Move a packet's timestamps to the first clock; packets come in the order of the file."""
        self._unwrap(packet)
        ticks = packet.pts if packet.dts is None else packet.dts
        if ticks is None:
            return
        stream, unit = packet.stream, packet.time_base
        time, shown = ticks * unit, (ticks if packet.pts is None else packet.pts) * unit
        track = self._tracks.get(stream.index)
        if track is not None and not track.sparse and self._begins_again(track, time):
            self._shifts.append(max(each.end for each in self._tracks.values() if not each.sparse) - shown)
            self.count += 1
        clock = self._clock(track, time)
        shift = self._shifts[clock]
        if track is not None and clock and stream.index != self._video:
            shift = max(shift, track.placed + _APART_SECONDS - time)
        self._tracks[stream.index] = _after(packet, track, clock, time, shown, shift)
        if shift:
            packet.pts = None if packet.pts is None else packet.pts + round(shift / unit)
            packet.dts = None if packet.dts is None else packet.dts + round(shift / unit)

    def _unwrap(self, packet: Any) -> None:
        """What begins a little before a clock's zero comes a whole round late, and all behind it would step back."""
        if not self._tracks or packet.time_base != Fraction(1, 90_000):
            return
        now, half = next(iter(self._tracks.values())).last, _MPEG_SECONDS / 2
        if packet.pts is not None and packet.pts * packet.time_base - now > half:
            packet.pts -= _MPEG_TICKS
        if packet.dts is not None and packet.dts * packet.time_base - now > half:
            packet.dts -= _MPEG_TICKS

    def _begins_again(self, track: _Track, time: Fraction) -> bool:
        if track.clock != self.count:
            return False  # it has yet to follow the others
        lasts = [each.last for each in self._tracks.values() if not each.sparse]
        behind = time + _BACK_SECONDS < min(lasts)
        return behind and all(abs(time - last) >= abs(track.last - last) for last in lasts)  # else it was wrong before

    def _clock(self, track: _Track | None, time: Fraction) -> int:
        """The clock by which a packet is nearest to what came last: streams go over to a new one in their own time."""
        if not self.count:
            return 0
        now = max(each.placed for each in self._tracks.values() if not each.sparse)
        clocks = range(0 if track is None else track.clock, self.count + 1)
        return min(clocks, key=lambda clock: abs(time + self._shifts[clock] - now))


def _after(
    packet: Any, track: _Track | None, clock: int, time: Fraction, shown: Fraction, shift: Fraction
) -> _Track:
    """A stream after a packet."""
    stream = packet.stream
    length = (packet.duration or 0) * packet.time_base
    if not length and track is not None and track.clock == clock:
        length = max(Fraction(0), time - track.last)
    end = shown + shift + length
    sparse = stream.type not in ("video", "audio") or bool(stream.disposition & Disposition.attached_pic)
    if track is not None and 0 < track.end - end < _BACK_SECONDS:  # of more, that time was wrong
        end = track.end  # pictures are not stored in the order of their times
    return _Track(sparse, clock, time, time + shift, end)
