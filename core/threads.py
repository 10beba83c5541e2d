"""How many threads Numba's kernels spread over, which is also a matter of torch's where both use one OpenMP."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
from numba import njit, prange


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Let the kernels that this thread calls spread over count threads at most."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(count, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def started() -> int:
    """Start Numba's threads, if no kernel has, and say how many there are.

    Their start gives OpenMP as many. Where torch runs on the same one, its own number is to be set after this.
    """
    _spread(np.zeros(1))
    return int(numba.get_num_threads())


def lost_by_fork() -> bool:
    """Whether this process was forked from one whose kernels had run; the next kernel would then end it.

    Linux's OpenMP has no threads after a fork, and Numba ends such a process, whose parent may wait for it for ever.
    """
    return _lost_by_fork


def _look_back() -> None:
    """In a child that was just forked: whether Numba's threads had been started on OpenMP."""
    global _lost_by_fork
    try:
        _lost_by_fork = numba.threading_layer() == "omp"
    except ValueError:  # no kernel has run
        _lost_by_fork = False


_lost_by_fork = False
if sys.platform == "linux":  # elsewhere the OpenMP is another
    os.register_at_fork(after_in_child=_look_back)


@njit(parallel=True, nogil=True, cache=True)
def _spread(out):
    """The smallest kernel that spreads over threads: out[n] becomes n."""
    for n in prange(out.shape[0]):
        out[n] = n
