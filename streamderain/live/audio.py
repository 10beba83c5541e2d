"""Pieces of a camera's sound, with gaps, overlaps and other rates, as one continuous track. A door to PyAV."""
from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Any

import av
import numpy as np

from streamderain.carry import LAYOUTS
from streamderain.live.moments import Sound
from streamderain.live.timing import LIVE_UNIT

_RATES = (32_000, 44_100, 48_000)  # of others, some receivers know nothing
_USUAL_RATE = 48_000
_TOLERANCE_S = 0.06  # a camera's clock jitters so much; correcting it would click
_LAG_S = 0.5  # sound that is later than its picture by more is silent
HOLE_S = 5.0  # a longer gap stays one: nobody wants hours of silence encoded at once


class SoundTrack:
    """Samples at one rate and layout, without gaps.

    Args:
        rate: of the sound that comes first, samples per second.
        channels: of the sound that comes first.
        origin: where the track begins, in LIVE_UNIT.

    Attributes:
        rate: of the track, samples per second; 48000 where the first sound's is unusual.
        layout: FFmpeg's name of the channels.
    """

    def __init__(self, rate: int, channels: int, origin: int) -> None:
        self.rate = rate if rate in _RATES else _USUAL_RATE
        self.layout = LAYOUTS.get(channels, "stereo")
        self._channels = channels if channels in LAYOUTS else 2
        self._origin = origin
        self._ready: list[np.ndarray] = []  # (C, N) each
        self._begin = self._end = 0  # numbers of the first sample in _ready and of the one after the last
        self._kind: tuple[int, int] | None = None
        self._resampler: Any = None

    def again(self, origin: int) -> SoundTrack:
        """A track of the same kind that begins elsewhere."""
        return SoundTrack(self.rate, self._channels, origin)

    def take(self, sound: Sound) -> None:
        """Add a piece where its pts says: before it silence; what is over already is cut off, and nonsense left out."""
        samples = np.ascontiguousarray(sound.samples, np.float32)
        if (sound.rate, samples.shape[0]) != self._kind:
            self._drain()
            self._kind = sound.rate, samples.shape[0]
        gap = self._number(sound.pts) - self._end
        if gap > HOLE_S * self.rate:
            return
        if gap > _TOLERANCE_S * self.rate:
            self._silence(self._number(sound.pts))
        elif gap < -_TOLERANCE_S * self.rate or (gap < 0 and not self._end):
            samples = samples[:, max(0, ceil(-gap * sound.rate / self.rate)) :]
        if samples.shape[1]:
            self._add(self._resampled(samples, sound.rate))

    def fill(self, pts: int) -> None:
        """A picture of this pts is out: what has not come long before it is silence."""
        until = self._number(pts) - round(_LAG_S * self.rate)
        if until > self._end:
            self._silence(until)

    def blocks(self, size: int, *, last: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Whole blocks (C, size), each with the number of its first sample; with `last` the rest too, made whole."""
        if last:
            self._drain()
            self._add(np.zeros((self._channels, -(self._end - self._begin) % size), np.float32))
        while self._end - self._begin >= size:
            waiting = np.concatenate(self._ready, axis=1)
            self._ready = [waiting[:, size:]]
            self._begin += size
            yield self._begin - size, waiting[:, :size]

    def _number(self, pts: int) -> int:
        return round((pts - self._origin) * LIVE_UNIT * self.rate)

    def _add(self, samples: np.ndarray) -> None:
        if samples.shape[1]:
            self._ready.append(samples)
            self._end += samples.shape[1]

    def _silence(self, until: int) -> None:
        self._drain()
        self._add(np.zeros((self._channels, max(0, until - self._end)), np.float32))

    def _resampled(self, samples: np.ndarray, rate: int) -> np.ndarray:
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="fltp", layout=self.layout, rate=self.rate)
        channels = samples.shape[0]
        if channels not in LAYOUTS:
            samples, channels = samples[:2], 2
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=LAYOUTS[channels])
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        return self._joined(self._resampler.resample(frame))

    def _drain(self) -> None:
        """What the resampler holds back."""
        if self._resampler is not None:
            self._add(self._joined(self._resampler.resample(None)))
            self._resampler = None

    def _joined(self, frames: list[Any]) -> np.ndarray:
        found = [frame.to_ndarray() for frame in frames if frame is not None]
        return np.concatenate([np.zeros((self._channels, 0), np.float32), *found], axis=1)
