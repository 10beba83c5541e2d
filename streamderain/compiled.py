"""The network compiled by torch.compile; what it compiles is kept in our cache for the next run."""
from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamderain.errors import DerainError

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"  # torch reads it whenever it compiles


def missing(device: str) -> str | None:
    """What torch.compile lacks on this device, with what to do; None where it can work."""
    if device.startswith("cuda"):
        from torch.utils._triton import has_triton

        if not has_triton():
            return "torch.compile needs Triton for this GPU; install a torch that brings it"
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError, OSError):  # the last where CXX names no program
        return "torch.compile needs a C++ compiler; install g++, or name one that is here in the variable CXX"
    return None


def compiled(network: Callable[[Tensor], Tensor], device: str) -> Callable[[Tensor], Tensor]:
    """A network that compiles itself at its first call, for frames of every size.

    Sizes stay open, because a folder of photos has many and a compilation takes half a minute. On a GPU the launches
    of each size are recorded as a CUDA graph and played back; the result lies in memory that the next call overwrites.

    Args:
        network: takes a batch of one; in inference mode only.
        device: where it runs.
    """
    on_gpu = device.startswith("cuda")
    options: dict[str, Any] = {"triton.cudagraphs": True} if on_gpu else {"freezing": True}
    fast = torch.compile(network, dynamic=True, fullgraph=True, options=options)  # nothing is left out silently
    if not on_gpu:
        return fast

    def stepped(batch: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # the last result may be overwritten: it was copied
        return fast(batch)

    return stepped


def forget(folder: Path) -> None:
    """Empty the folder of what was compiled; what another run holds open may stay."""
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Let what torch compiles meanwhile be read from and written to this folder.

    Raises:
        DerainError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):  # a full or read-only disk, which permissions do not show
            pass
    except OSError as error:
        reason = (error.strerror or "refused").lower()
        raise DerainError(f"{folder} cannot be written to ({reason}); give another --cache-dir") from None
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = str(folder)
    log = logging.getLogger("torch._inductor.codecache")
    level = log.level
    log.setLevel(logging.ERROR)  # a damaged file is a warning with a traceback there, and is compiled anew
    try:
        yield
    finally:
        log.setLevel(level)
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
