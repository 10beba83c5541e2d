"""Runs the generator on the chosen device; the choice is made once, before the first frame, and told."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from streamderain.core.checkpoint import Generator
from streamderain.core.stream import StreamGenerator
from streamderain.errors import DerainError


class Engine:
    """The generator in the precision that its device is fast in.

    For the stream generator that is float16 on a GPU; on the CPU bfloat16 where the processor has instructions for it,
    else float32: by capability and not by a stopwatch, so that the same input gives the same bits in every run on a
    machine. A network that sees a single frame stays in float32: it puts out the picture itself, of which bfloat16
    would cost a grey level, and what it normalises by are sums over the whole frame, whose error is in every pixel.

    Args:
        model: float32, eval mode; it is moved, not copied.
        device: "auto" (a CUDA GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:N".

    Attributes:
        device, backend, precision: what was chosen, for reports.
        companions: whether the network looks at a frame's neighbours, or at the frame alone.
        input_dtype: what `run` takes on the host.

    Raises:
        DerainError: the device does not exist here.
    """

    backend = "eager"

    def __init__(self, model: Generator, device: str = "auto") -> None:
        self.device = resolve_device(device)
        self.companions = isinstance(model, StreamGenerator)
        dtype = _fast_dtype(self.device) if self.companions else torch.float32
        self.precision = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
        self.input_dtype = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
        self._dtype = dtype
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self._estimate = entrance(model.to(self.device, dtype))

    @torch.inference_mode()
    def run(self, seen: Tensor, height: int, width: int) -> np.ndarray:
        """Estimate the rain layer of one frame.

        Args:
            seen: what the network looks at, on the host: with companions (44, H / 2, W / 2) of input_dtype, see
                companions.network_blocks; without them (3, H, W) float32, see single_frame.frame_input.
            height, width: of the frame, which blocks may exceed.

        Returns:
            (3, height, width) float32, rain in units of the 0..1 RGB.
        """
        batch = seen[None].to(device=self.device, dtype=self._dtype, memory_format=torch.channels_last)
        rain = self._estimate(batch)[0, :, :height, :width]
        return rain.float().contiguous().cpu().numpy()


def entrance(model: Generator) -> Callable[[Tensor], Tensor]:
    """What of a generator takes a batch of that which Engine.run takes one of."""
    return model.from_blocks if isinstance(model, StreamGenerator) else model


def resolve_device(device: str) -> str:
    """The name of the device that "auto" or a device's own name means.

    Args:
        device: "auto" (a CUDA GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:N".

    Raises:
        DerainError: no such name, or the device does not exist here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise DerainError(f"device {device!r} is unknown; give auto, cpu, cuda or cuda:N")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise DerainError(f"device {device} is not here (see `streamderain doctor`); use --device cpu")
    return device


def _fast_dtype(device: str) -> torch.dtype:
    if device.startswith("cuda"):
        return torch.float16
    return torch.bfloat16 if cpu_has_bf16() else torch.float32


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(check() for name in checks if (check := getattr(torch.cpu, name, None)))
