"""Recordings: Matroska segments that survive a kill at any moment, one after the other, for ever."""
from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from streamderain.errors import DerainError
from streamderain.live.coded import Coded
from streamderain.live.encoder import TROUBLE
from streamderain.live.feed import Feed, InOrder
from streamderain.live.segment import Segment
from streamderain.live.status import Status
from streamderain.live.timing import Clock
from streamderain.outputs import Unfinished, full

SUFFIX = ".mkv"
_QUEUE_SECONDS = 20.0  # a disk may be slow for a while
_SYNC_SECONDS = 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Keep:
    """Which of its own segments a recording keeps, the newest first; what is None bounds nothing.

    Attributes:
        count: so many.
        size: bytes of all together.
        seconds: not finished longer ago.
    """

    count: int | None = None
    size: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """What shall be recorded, and where: garden.mkv becomes garden_2026-11-21T10-53-25Z.mkv and so on.

    Attributes:
        path: folder and stem of the segments' names; ends in .mkv or nothing.
        seconds: of a segment.
        size: bytes of a segment, None without this bound; a segment may exceed it where one group of pictures does.
        keep: which older segments stay.

    Raises:
        DerainError: nothing can be written there.
    """

    path: Path
    seconds: float = 600.0
    size: int | None = None
    keep: Keep = field(default_factory=Keep)

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in (SUFFIX, ""):
            raise DerainError(f"{self.path} is no name for a recording, which is Matroska; end it in .mkv")
        if self.path.is_dir():
            raise DerainError(f"{self.path} is a folder; give the name of a file in it")
        Unfinished(self.path.with_name(f"{self.path.stem}{SUFFIX}"))

    def new_path(self, now: datetime) -> Path:
        """A name for a segment that begins now, which nobody has."""
        stem = f"{self.path.stem}_{now:%Y-%m-%dT%H-%M-%SZ}"
        names = (f"{stem}{'' if number == 1 else f'_{number}'}{SUFFIX}" for number in range(1, 10_000))
        return next(path for name in names if not (path := self.path.with_name(name)).exists())

    def segments(self) -> list[Path]:
        """Those that stand there, oldest first."""
        time = r"\d{4}(-\d\d){2}T(\d\d-){2}\d\dZ"
        own = re.compile(rf"{re.escape(self.path.stem)}_{time}(_\d+)?{re.escape(SUFFIX)}")
        found = [path for path in self.path.parent.iterdir() if own.fullmatch(path.name) and path.is_file()]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


class Recorder:
    """Writes one recording, in a thread of its own; a disk that refuses is tried again for ever.

    Args:
        recording: what.
        status: told what a person wants to know.
        clock: for waiting.
        ask_key: makes the encoder give a key frame.
        wall: UTC, for names.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        status: Status,
        clock: Clock,
        ask_key: Callable[[], None],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = f"record {recording.path}"
        self._recording, self._status, self._clock, self._wall = recording, status, clock, wall
        self.account = status.add_output(self.name)
        self.feed = Feed(self.account, seconds=_QUEUE_SECONDS, ask_key=ask_key)
        self._order = InOrder()
        self._segment: Segment | None = None
        self._wait = _FIRST_WAIT_S
        self._again_at: float | None = None
        self._dropped_before: int | None = None  # while it cannot write: the count when that began
        self._told_prune = False
        self._own: dict[str, float] = {}  # names of this run's segments in their order, and when each was finished
        self._synced = clock.now()
        self._thread = threading.Thread(target=self._work, name="record", daemon=True)
        self._thread.start()

    def put(self, coded: Coded) -> None:
        """Take a packet; never waits."""
        self.feed.put(coded)

    def end(self) -> None:
        """Complete the recording with what waits; see join."""
        self.feed.end()

    def join(self, seconds: float) -> bool:
        """Whether it is complete after so many seconds at most."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._record()
        except Exception as error:  # a bug; a thread has no caller, and the camera and its other outputs go on
            self.account.state, self.account.detail = "failed", f"{type(error).__name__}: {error}"
            self._status.tell("error", f"{self.name} has ended: {self.account.detail}")
            self.feed.end()

    def _record(self) -> None:
        while not self.feed.over:
            coded = self.feed.get(_LOOK_SECONDS)
            if coded is not None:
                for each in self._in_order(coded):
                    self._safely(self._write, each)
            elif self._again_at is not None and self._clock.now() >= self._again_at:
                self._again_at = None
                self.feed.resume()
        for each in self._order.rest():
            self._safely(self._write, each)
        self._safely(self._complete)
        if self._dropped_before is not None:
            self.account.state = "failed"  # the exit code says that the end is missing
        elif self.account.state == "working":
            self.account.state = "waiting"

    def _in_order(self, coded: Coded) -> list[Coded]:
        if self._segment is not None and coded.tracks is not self._segment.tracks:
            return [*self._order.rest(), *self._order.put(coded)]
        return self._order.put(coded)

    def _safely(self, step: Callable[..., None], *coded: Coded) -> None:
        """Do a step; where the disk refuses, tell and come back later."""
        try:
            step(*coded)
        except TROUBLE as error:
            self._fail(error)
            self.feed.missed(sum(each.is_video for each in coded))

    def _write(self, coded: Coded) -> None:
        segment = self._segment
        changed = segment is None or coded.tracks is not segment.tracks
        if changed and not coded.begins:
            return self.feed.missed(coded.is_video)
        if changed or (coded.begins and segment is not None and self._is_full(segment, coded)):
            self._complete()
            segment = self._segment = self._begin(coded)
        assert segment is not None
        segment.write(coded)
        self.feed.wrote(coded.is_video)
        if self._clock.now() - self._synced >= _SYNC_SECONDS:
            segment.sync()
            self._synced = self._clock.now()
        return None

    def _is_full(self, segment: Segment, coded: Coded) -> bool:
        limit = self._recording.size
        too_large = limit is not None and segment.size + segment.largest_group > limit
        return too_large or coded.seconds - segment.begins >= self._recording.seconds

    def _begin(self, coded: Coded) -> Segment:
        now = self._wall()
        segment = Segment(self._recording.new_path(now), coded, now)
        self.account.state, self.account.detail = "working", str(segment.path)
        if self._dropped_before is not None:
            lost = self.account.dropped - self._dropped_before
            self._status.tell("record", f"{self.name}: writing again; {lost} pictures are missing")
            self.account.restarts += 1
            self._dropped_before = None
        self._wait = _FIRST_WAIT_S
        return segment

    def _complete(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            self._own[segment.path.name] = self._clock.now()
            segment.complete()
            self._prune()

    def _prune(self) -> None:
        try:
            self._delete_old()
        except FileNotFoundError:  # somebody else deletes, too
            return
        except OSError as error:  # the recording itself goes on
            if not self._told_prune:
                self._status.tell("record", f"{self.name}: old segments cannot be deleted: {full(error)}")
            self._told_prune = True

    def _delete_old(self) -> None:
        """Delete the oldest of our own segments beyond what shall be kept.

        This run knows the order and age of its own without the time of day, which may be set back.
        """
        keep, total = self._recording.keep, 0
        there = {path.name: path for path in self._recording.segments()}
        self._own = {name: at for name, at in self._own.items() if name in there}
        order = [*(there[name] for name in there if name not in self._own), *(there[name] for name in self._own)]
        for number, path in enumerate(reversed(order), start=1):
            facts = path.stat()
            total += facts.st_size
            too_many = keep.count is not None and number > keep.count
            too_large = keep.size is not None and total > keep.size and number > 1
            at = self._own.get(path.name)
            age = self._wall().timestamp() - facts.st_mtime if at is None else self._clock.now() - at
            too_old = keep.seconds is not None and age > keep.seconds
            if too_many or too_large or too_old:
                path.unlink(missing_ok=True)

    def _fail(self, error: Exception) -> None:
        if self._segment is not None:
            self._own[self._segment.path.name] = self._clock.now()
            self._segment.abandon()
            self._segment = None
        self._prune()  # what need not be kept any longer may be what fills the disk
        reason = full(error) if isinstance(error, OSError) else str(getattr(error, "strerror", None) or error)
        if self._dropped_before is None:
            line = f"{self.name} cannot be written: {reason}; what is finished is kept, and it goes on when it can"
            self._status.tell("record", line)
            self._dropped_before = self.account.dropped
        self.account.state, self.account.detail = "waiting", reason
        self.feed.pause()
        self.feed.missed(sum(each.is_video for each in self._order.rest()))
        self._again_at = self._clock.now() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)
