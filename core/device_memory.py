"""Tensors as the CUDA kernels take them: the same memory, on torch's own stream, nothing copied.

With Numba's simulator (NUMBA_ENABLE_CUDASIM=1) the device's memory is the host's, and tensors on the CPU do.
"""
from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numba import config, cuda
from torch import Tensor

SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]  # set from the environment

# a small picture cannot fill a large GPU, and nobody can do anything about that
warnings.filterwarnings("ignore", message="Grid size .* will likely result in GPU")


def usable() -> bool:
    """Whether Numba finds a CUDA device and the compiler for it."""
    return bool(cuda.is_available())


@dataclass(frozen=True, slots=True)
class Shared:
    """Memory known to torch and to the kernels; wrapped once, because wrapping takes longer than a small kernel.

    Attributes:
        tensor: for torch.
        array: for kernels.
    """

    tensor: Tensor
    array: Any


def shared(tensor: Tensor) -> Shared:
    """A tensor for the kernels too, in its own strides."""
    return Shared(tensor, as_array(tensor))


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Shared:
    """New memory; what stands in it is undefined."""
    return shared(torch.empty(shape, dtype=dtype, device=device))


def as_array(tensor: Tensor) -> Any:
    """A tensor's memory as a kernel's argument. The array holds the tensor; of memory that is freed while a kernel
    still reads it torch's allocator gives nothing away but to the same stream."""
    if SIMULATED:
        return cuda.devicearray.FakeCUDAArray(tensor.numpy())
    return cuda.as_cuda_array(tensor, sync=False)


def uploaded(values: np.ndarray, device: torch.device) -> Any:
    """A small table on the device, for kernels."""
    return as_array(torch.from_numpy(np.ascontiguousarray(values)).to(device))


def stream() -> Any:
    """Torch's current stream as Numba launches on it."""
    return 0 if SIMULATED else _external(torch.cuda.current_stream().cuda_stream)


@lru_cache
def _external(pointer: int) -> Any:
    return cuda.external_stream(pointer)
