"""Weights on disk: safetensors with the config that rebuilds the network in the metadata; never pickle."""
from __future__ import annotations

import hashlib
import json
import os
from math import inf
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .single_frame import FAMILIES, SingleFrameDerainer
from .stream import StreamGenerator, widened

Generator = StreamGenerator | SingleFrameDerainer

FORMAT = 1
MAX_BYTES = 512 * 2**20
MAX_TENSORS = 10_000
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class CheckpointError(ValueError):
    """A weight file that cannot be used: one line with the file and the reason."""


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and JSON-able metadata atomically: a kill at any moment leaves the old file or the new one.

    Raises:
        OSError: the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    packed = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    try:
        save_file(packed, temporary, {name: json.dumps(value) for name, value in metadata.items()})
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error})") from None
    with open(temporary, "rb") as written:
        os.fsync(written.fileno())
    os.replace(temporary, path)


def load_tensors(path: Path, *, bounded: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what save_tensors wrote.

    Args:
        path: of the file.
        bounded: refuse more than a derainer needs, as a file from elsewhere may hold; a run's own state may be larger.

    Raises:
        CheckpointError: no such file, unreadable, too large, not safetensors, truncated, or metadata that is not ours.
    """
    try:
        return _read(path, bounded)
    except CheckpointError:
        raise
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file of ours ({error})") from None


def save_generator(
    path: Path, model: Generator, *, profile: str, card: dict[str, Any], half: bool = False
) -> None:
    """Write a generator so that load_generator rebuilds it from the file alone.

    Args:
        path: ends in .safetensors.
        model: the network.
        profile: its profile's name; for a published network the name of its method.
        card: how the weights were made (method, steps, data, scores); plain JSON values.
        half: round the weights to float16, for a file of half the size.
    """
    rebuilds: dict[str, Any] = {"format": FORMAT, "family": model.family, "config": model.config_dict()}
    if isinstance(model, StreamGenerator) and model.ranges is not None:
        rebuilds["ranges"] = model.ranges
    weights = {n: t.half() if half and t.is_floating_point() else t for n, t in model.state_dict().items()}
    save_tensors(path, weights, {**rebuilds, "profile": profile, "card": card})


def load_generator(path: Path) -> tuple[Generator, dict[str, Any]]:
    """Rebuild a generator from its file, strictly.

    Returns:
        The network in eval mode and the metadata (family, profile, config, card).

    Raises:
        CheckpointError: the file is unusable; names the first missing, unexpected or misshapen tensor, or NaN.
    """
    tensors, metadata = load_tensors(path)
    family, config = metadata.get("family"), metadata.get("config")
    if metadata.get("format") != FORMAT or family not in ("stream", *FAMILIES) or "profile" not in metadata:
        raise CheckpointError(f"{path} is not a generator of format {FORMAT}; train one with `streamderain train`")
    try:
        with torch.device("meta"):
            shape = _build(family, config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} has a config that builds no network ({error})") from None
    tensors = widened(tensors) if family == StreamGenerator.family else tensors
    _check(path, shape, tensors)
    # Once more, in memory that the file is known to fill: what a network holds beside its state has no values on meta
    with torch.random.fork_rng(devices=[]):
        model = _build(family, config)
    model.load_state_dict(tensors, assign=True)
    if isinstance(model, StreamGenerator) and "ranges" in metadata:
        model.ranges = _checked_ranges(path, model, metadata["ranges"])
    return model.float().eval(), metadata


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path, bounded: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; give a .safetensors file made by `streamderain train`")
    if bounded and path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path} is larger than {MAX_BYTES >> 20} MiB; that is no derainer of ours")
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if bounded and len(names) > MAX_TENSORS:
            raise CheckpointError(f"{path} holds {len(names)} tensors; that is no derainer of ours")
        metadata = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
        return {name: file.get_tensor(name) for name in names}, metadata


def _build(family: str, config: Any) -> Generator:
    if family == StreamGenerator.family:
        return StreamGenerator.from_config(config)
    return SingleFrameDerainer.from_config(family, config)


def _checked_ranges(path: Path, model: StreamGenerator, ranges: Any) -> dict[str, tuple[float, float]]:
    """The ranges of a file, one around zero for every convolution."""
    names = {name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    try:
        found = {name: (float(low), float(high)) for name, (low, high) in ranges.items()}
    except (AttributeError, TypeError, ValueError):
        raise CheckpointError(f"{path} has ranges that are none") from None
    if found.keys() != names or not all(-inf < low <= 0 <= high < inf for low, high in found.values()):
        raise CheckpointError(f"{path} has ranges that do not fit its network")
    return found


def _check(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise CheckpointError(f"{path} lacks the tensor {name}")
        found = tensors[name]
        allowed = DTYPES if tensor.is_floating_point() else (tensor.dtype,)
        if found.shape != tensor.shape or found.dtype not in allowed:
            kind = "float" if tensor.is_floating_point() else tensor.dtype
            given, wanted = f"{found.dtype} {tuple(found.shape)}", f"{kind} of {tuple(tensor.shape)}"
            raise CheckpointError(f"{path}: {name} is {given}, not {wanted}")
        if not torch.isfinite(found).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity")
    for name in tensors:
        if name not in expected:
            raise CheckpointError(f"{path} has the unexpected tensor {name}")
