"""Several frames of a file under way: side by side, each network in one thread, or a recurrent network's in a row.

A network of small layers that is spread over all cores meets at the end of every layer, and there the fastest thread
waits for the slowest, which the encoder may have put aside, or for one to be woken. Frames need no such meetings: what
follows the search depends on one frame alone, or, where the network is recurrent, on what it made of the one before.
Then one frame is in the network, with all threads, while the next is looked at and the one before is finished.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import torch

from streamderain.core import threads
from streamderain.frame import Frame, on_host

if TYPE_CHECKING:
    from streamderain.derainer import Derainer

IN_A_ROW = 2  # frames of a recurrent network: more would only wait
MOST_FRAMES = 4  # side by side: each holds its layers in memory; more cores than that are spread over a frame

T = TypeVar("T")
Shown = Callable[[Frame, Frame], T]  # from a frame and the derained one to what is wanted of them


class Overlap(Generic[T]):
    """In a Derainer's place in a pipeline: looks at frames in order, and finishes several at once.

    Args:
        derainer: on the CPU.
        shown: what becomes of each frame, called in any thread.
        executor: see workers.

    Attributes:
        frames: how many to have under way.
    """

    def __init__(self, derainer: Derainer, shown: Shown[T], executor: ThreadPoolExecutor, frames: int) -> None:
        self._derainer, self._shown, self._executor, self.frames = derainer, shown, executor, frames

    def __call__(self, frame: Frame, following: Frame | None) -> Future[T]:
        """The next frame of the stream, when it is done."""
        frame, following = on_host(frame), following and on_host(following)
        seen = self._derainer.look(frame, following)
        return self._executor.submit(lambda: self._shown(frame, self._derainer.finish(seen)))


class Running(Protocol):
    """What a Derainer and its engine say alike."""

    @property
    def device(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def companions(self) -> bool: ...
    @property
    def recurrent(self) -> bool: ...


def frames_at_once(derainer: Running) -> int:
    """How many frames are worth having under way: two of a recurrent network, of others as many as there are cores.

    One where a GPU or a single core does the work; where the network was compiled, for as many threads as there were
    then; and for a published network, whose layers are large enough to share and too large to have several times.
    """
    small = derainer.backend == "eager" and derainer.companions
    if derainer.device != "cpu" or not small:
        return 1
    return min(torch.get_num_threads(), IN_A_ROW if derainer.recurrent else MOST_FRAMES)


def share_of(derainer: Running, frames: int) -> int:
    """The threads of each of so many frames: all where they are in a recurrent network one after the other."""
    return torch.get_num_threads() if derainer.recurrent else max(1, torch.get_num_threads() // frames)


@contextmanager
def workers(frames: int, share: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for so many frames, with so many of torch's each; they end with it, and what has not begun is dropped."""
    cores = torch.get_num_threads()
    executor = ThreadPoolExecutor(
        frames, thread_name_prefix="derain", initializer=torch.set_num_threads, initargs=(share,)
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


@contextmanager
def overlapped(derainer: Derainer, shown: Shown[T]) -> Iterator[Overlap[T]]:
    """An Overlap whose threads share the cores; it ends with them."""
    frames = frames_at_once(derainer)
    share = share_of(derainer, frames)
    with workers(frames, share) as executor, threads.at_most(share):  # the search of the next frame beside them
        yield Overlap(derainer, shown, executor, frames)
