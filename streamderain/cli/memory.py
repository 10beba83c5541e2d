"""Memory of frames is kept for the next frame."""
from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of mallopt(3), glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc hold on to what is freed, where glibc is what allocates.

    A frame's planes and a network's layers are megabytes each, and glibc gives such pieces back to the system as soon
    as they are free, which then clears every page of the next frame's anew: a fifth of all processor time at
    1920x1080. The price is that memory stays at its highest use, which frames of one size reach at once.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 2**26)
