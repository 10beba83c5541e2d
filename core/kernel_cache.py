"""A place for the kernels' compiled code where neither package nor user has one: Numba does not start without."""
from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def ensure_place() -> None:
    """Name a temporary folder to Numba where it finds no other, as for a container's user without a home.

    It is this process's own and goes with it, because what lies in it is run: every start compiles.
    """
    named, shared = os.environ.get(VARIABLE), os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    places = [Path(__file__).parent / "__pycache__", Path(shared) / "numba"]
    if named:
        places.append(Path(named).absolute())
    if not usable(places):
        folder = tempfile.mkdtemp(prefix="streamderain-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[VARIABLE] = folder


def usable(places: Iterable[Path]) -> bool:
    """Whether one of the folders can be written to, or made."""
    for place in places:
        nearest = next(path for path in (place, *place.parents) if path.exists())
        if place.is_absolute() and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
            return True
    return False
