"""Run frames from a source through a derainer into a sink: decode, derain and encode at the same time."""
from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, Full, Queue

from streamderain.frame import Frame, Sink, Source

Derain = Callable[[Frame, Frame | None], Frame | Future[Frame]]
OnFrame = Callable[[Frame, Frame], None]

QUEUE_FRAMES = 4  # enough that no stage waits for a jitter of the next, little enough for 4K
_POLL_SECONDS = 0.1
_JOIN_SECONDS = 30.0
_END = object()


@dataclass(slots=True)
class Counts:
    """What a run did.

    Attributes:
        frames_in: frames that came from the source.
        frames_out: frames that the sink took.
        corrupt: frames among them that the decoder had to conceal.
        ms: busy time of "decode", "derain" and "encode" in milliseconds over the whole run, waiting left out.
        stopped: the run was ended by `stop` before the source was.
    """

    frames_in: int = 0
    frames_out: int = 0
    corrupt: int = 0
    ms: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "derain": 0.0, "encode": 0.0})
    stopped: bool = False


def run(
    source: Source,
    derain: Derain,
    sink: Sink,
    *,
    look_ahead: bool = True,
    at_once: int = 1,
    on_frame: OnFrame | None = None,
    stop: threading.Event | None = None,
    counts: Counts | None = None,
) -> Counts:
    """Take every frame of the source through `derain` into the sink, in order, and finish the sink.

    Decoding and encoding have a thread each; `derain` and `on_frame` run in the calling thread. Between two stages
    wait at most QUEUE_FRAMES frames. Source and sink are closed in every case: the sink by finish() when all went
    well, else by abort().

    Args:
        source: closed at the end.
        derain: takes a frame and the one that follows (None for the last, and without `look_ahead`).
        sink: written to by one thread only.
        look_ahead: give `derain` the following frame.
        at_once: how many frames `derain` may have under way, if it answers with futures: of so many the first is waited
            for before the next but one is taken.
        on_frame: called with every frame as it came and as it leaves.
        stop: ends the run early, in order, when set.
        counts: filled while running, so that a caller has them when the run fails; a new one by default.

    Returns:
        The counts; `stopped` says whether the end was early, in which case the sink was aborted.

    Raises:
        Whatever a stage raised, once; a KeyboardInterrupt too.
    """
    counts = Counts() if counts is None else counts
    _Run(source, sink, stop or threading.Event(), counts).go(derain, on_frame, look_ahead, at_once)
    return counts


class _Run:
    """The queues and threads of one run; `over` ends every stage, whoever sets it."""

    def __init__(self, source: Source, sink: Sink, stop: threading.Event, counts: Counts) -> None:
        self.source, self.sink, self.stop, self.counts = source, sink, stop, counts
        self.error: BaseException | None = None
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._wrote_all = False
        self._decoded: Queue[object] = Queue(QUEUE_FRAMES)
        self._derained: Queue[object] = Queue(QUEUE_FRAMES)
        self._decoder = threading.Thread(target=self._guard, args=(self._decode,), name="decode", daemon=True)
        self._encoder = threading.Thread(target=self._guard, args=(self._encode,), name="encode", daemon=True)

    def go(self, derain: Derain, on_frame: OnFrame | None, look_ahead: bool, at_once: int) -> None:
        """Run to the end, whichever end it is; raises the first error of any stage."""
        try:
            self._decoder.start()
            self._encoder.start()
            for frame, result in self._derain(derain, _with_next(self._taken(self._decoded), look_ahead), at_once):
                self._put(self._derained, result)
                if on_frame is not None:
                    on_frame(frame, result)
            self._put(self._derained, _END)
            while self._encoder.is_alive() and not self._ending():
                self._encoder.join(_POLL_SECONDS)
        except BaseException as error:  # an interruption too must end the threads; raised again below
            self._fail(error)
        self.counts.stopped = self.stop.is_set() and self.error is None and not self._complete()
        self._close()
        if self.error is not None:
            raise self.error

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # a thread has no caller; go() raises it
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error
        self.over.set()

    def _ending(self) -> bool:
        return self.over.is_set() or self.stop.is_set()

    def _complete(self) -> bool:
        return self._wrote_all and self.error is None

    def _decode(self) -> None:
        frames = iter(self.source)
        while not self._ending():
            begun = time.perf_counter()
            frame = next(frames, None)
            self.counts.ms["decode"] += _ms_since(begun)
            if frame is None:
                break
            self.counts.frames_in += 1
            self.counts.corrupt += frame.corrupt
            self._put(self._decoded, frame)
        self._put(self._decoded, _END)

    def _derain(
        self, derain: Derain, frames: Iterator[tuple[Frame, Frame | None]], at_once: int
    ) -> Iterator[tuple[Frame, Frame]]:
        """Each frame with what became of it, in order."""
        under_way: deque[tuple[Frame, Frame | Future[Frame]]] = deque()
        for frame, following in frames:
            begun = time.perf_counter()
            under_way.append((frame, derain(frame, following)))
            self.counts.ms["derain"] += _ms_since(begun)
            # a frame that is done goes on at once; for one that is not, only where there are more than can be worked on
            while under_way and (len(under_way) > at_once or _is_done(under_way[0][1])):
                yield self._done(*under_way.popleft())
        while under_way:
            yield self._done(*under_way.popleft())

    def _done(self, frame: Frame, result: Frame | Future[Frame]) -> tuple[Frame, Frame]:
        begun = time.perf_counter()
        after = result.result() if isinstance(result, Future) else result
        self.counts.ms["derain"] += _ms_since(begun)
        return frame, after

    def _encode(self) -> None:
        for frame in self._taken(self._derained):
            begun = time.perf_counter()
            self.sink.write(frame)
            self.counts.ms["encode"] += _ms_since(begun)
            self.counts.frames_out += 1
        self._wrote_all = not self._ending()

    def _put(self, queue: Queue[object], item: object) -> None:
        """Wait for room, unless the run ends: then nobody takes from the queue any more."""
        while not self._ending():
            with suppress(Full):
                return queue.put(item, timeout=_POLL_SECONDS)

    def _taken(self, queue: Queue[object]) -> Iterator[Frame]:
        while not self._ending():
            try:
                item = queue.get(timeout=_POLL_SECONDS)
            except Empty:
                continue
            if item is _END:
                return
            assert isinstance(item, Frame)
            yield item

    def _close(self) -> None:
        """End the threads, then both ends; an end whose thread hangs in a system call is left to it."""
        complete = self._complete()
        if not complete:
            self.over.set()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in (self._decoder, self._encoder):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        if not self._encoder.is_alive():
            self._attempt(self._finish if complete else self.sink.abort)
        if not self._decoder.is_alive():
            self._attempt(self.source.close)

    def _finish(self) -> None:
        begun = time.perf_counter()
        self.sink.finish()
        self.counts.ms["encode"] += _ms_since(begun)

    def _attempt(self, close: Callable[[], None]) -> None:
        try:
            close()
        except BaseException as error:  # the other end must be closed too; go() raises it
            self._fail(error)


def _is_done(result: Frame | Future[Frame]) -> bool:
    return not isinstance(result, Future) or result.done()


def _ms_since(begun: float) -> float:
    return 1000 * (time.perf_counter() - begun)


def _with_next(frames: Iterator[Frame], look_ahead: bool) -> Iterator[tuple[Frame, Frame | None]]:
    """Each frame with the one after it."""
    if not look_ahead:
        yield from ((frame, None) for frame in frames)
        return
    frame = next(frames, None)
    while frame is not None:
        following = next(frames, None)
        yield frame, following
        frame = following
