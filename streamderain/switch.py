"""Decodes on the GPU as long as that gives what the CPU decoder would, and on the CPU from then on, without a gap."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from streamderain import nvdec, surfaces

_KEPT_BYTES = 64 << 20  # of packets since the last but one key frame; more means that there are hardly any
_LEAST_PACKETS = 32  # more than a decoder holds back


class Switch:
    """Two decoders of one stream, of which the CPU's takes over for good when something speaks against the other.

    The first picture of the GPU has to equal the CPU's in every sample. After that the CPU decoder takes over where a
    packet is damaged, decoding fails, or a picture is interlaced, damaged, of another size or format, or its time does
    not rise. It begins two key frames before, because pictures between two of them may need both, and leaves out what
    was given already.

    Args:
        hardware: the decoder on the GPU; `decode(packet)` gives pictures there.
        software: the decoder on the CPU, which nobody else has used.
        decode: decodes with `software` and counts what is damaged; raises nothing.
        tell: called with the reason, once, when the CPU takes over.

    Attributes:
        on_device: pictures come from the GPU.
    """

    def __init__(
        self, hardware: Any, software: Any, *, decode: Callable[[Any], list[Any]], tell: Callable[[str], None]
    ) -> None:
        self._hardware, self._software, self._decode, self._tell = hardware, software, decode, tell
        self.on_device = True
        self._kind: tuple[Any, ...] | None = None  # of the first picture
        self._kept: list[Any] = []
        self._bytes = 0
        self._begin: int | None = None  # time of the key frame that the kept packets begin with; None of the first one
        self._given: list[int] = []  # rising times of pictures since then
        self._left_out: Counter[int] = Counter()

    def decode(self, packet: Any) -> list[Any]:
        """Pictures that a packet gives, in presentation order; None empties the decoder."""
        if not self.on_device:
            return self._not_given(self._decode(packet))
        self._keep(packet)
        reason, pictures = self._on_device(packet)
        return pictures if reason is None else [*pictures, *self._take_over(reason)]

    def _on_device(self, packet: Any) -> tuple[str | None, list[Any]]:
        """What speaks against going on, and the pictures before that."""
        if packet is not None and packet.is_corrupt:
            return "a packet is damaged", []
        if self._bytes > _KEPT_BYTES:
            return "its key frames are too far apart", []
        good: list[Any] = []
        try:
            pictures = self._hardware.decode(packet)
        except EOFError:  # emptied before
            return None, []
        except nvdec.TROUBLE as error:
            return nvdec.reason_of(error), []
        for picture in pictures:
            reason = self._unfit(picture)
            if reason is not None:
                return reason, good
            self._given.append(picture.pts)
            good.append(picture)
        over = packet is None or not packet.size or len(self._kept) > _LEAST_PACKETS
        return "NVDEC gives no picture" if over and not self._given else None, good

    def _unfit(self, picture: Any) -> str | None:
        """What speaks against a picture."""
        kind = surfaces.planar(picture), picture.width, picture.height, picture.color_range
        if kind[0] is None:
            return "NVDEC is not there, or not for this profile, pixel format or size"
        if picture.interlaced_frame:
            return "it is interlaced"
        if picture.is_corrupt:
            return "a frame is damaged"
        if picture.pts is None or (self._given and picture.pts <= self._given[-1]):
            return "its frames have no times, or times that do not rise"
        if picture.width % 2 or picture.height % 2:
            return "its width or height is odd"
        if self._kind is None:
            self._kind = kind
            return self._compared(picture)
        return None if kind == self._kind else "its size or pixel format changes"

    def _compared(self, picture: Any) -> str | None:
        """What the CPU decoder says to the first picture; it is as new afterwards."""
        expected: list[Any] = []
        with suppress(EOFError, *nvdec.TROUBLE):  # the packets behind may be damaged, the picture not
            for packet in [*self._kept, None]:
                expected += self._software.decode(packet)
        self._software.flush_buffers()
        same = next((each for each in expected if each.pts == picture.pts), None)
        if same is None:
            return "the CPU decoder gives other frames"
        return "NVDEC gives another picture than the CPU decoder" if surfaces.differs(picture, same) else None

    def _keep(self, packet: Any) -> None:
        """Keep a packet, and those since the last but one key frame before it."""
        self._kept.append(packet)
        if packet is None:
            return
        self._bytes += packet.size
        if not packet.is_keyframe or not self._given:
            return
        keys = [at for at, each in enumerate(self._kept) if each is not None and each.is_keyframe]
        first = max((at for at in keys[:-1] if at <= len(self._kept) - _LEAST_PACKETS), default=0)
        if first:
            self._bytes -= sum(each.size for each in self._kept[:first])
            del self._kept[:first]
            begin = self._begin = self._kept[0].pts
            self._given = [time for time in self._given if begin is None or time >= begin]

    def _take_over(self, reason: str) -> list[Any]:
        self.on_device, self._hardware = False, None
        self._tell(reason)
        packets, self._kept = self._kept, []
        self._left_out = Counter(self._given)
        return self._not_given([picture for packet in packets for picture in self._decode(packet)])

    def _not_given(self, pictures: list[Any]) -> list[Any]:
        """Without those that the GPU has given: all of them come before the first one that it has not."""
        found = []
        for picture in pictures:
            if self._begin is not None and picture.pts is not None and picture.pts < self._begin:
                continue  # shown before the key frame, and decoded without all that it needs
            self._begin = None
            if self._left_out[picture.pts]:
                self._left_out[picture.pts] -= 1
                continue
            self._left_out.clear()
            found.append(picture)
        return found
