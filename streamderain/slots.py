"""Times of pictures in AVI, which stores none: a packet's place is its time, and B-frames change places."""
from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Slots:
    """Gives pictures the times of the packets that they came in, in rising order.

    What FFmpeg makes of H.264 in AVI is the time of the packet after, without regard to the order of showing.

    Args:
        decode: packets to pictures.
        failed: how many packets have given none, so far.
    """

    def __init__(self, decode: Callable[[Any], Iterable[Any]], failed: Callable[[], int]) -> None:
        self._decode, self._failed = decode, failed
        self._free: list[int] = []

    def decode(self, packet: Any) -> Iterator[Any]:
        """The pictures that a packet gives, None for the last ones."""
        if packet is not None and packet.size and packet.dts is not None:
            heapq.heappush(self._free, packet.dts)
        failed = self._failed()
        for picture in self._decode(packet):
            if self._free:
                picture.pts = heapq.heappop(self._free)
            yield picture
        if self._failed() > failed and self._free:
            heapq.heappop(self._free)


def are_needed(container_format: str, codec: str) -> bool:
    """Whether a stream's times have to be found in this way."""
    return container_format == "avi" and codec == "h264"
