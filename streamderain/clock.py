"""Timestamps that only rise, whatever the input's do."""
from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

_JUMP_SECONDS = 1  # a step back by more is a new clock, by less a glitch


class Clock:
    """Gives every frame its time: its own wherever that is later than the one before.

    Args:
        unit: seconds per tick.
        warn: called with one line at every kind of repair.
    """

    def __init__(self, unit: Fraction, warn: Callable[[str], None]) -> None:
        self.unit, self._warn = unit, warn
        self._last: int | None = None
        self._jump = 0

    def stamp(self, pts: int | None, step: int) -> int:
        """The time of the next frame.

        Args:
            pts: its own time in ticks, None where it has none.
            step: ticks that a frame lasts on average.
        """
        if pts is None:
            self._warn("some frames carry no timestamp: they follow the frame before at the average rate")
            pts = 0 if self._last is None else self._last + step - self._jump
        pts += self._jump
        if self._last is not None and pts <= self._last:
            pts = self._after_step_back(pts, self._last, step)
        self._last = pts
        return pts

    def _after_step_back(self, pts: int, last: int, step: int) -> int:
        if (last - pts) * self.unit <= _JUMP_SECONDS:
            self._warn("some timestamps repeat or step back: those frames come one tick after the frame before")
            return last + 1
        self._warn("the clock of the video jumps back: frames after the jump follow without a gap")
        self._jump += last + step - pts
        return last + step
