"""One training at a time in a folder: a lock that goes with its process, however that ends."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamderain.errors import DerainError

LOCK = ".lock"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold a training's folder against other trainings.

    The file stays behind, empty: were it removed, two runs could lock two files of one name. Where a file system knows
    no locks, nothing is held.

    Args:
        out: the folder, which is there.

    Raises:
        DerainError: another run works there.
        OSError: the file cannot be made.
    """
    handle = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o666)  # no process started meanwhile inherits it
    try:
        if not _locked(handle):
            raise DerainError(f"another training works in {out}; wait for its end or give another --out")
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Whether the lock is ours now, or cannot be anyone's."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
