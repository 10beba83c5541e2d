"""Which engine runs a generator: int8 on a CPU that can, else the float one."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamderain import int8_engine
from streamderain.core.checkpoint import Generator
from streamderain.core.stream import StreamGenerator
from streamderain.engine import DTYPES, Engine, resolve_device
from streamderain.errors import DerainError
from streamderain.int8_engine import Int8Engine

PRECISIONS = ("auto", "int8", *DTYPES)


def open_engine(
    model: Generator,
    device: str = "auto",
    *,
    backend: str = "auto",
    precision: str = "auto",
    cache_dir: str | Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Engine | Int8Engine:
    """The engine for a generator, in int8 where device, backend, processor and weights allow it.

    Args:
        precision: one of PRECISIONS.
        model, device, backend, cache_dir, tell: see Engine.

    Raises:
        DerainError: what was asked for is not to be had, and why.
    """
    device = resolve_device(device)
    lack = int8_engine.missing(model)
    if device != "cpu" or backend not in ("auto", "eager"):
        lack = "int8 is for the CPU and runs eagerly"
    if precision == "int8" and lack is not None:
        raise DerainError(f"{lack}; leave --precision out")
    if precision in ("auto", "int8") and lack is None:
        assert isinstance(model, StreamGenerator)  # or there were a lack
        return Int8Engine(model)
    return Engine(model, device, backend=backend, precision=precision, cache_dir=cache_dir, tell=tell)
