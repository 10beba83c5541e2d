"""Which network a live run can afford: measured, stepped down before more is dropped than shown, and said."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

WINDOW_SECONDS = 3.0
_LEAST_FRAMES = 8  # in a window, before it says anything
_LEAST_LATE = 3  # frames over the bound, before that says anything
_MOST_DROPPED = 0.4  # of a window's frames: the step down comes before half of them are lost
_SPARE = 0.5  # of the time may be busy after a step up, so that a frame never waits for the one before
_BARRED_SECONDS = 60.0  # after a step down, doubling each time
_MOST_BARRED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Rung:
    """A network, and how much smaller the picture is that it looks at.

    Attributes:
        profile: see Derainer; None lets frames pass as they are.
        scale: see Derainer.
        cost: milliseconds a frame in relation to the other rungs (two CPU cores, 640x480, search and all).
    """

    profile: str | None
    scale: int
    cost: float

    def __str__(self) -> str:
        if self.profile is None:
            return "no deraining"
        return self.profile if self.scale == 1 else f"{self.profile} at 1/{self.scale} size"


PASSING = Rung(None, 1, 0.0)
_COSTS = {"quality": 400.0, "realtime": 74.0, "tiny": 36.0}
_SMALLER = {2: 0.32, 4: 0.2}  # of the cost: the frame's own planes are handled in full (benchmarks/scale.py)
_OTHER = 3000.0  # a published network, from a model file and so alone: only what it costs smaller counts
_OTHER_SMALLER = {2: 1 / 4, 4: 1 / 16}  # next to such a network the planes are nothing


def rungs_of(profiles: Sequence[str]) -> tuple[Rung, ...]:
    """The rungs from dearest to cheapest; a smaller look is the last resort, of the cheapest network only.

    Args:
        profiles: those that have weights here, or the one of a model file.
    """
    full = sorted((Rung(profile, 1, _COSTS.get(profile, _OTHER)) for profile in profiles), key=lambda rung: -rung.cost)
    last = full[-1]
    shares = _SMALLER if last.profile in _COSTS else _OTHER_SMALLER
    return (*full, *(Rung(last.profile, scale, last.cost * share) for scale, share in shares.items()), PASSING)


@dataclass(slots=True)
class Tally:
    """Totals of a run, as they rise: seconds, frames shown, frames lost to slowness, seconds spent deraining."""

    at: float = 0.0
    shown: int = 0
    lost: int = 0
    busy: float = 0.0


@dataclass(slots=True)
class Ladder:
    """Chooses a rung by what the last seconds were like.

    A profile that was asked for by name is left only where a single frame takes longer than the latency bound, because
    then nothing at all could be shown; "auto" also steps down when it drops too much, and up where there is time.

    Args:
        rungs: from dearest to cheapest, see rungs_of.
        start: where "auto" begins.
        max_latency_s: the bound.

    Attributes:
        rung: the present one.
        reason: why it was last changed, for people.
    """

    rungs: tuple[Rung, ...]
    start: str
    max_latency_s: float
    rung: Rung = field(init=False)
    reason: str = field(default="", init=False)
    _wish: str = field(default="auto", init=False)
    _since: Tally = field(default_factory=Tally, init=False)
    _slow: int = field(default=0, init=False)
    _barred: dict[Rung, tuple[float, float]] = field(default_factory=dict, init=False)
    _refused: dict[str | None, float] = field(default_factory=dict, init=False)  # profiles, until when

    def __post_init__(self) -> None:
        self.rung = self._named(self.start)

    def follow(self, wish: str) -> bool:
        """Take a profile that was asked for; whether that changed the rung."""
        if wish == self._wish:
            return False
        self._wish, before = wish, self.rung
        self._barred.clear()
        self._refused.clear()
        self.rung = self._named(self.start if wish == "auto" else wish)
        self.reason = "as asked"
        return self.rung != before

    def begin(self, tally: Tally) -> None:
        """A new connection, network or camera size: what was measured before no longer counts."""
        self._since, self._slow = tally, 0

    def refuse(self, before: Rung, tally: Tally) -> None:
        """The present rung cannot be taken: stay on the one before, and try that one's network much later."""
        self._refused[self.rung.profile] = tally.at + _MOST_BARRED_SECONDS
        self.rung = before
        self.begin(tally)

    def judge(self, tally: Tally, frame_seconds: float) -> bool:
        """Look at the run after a frame; whether another rung is to be taken.

        Args:
            tally: the totals now.
            frame_seconds: what this frame took.
        """
        self._slow = self._slow + 1 if frame_seconds > self.max_latency_s else 0
        if self._slow >= _LEAST_LATE and self.rung is not PASSING:
            reason = f"a frame takes {1000 * frame_seconds:.0f} ms, more than the latency allowed"
            self._step(self._next(+1, tally), tally, reason)
            return True
        seconds, shown, lost = tally.at - self._since.at, tally.shown - self._since.shown, tally.lost - self._since.lost
        if seconds < WINDOW_SECONDS or shown + lost < _LEAST_FRAMES:
            return False
        busy = (tally.busy - self._since.busy) / seconds
        self._since = tally
        return self._step_down(tally, shown, lost) or (not lost and self._step_up(tally, busy))

    def _step_down(self, tally: Tally, shown: int, lost: int) -> bool:
        below = self._next(+1, tally)
        if self._wish != "auto" or below in (PASSING, self.rung) or lost <= _MOST_DROPPED * (shown + lost):
            return False
        self._step(below, tally, f"{lost} of {shown + lost} frames could not be shown")
        return True

    def _step_up(self, tally: Tally, busy: float) -> bool:
        above = self._next(-1, tally)
        free_at, _ = self._barred.get(above, (0.0, 0.0))
        expected = busy * above.cost / self.rung.cost if self.rung.cost else 0.0
        if above is self.rung or tally.at < free_at or expected > _SPARE:
            return False
        self._step(above, tally, f"the machine had {100 * (1 - busy):.0f} % of its time to spare")
        return True

    def _next(self, by: int, tally: Tally) -> Rung:
        """The next rung up (-1) or down (+1) whose network was not refused of late; the present one at the end."""
        place = self.rungs.index(self.rung)
        top = 0 if self._wish == "auto" else self.rungs.index(self._named(self._wish))
        way = self.rungs[place + 1 :] if by > 0 else self.rungs[top:place][::-1]
        return next((rung for rung in way if tally.at >= self._refused.get(rung.profile, 0.0)), self.rung)

    def _step(self, rung: Rung, tally: Tally, reason: str) -> None:
        if rung.cost < self.rung.cost:
            _, wait = self._barred.get(self.rung, (0.0, _BARRED_SECONDS / 2))
            wait = min(2 * wait, _MOST_BARRED_SECONDS)
            self._barred[self.rung] = tally.at + wait, wait
        self.rung, self.reason = rung, reason
        self.begin(tally)

    def _named(self, profile: str) -> Rung:
        return next((rung for rung in self.rungs if rung.profile == profile), self.rungs[0])
