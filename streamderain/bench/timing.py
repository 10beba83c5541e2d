"""How long calls take: one call, several contenders in turns, and what is said of many times."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)

TURN_SECONDS = 0.3  # a fast contender is called again until its turn has lasted this long
TURN_CALLS = 5


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of calls of one kind, in the order they were made; at least one."""

    ms: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.ms)

    @property
    def best(self) -> float:
        """The shortest: what is left when nothing else disturbs the machine."""
        return min(self.ms)

    def percentile(self, percent: float) -> float:
        """The time that this share of the calls, 0 < percent <= 100, did not exceed (nearest rank)."""
        return sorted(self.ms)[max(1, math.ceil(len(self.ms) * percent / 100)) - 1]

    def as_dict(self) -> dict[str, float]:
        """Plain values: ms (the median), best_ms and how many calls they are of."""
        return {"ms": self.median, "best_ms": self.best, "calls": len(self.ms)}


def wait_for(device: str) -> None:
    """Return when all that was given to a device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def timed(work: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float]:
    """The result of one call and its milliseconds."""
    begun = time.perf_counter()
    result = work(*args, **kwargs)
    return result, 1000 * (time.perf_counter() - begun)


def in_turns(
    contenders: Mapping[Name, Callable[[], object]], *, device: str, rounds: int, seconds: float
) -> dict[Name, Times]:
    """Time calls that are to be compared, A B A B, so that a machine that is busy for a while favours none of them.

    Each is called once before, uncounted. Then the rounds go on until there are enough or the time is up; the first
    is always complete. In a round every contender has one turn, in which a fast one is called several times.

    Args:
        contenders: what is called, by name.
        device: waited for before and after each call.
        rounds: at most, at least 1.
        seconds: after this long no further round begins.

    Returns:
        The times of each contender's calls.
    """

    def call(work: Callable[[], object]) -> None:
        work()
        wait_for(device)

    wait_for(device)
    for work in contenders.values():
        call(work)
    found: dict[Name, list[float]] = {name: [] for name in contenders}
    begun = time.perf_counter()
    for number in range(rounds):
        if number and time.perf_counter() - begun > seconds:
            break
        for name, work in contenders.items():
            turn: list[float] = []
            while not turn or (len(turn) < TURN_CALLS and sum(turn) < TURN_SECONDS * 1000):
                turn.append(timed(call, work)[1])
            found[name] += turn
    return {name: Times(tuple(ms)) for name, ms in found.items()}
