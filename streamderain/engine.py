"""Runs the generator on the chosen device; the choice is made once, before the first frame, and told."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from streamderain.core.stream import StreamGenerator
from streamderain.errors import DerainError


class Engine:
    """The generator in the precision that its device is fast in.

    On the CPU that is bfloat16 where the processor has instructions for it, else float32: by capability and not by
    a stopwatch, so that the same input gives the same bits in every run on a machine.

    Args:
        model: float32, eval mode.
        device: "auto" (a CUDA GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:N".

    Attributes:
        device, backend, precision: what was chosen, for reports.
        input_dtype: what `run` takes on the host.

    Raises:
        DerainError: the device does not exist here.
    """

    backend = "eager"

    def __init__(self, model: StreamGenerator, device: str = "auto") -> None:
        self.device = resolve_device(device)
        self._cuda = self.device.startswith("cuda")
        dtype = torch.float16 if self._cuda else torch.bfloat16 if cpu_has_bf16() else torch.float32
        self.precision = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
        self.input_dtype = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
        self._dtype = dtype
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self._model = model.to(self.device, dtype)

    @torch.inference_mode()
    def run(self, blocks: Tensor, height: int, width: int) -> np.ndarray:
        """Estimate the rain layer of one frame.

        Args:
            blocks: (44, H / 2, W / 2) of input_dtype on the host, see companions.network_blocks.
            height, width: of the frame, which the blocks may exceed.

        Returns:
            (3, height, width) float32, rain in units of the 0..1 RGB.
        """
        batch = blocks[None].to(device=self.device, dtype=self._dtype, memory_format=torch.channels_last)
        rain = self._model.from_blocks(batch)[0, :, :height, :width]
        return rain.float().contiguous().cpu().numpy()


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


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(check() for name in checks if (check := getattr(torch.cpu, name, None)))
