"""What an input lacks by its container's own word: packets of its index, seconds of its length."""
from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

from streamderain import containers

_TICK = Fraction(1, 1_000_000)  # of container times


class Tally:
    """Counts what is read of a container.

    Args:
        container: an av.container.InputContainer.
        video: its stream that is decoded.
    """

    def __init__(self, container: Any, video: Any) -> None:
        self._container, self._video = container, video
        self._counts: Counter[int] = Counter()
        self._first: dict[int, int] = {}  # decode time of the first packet of each stream, its own ticks
        self._end = Fraction(0)

    def count(self, packet: Any) -> None:
        """A packet as the file has it."""
        if packet.size:
            self._counts[packet.stream.index] += 1
            if packet.dts is not None:
                self._first.setdefault(packet.stream.index, packet.dts)

    def reach(self, packet: Any) -> None:
        """A packet at its time in the output."""
        if packet.pts is not None:
            self._end = max(self._end, (packet.pts + (packet.duration or 0)) * packet.time_base)

    def shortfall(self, *, from_the_start: bool) -> str | None:
        """What is missing, once all was read, in words; None where nothing is.

        Args:
            from_the_start: nothing was skipped.
        """
        names = self._container.format.name
        if not containers.states_length(names):
            return None
        missing = self._unread(from_the_start) if "mov" in names else []
        if missing:
            return " and ".join(missing)
        promised = (self._container.duration or 0) * _TICK
        read = self._end - (self._container.start_time or 0) * _TICK
        tolerance = Fraction(1, 10) + Fraction(5, 2) / (self._video.average_rate or 25)
        if promised - read > max(tolerance, 1 if "flv" in names or "asf" in names else 0):
            return f"it ends after {float(read):.1f} of {float(promised):.1f} seconds"
        return None

    def _unread(self, from_the_start: bool) -> list[str]:
        """Of each stream that plays what its index lists and the file does not hold."""
        missing = []
        for stream in self._container.streams:
            if stream.type not in ("video", "audio"):
                continue
            listed, read = len(stream.index_entries), self._counts[stream.index]
            if not from_the_start:
                first = self._first.get(stream.index)
                listed = sum(first is not None and each.timestamp >= first for each in stream.index_entries)
            if listed > read:
                kind = "frames" if stream.index == self._video.index else f"packets of {stream.type} {stream.index}"
                missing.append(f"{listed - read} of {listed} {kind} are missing")
        return missing
