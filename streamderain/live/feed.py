"""The queue between the encoder and one writer: bounded, and after a loss it goes on where decoding can begin."""
from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from streamderain.live.coded import Coded
from streamderain.live.status import OutputStatus


class Feed:
    """Packets for one writer. Every picture that does not reach it is counted as dropped.

    Args:
        account: of the output; its `dropped` and `taken` are kept here.
        seconds: how much may wait; more is thrown away up to the next key frame.
        ask_key: called when the encoder shall make a key frame soon.
    """

    def __init__(self, account: OutputStatus, *, seconds: float, ask_key: Callable[[], None]) -> None:
        self._account, self._seconds, self._ask_key = account, seconds, ask_key
        self._waiting: deque[Coded] = deque()
        self._changed = threading.Condition()
        self._needs_key, self._paused, self._ended = True, False, False

    @property
    def over(self) -> bool:
        """Whether nothing waits and nothing will come."""
        with self._changed:
            return self._ended and not self._waiting

    @property
    def ended(self) -> bool:
        """Whether nothing will come; some may wait."""
        return self._ended

    def put(self, coded: Coded) -> None:
        """Queue a packet; never waits."""
        with self._changed:
            useless = self._paused or self._ended or (self._needs_key and not coded.begins)
            if useless:
                self._account.dropped += coded.is_video
                return
            self._needs_key = False
            self._waiting.append(coded)
            behind = coded.seconds - self._waiting[0].seconds > self._seconds
            if behind:
                self._clear()
            self._changed.notify()
        if behind:
            self._ask_key()

    def get(self, seconds: float) -> Coded | None:
        """The next packet; None where none came within the seconds or at the end."""
        with self._changed:
            if not self._waiting and not self._ended:
                self._changed.wait(seconds)
            return self._waiting.popleft() if self._waiting else None

    def missed(self, pictures: int) -> None:
        """Pictures were lost before or after the feed."""
        with self._changed:
            self._account.dropped += pictures

    def wrote(self, pictures: int) -> None:
        """Pictures were written."""
        with self._changed:
            self._account.taken += pictures

    def pause(self) -> None:
        """The writer cannot write now: drop what waits and what comes."""
        with self._changed:
            self._paused = True
            self._clear()

    def resume(self) -> None:
        """Go on with the next key frame, which is asked for."""
        with self._changed:
            self._paused, self._needs_key = False, True
        self._ask_key()

    def end(self) -> None:
        """Nothing will come any more; what waits is still given."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _clear(self) -> None:
        self._account.dropped += sum(coded.is_video for coded in self._waiting)
        self._waiting.clear()
        self._needs_key = True


class InOrder:
    """Pictures and sound, which are encoded one ahead of the other, in the order of their time."""

    def __init__(self) -> None:
        self._pictures: deque[Coded] = deque()
        self._sound: deque[Coded] = deque()

    def put(self, coded: Coded) -> list[Coded]:
        """Packets that nothing earlier can follow."""
        if coded.tracks.sound is None:
            return [coded]
        (self._pictures if coded.is_video else self._sound).append(coded)
        found = []
        while self._pictures and self._sound:
            found.append(self._earlier())
        return found

    def rest(self) -> list[Coded]:
        """All that is left, in order."""
        found = []
        while self._pictures or self._sound:
            found.append(self._earlier())
        return found

    def _earlier(self) -> Coded:
        sound_first = self._sound and (not self._pictures or self._sound[0].seconds < self._pictures[0].seconds)
        return (self._sound if sound_first else self._pictures).popleft()
