"""Samples become batches, in the loop or in processes of their own that only the loop may end."""
from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .config import TrainConfig
from .distributed import World

Batch = dict[str, Tensor]
# A Ctrl-C, a kill of the group or a closed terminal reaches the workers too, but the loop needs them to end in order.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def batches(samples: Dataset[Batch], config: TrainConfig, world: World, first: int) -> Iterator[Batch]:
    """Batches of the remaining steps, in order; workers are spawned, because a fork after Numba kills the child.

    Args:
        samples: sample n must depend on n alone.
        config: steps, batch_size and workers.
        world: the processes that share a step's samples.
        first: the step to begin with.
    """
    loader: DataLoader[Batch] = DataLoader(
        samples,
        batch_size=config.batch_size,
        sampler=_Order(config, world, first),
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        persistent_workers=config.workers > 0,
        worker_init_fn=_ignore_signals,
    )
    with _held_back() if config.workers else contextlib.nullcontext():
        return iter(loader)


class _Order(Sampler[int]):
    """This process's sample numbers from a step on, in the order of the steps."""

    def __init__(self, config: TrainConfig, world: World, first: int) -> None:
        self.config, self.world, self.first = config, world, first

    def __iter__(self) -> Iterator[int]:
        size = self.config.batch_size
        for step in range(self.first, self.config.steps or 0):
            begin = (step * self.world.size + self.world.rank) * size
            yield from range(begin, begin + size)


def _ignore_signals(worker: int) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Signals wait: processes started meanwhile inherit that, for the seconds of imports until they can ignore them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else its start, within, lets the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
