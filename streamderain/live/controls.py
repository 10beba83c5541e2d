"""What the page and the window may change while a camera runs."""
from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

_HUGE = 1e9
LIVE_PROFILES = ("auto", "tiny", "realtime", "quality")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is wished for.

    Attributes:
        profile: see Derainer, or that of a model file; "auto" measures and follows the machine.
        strength: 0 (nothing) to 2.
    """

    profile: str = "auto"
    strength: float = 1.0

    def __post_init__(self) -> None:
        number = isinstance(self.strength, (int, float)) and not isinstance(self.strength, bool)
        if not number or not abs(self.strength) < _HUGE:  # nan, infinities, and integers beyond any float
            raise ValueError(f"strength {self.strength!r} is no number; give one from 0 to 2")
        if not 0 <= self.strength <= 2:
            raise ValueError(f"strength is {self.strength:g}; give a number from 0 to 2")


class Controls:
    """The newest settings and wishes; the derain thread looks before every frame, anybody may ask.

    Args:
        settings: to begin with.
        profiles: those that have weights here.
    """

    def __init__(self, settings: Settings | None = None, profiles: tuple[str, ...] = LIVE_PROFILES) -> None:
        self._lock = threading.Lock()
        self._settings = settings or Settings()
        self.profiles = profiles
        self._snapshots = 0

    @property
    def settings(self) -> Settings:
        """The newest."""
        with self._lock:
            return self._settings

    def ask(self, /, **changes: Any) -> Settings:
        """Change some settings.

        Raises:
            ValueError: unknown name or value, in one line.
        """
        unknown = set(changes) - {"profile", "strength"}
        if unknown:
            raise ValueError(f"there is no setting {sorted(unknown)[0]!r}; there are profile and strength")
        if "profile" in changes and changes["profile"] not in self.profiles:
            raise ValueError(f"profile {changes['profile']!r} is not here; give one of {', '.join(self.profiles)}")
        with self._lock:
            self._settings = replace(self._settings, **changes)
            return self._settings

    def ask_snapshot(self) -> None:
        """Wish that the newest picture is kept as a file."""
        with self._lock:
            self._snapshots += 1

    def take_snapshots(self) -> int:
        """How many snapshots were wished for since the last call."""
        with self._lock:
            wished, self._snapshots = self._snapshots, 0
            return wished
