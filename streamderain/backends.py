"""How the network can be run: chosen once by what is here, proven beside eager, and everything else told."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from streamderain import compiled, tensorrt, trial
from streamderain.core.checkpoint import Generator
from streamderain.engine_cache import EngineFiles
from streamderain.errors import DerainError
from streamderain.tensorrt_network import TensorRTNetwork

Backend = Literal["eager", "compile", "tensorrt"]
NAMES = ("auto", "eager", "compile", "tensorrt")
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs the network.

    Attributes:
        backend: its name.
        why: why it is not the one that was asked for, or the fastest; None where it is.
        then: what is taken if it proves unable.
    """

    backend: Backend
    why: str | None = None
    then: Backend = "eager"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A network ready for its first frame.

    Attributes:
        backend: what it came to.
        network: takes and returns batches; its result may lie in memory that the next call overwrites.
        kept: gives the files and folders that hold what was built so far.
    """

    backend: Backend
    network: Network
    kept: Callable[[], tuple[Path, ...]] = tuple


def choose(wanted: str, device: str) -> Choice:
    """The backend for a device; auto is TensorRT, else torch.compile, on a GPU, and eager on the CPU.

    Args:
        wanted: one of NAMES.
        device: as resolve_device names it.

    Raises:
        DerainError: no such backend, or TensorRT was asked for and cannot be had.
    """
    if wanted not in NAMES:
        raise DerainError(f"backend {wanted!r} is unknown; give {', '.join(NAMES)}")
    on_gpu = device.startswith("cuda")
    if wanted == "eager" or (wanted == "auto" and not on_gpu):
        return Choice("eager")
    reasons = []
    if wanted != "compile":
        on_cpu = "TensorRT needs an NVIDIA GPU, not the CPU; use --backend compile"
        lack = tensorrt.missing(device) if on_gpu else on_cpu
        if lack is None:
            return Choice("tensorrt", then="compile" if wanted == "auto" and not compiled.missing(device) else "eager")
        if wanted == "tensorrt":
            raise DerainError(lack)
        reasons.append(lack)
    lack = compiled.missing(device)
    if lack is None:
        return Choice("compile", _told(reasons, "is compiled by torch.compile"))
    return Choice("eager", _told([*reasons, lack], "runs eagerly"))


def prepare(
    choice: Choice, model: Generator, plain: Network, *, device: str, digest: str, folder: Path,
    tell: Callable[[str], None],
) -> Prepared:  # fmt: skip
    """Make what runs the network and try it; where that fails, the reason is told and the next best is tried.

    Args:
        choice: from choose.
        model: on its device, in its precision and memory format.
        plain: its entrance, see engine.entrance.
        device, digest, folder: the device, the digest of the weights, the cache's folder.
        tell: takes one line.
    """
    if choice.backend == "eager":
        return Prepared("eager", plain)
    try:
        if choice.backend == "compile":
            return _compiled(model, plain, device, folder / "inductor", tell)
        files = EngineFiles(folder / "tensorrt")
        network = TensorRTNetwork(model, plain, device, digest, files, tell)
        return Prepared("tensorrt", network, network.kept)
    except Exception as error:  # what a compiler raises belongs to no family; here it is told and survived
        reason = _reason(error)
        instead = "runs eagerly" if choice.then == "eager" else "is compiled by torch.compile"
        tell(f"{choice.backend} cannot run this network: {reason}; it {instead}")
    return prepare(Choice(choice.then), model, plain, device=device, digest=digest, folder=folder, tell=tell)


def _compiled(
    model: Generator, plain: Network, device: str, folder: Path, tell: Callable[[str], None]
) -> Prepared:  # fmt: skip
    weight, begun = next(model.parameters()), time.monotonic()
    batch = trial.drawn_frame(model)[None].to(weight.device, weight.dtype, memory_format=torch.channels_last)
    with compiled.kept_in(folder), torch.inference_mode():
        tell(f"compiling the network, half a minute the first time and seconds later; {folder} keeps it")
        held, fast = any(folder.iterdir()), compiled.compiled(plain, device)
        try:
            wrong = trial.difference(fast, plain, batch)
        except Exception:
            if held:  # torch does not notice all damage to what it keeps, and remembers what it read in this process
                compiled.forget(folder)
                tell(f"what {folder} held may be damaged, so it is emptied; the next run compiles anew")
            raise
    if wrong is not None:
        raise ValueError(f"{wrong}")
    tell(f"compiled in {time.monotonic() - begun:.0f} s")
    return Prepared("compile", fast, lambda: (folder,))


def _reason(error: Exception) -> str:
    """The first line that says something; torch's own first line only announces the next."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith("raised:")), type(error).__name__)


def _told(reasons: list[str], instead: str) -> str | None:
    """Why, as one line; None where nothing stood in the way."""
    return f"{'; '.join(reasons)}; the network {instead}" if reasons else None
