"""A lane: the thread and the short queue between the run and one output that may be slow."""
from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from streamderain.live.moments import Shown, Sound

Item = Shown | Sound


class Lane:
    """Hands items to a worker's `take`, in order, in a thread of its own; what does not fit is dropped, oldest first.

    Args:
        take: called with one item at a time; an exception it raises ends the lane and goes to `failed`.
        name: of the thread.
        pictures: how many pictures may wait; at 1 the newest wins.
        sounds: how many pieces of sound may wait.
        dropped: called with the number of pictures that were dropped.
        failed: called in the lane's thread with what `take` raised.
    """

    def __init__(
        self,
        take: Callable[[Item], None],
        *,
        name: str,
        pictures: int = 1,
        sounds: int = 64,
        dropped: Callable[[int], None] = lambda count: None,
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._take, self._dropped, self._failed = take, dropped, failed
        self._limits = {Shown: pictures, Sound: sounds}
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Queue an item; never waits."""
        with self._changed:
            if self._closing:
                return
            self._waiting.append(item)
            lost = self._trim(type(item))
            self._changed.notify()
        if lost and isinstance(item, Shown):
            self._dropped(lost)

    def close(self, seconds: float) -> bool:
        """Let the worker finish what waits; False where it did not within the seconds and was left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _trim(self, kind: type) -> int:
        same = [item for item in self._waiting if type(item) is kind]
        surplus = len(same) - self._limits[kind]
        for item in same[: max(0, surplus)]:
            self._waiting.remove(item)
        return max(0, surplus)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                item = self._waiting.popleft()
            try:
                self._take(item)
            except Exception as error:  # a lane has no caller: its owner decides what a failure means
                self._failed(error)
                with self._changed:
                    self._closing = True
                    self._waiting.clear()
                return
