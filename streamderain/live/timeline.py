"""A connection's timestamps on the run's own line of time, and when each frame was captured."""
from __future__ import annotations

from collections import deque
from fractions import Fraction

from streamderain.live.timing import LIVE_UNIT

_JUMP_SECONDS = 1.0  # a step against the arrivals by more is a new clock
_LAG_SECONDS = 5.0
_SLACK_SECONDS = 0.02  # between the line of time and the clock, before it is led back
_LEAD = 0.002  # of the time that passes; nobody hears or sees it
_WINDOW_SECONDS = 60.0  # how long the fastest arrival is remembered: the clocks of two machines drift apart


class Timeline:
    """Gives frames times that only rise, from one connection to the next; a frame's own time decides how far apart.

    Args:
        began: the run's beginning, seconds on its clock; time is counted from there.

    Attributes:
        discontinuities: how often a connection's clock jumped.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self.discontinuities = 0
        self._last = -1
        self._last_own: Fraction | None = None
        self._guessed = False  # no frame of this connection had a time of its own yet
        self._last_arrival = began
        self._shift = Fraction(0)  # live seconds = own seconds + shift
        self._fastest: deque[tuple[float, float]] = deque()  # (arrival, arrival - own), rising in the second

    def begin(self) -> None:
        """A new connection: its timestamps have nothing to do with those before."""
        self._last_own, self._guessed = None, True
        self._fastest.clear()

    def stamp(self, own: Fraction | None, arrival: float) -> tuple[int, float]:
        """The next frame's time.

        Args:
            own: its timestamp in seconds, None where it has none.
            arrival: when it was decoded, seconds on the run's clock.

        Returns:
            Its pts in LIVE_UNIT, and when it was captured: seconds on the run's clock, never after its arrival. The
            frame that travelled fastest within a minute counts as captured when it arrived.
        """
        given, passed = own is not None, arrival - self._last_arrival
        if own is None:
            own = self._guess(arrival)
        if self._last_own is None or (given and self._guessed) or self._jumped(own, arrival):
            self._rebase(own, arrival)
        self._last_own, self._last_arrival = own, arrival
        self._guessed = self._guessed and not given
        at = min(arrival, float(own) + self._least_travel(float(own), arrival))
        self._lead_back(own, at, passed)
        self._last = max(round((own + self._shift) / LIVE_UNIT), self._last + 1)
        return self._last, at

    def place(self, own: Fraction) -> int:
        """Where a piece of sound of the same connection belongs, LIVE_UNIT."""
        return round((own + self._shift) / LIVE_UNIT)

    def _guess(self, arrival: float) -> Fraction:
        since = Fraction(max(0.0, arrival - self._last_arrival)).limit_denominator(1_000_000)
        return since if self._last_own is None else self._last_own + since

    def _jumped(self, own: Fraction, arrival: float) -> bool:
        assert self._last_own is not None
        # arrivals come in bursts, so a step is a jump only where it is one against both the frame before and the clock
        step, passed = float(own - self._last_own), arrival - self._last_arrival
        travel = arrival - float(own)
        usual = self._fastest[0][1] if self._fastest else travel
        jumped = (step < -_JUMP_SECONDS or step > passed + _JUMP_SECONDS) and abs(travel - usual) > _JUMP_SECONDS
        lagging = travel - usual > _LAG_SECONDS  # no decoder is so late: the camera's clock is slow
        self.discontinuities += jumped or lagging
        return jumped or lagging or step < 0  # RTSP sets its clock right by a fraction when the first report comes

    def _rebase(self, own: Fraction, arrival: float) -> None:
        now = Fraction(arrival - self._began).limit_denominator(1_000_000)
        self._shift = max(now, (self._last + 1) * LIVE_UNIT) - own
        self._fastest.clear()

    def _lead_back(self, own: Fraction, at: float, passed: float) -> None:
        """Keep the line of time at the clock: a camera's own is 17 seconds off after a day."""
        off = at - self._began - float(own + self._shift)
        if abs(off) > _SLACK_SECONDS:
            step = min(abs(off), _LEAD * max(0.0, passed))
            self._shift += Fraction(step if off > 0 else -step).limit_denominator(1_000_000)

    def _least_travel(self, own: float, arrival: float) -> float:
        """The smallest arrival - own of the window, this one included, in constant time on average."""
        travel = arrival - own
        while self._fastest and self._fastest[-1][1] >= travel:
            self._fastest.pop()
        self._fastest.append((arrival, travel))
        while self._fastest[0][0] < arrival - _WINDOW_SECONDS:
            self._fastest.popleft()
        return self._fastest[0][1]
