"""How long to wait before a camera is tried again."""
from __future__ import annotations

import random

_FIRST_SECONDS, _GROWTH = 0.1, 1.6
_CAP_SECONDS, _PATIENT_AFTER, _PATIENT_CAP_SECONDS = 1.0, 60.0, 10.0
_REFUSED_SECONDS, _REFUSED_CAP_SECONDS = 5.0, 60.0  # a camera may lock out who hammers it with a wrong password


class Backoff:
    """Waits that grow, with jitter so that many cameras do not come back in one moment.

    Args:
        seed: of the jitter.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._chance = random.Random(seed)
        self._wait = self._refused = 0.0

    def reset(self) -> None:
        """A frame came: the next wait is a short one."""
        self._wait = self._refused = 0.0

    def seconds(self, lost_for: float, *, refused: bool = False) -> float:
        """The next wait.

        Args:
            lost_for: how long there has been no frame; for a minute the wait stays under a second.
            refused: the camera said no; then the wait is long from the beginning.
        """
        if refused:
            self._refused = min(max(_REFUSED_SECONDS, 2 * self._refused), _REFUSED_CAP_SECONDS)
            return self._refused * self._chance.uniform(1.0, 1.1)
        cap = _CAP_SECONDS if lost_for < _PATIENT_AFTER else _PATIENT_CAP_SECONDS
        self._wait = min(max(_FIRST_SECONDS, _GROWTH * self._wait), cap)
        return self._wait * self._chance.uniform(0.7, 1.0)
