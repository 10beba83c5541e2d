"""Runs the generator on the chosen device; the choice is made once, before the first frame, and told."""
from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from streamderain import backends
from streamderain.core.checkpoint import Generator
from streamderain.core.companions import CodedForm
from streamderain.core.stream import StreamGenerator
from streamderain.engine_cache import default_folder, weights_digest
from streamderain.errors import DerainError
from streamderain.fallback import Careful

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine:
    """The generator in the precision that its device is fast in, run by the fastest backend that proves right.

    For the stream generator the precision is float16 on a GPU; on the CPU bfloat16 where the processor has
    instructions for it, else float32: by capability and not by a stopwatch, so that the same input gives the same bits
    in every run on a machine. A network that sees a single frame stays in float32: it puts out the picture itself, of
    which bfloat16 would cost a grey level, and what it normalises by are sums over the whole frame, whose error is in
    every pixel.

    Args:
        model: float32, eval mode; it is moved, not copied.
        device: "auto" (a CUDA GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:N".
        backend: "eager", "compile", "tensorrt", or "auto", see backends.choose. A compiled network is tried beside
            the eager one on a drawn frame, see trial.py, and not used if it differs.
        precision: "fp32", "bf16", "fp16" (on a GPU), or "auto".
        cache_dir: where what is built is kept between runs; engine_cache.default_folder() if None.
        tell: takes one line about what was built, what is missing and what was done instead; None logs it.

    Attributes:
        device, backend, precision: what was chosen, for reports.
        companions: whether the network looks at a frame's neighbours, or at the frame alone.
        recurrent: whether it is to see the frame before as it left it.
        input_dtype: what `run` takes on the host.

    Raises:
        DerainError: the device or the backend does not exist here.
    """

    form: CodedForm | None = None

    def __init__(
        self, model: Generator, device: str = "auto", *, backend: str = "auto", precision: str = "auto",
        cache_dir: str | Path | None = None, tell: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.device = resolve_device(device)
        tell = tell or logging.getLogger("streamderain").warning
        choice = backends.choose(backend, self.device)
        if choice.why is not None:
            tell(choice.why)
        self.companions = isinstance(model, StreamGenerator)
        self.recurrent = isinstance(model, StreamGenerator) and model.config.recurrent
        self.precision = self._chosen(precision)
        self._dtype = DTYPES[self.precision]
        self.input_dtype = torch.bfloat16 if self._dtype == torch.bfloat16 else torch.float32
        digest = "" if choice.backend == "eager" else weights_digest(model)  # before their precision changes
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        plain = entrance(model.to(self.device, self._dtype))
        keeps = choice.backend != "eager"  # eager needs no home
        folder = Path(cache_dir) if cache_dir else default_folder() if keeps else Path()
        prepared = backends.prepare(
            choice, model, plain, device=self.device, digest=digest,
            folder=folder, tell=tell,
        )  # fmt: skip
        self.backend, self._kept = prepared.backend, prepared.kept
        features = model.before_context if isinstance(model, StreamGenerator) else model
        self._rain_of = Careful(
            self._frame_by(prepared.network), self._frame_by(plain), self._frame_by(features), model, self.device,
            on_cpu=_on_cpu, tell=tell,
        )  # fmt: skip

    @torch.inference_mode()
    def rain(self, seen: Tensor) -> Tensor:
        """Estimate the rain layer of one frame, and the doubt about it, on the device, without waiting for it.

        Args:
            seen: what the network looks at, of any float dtype, on the engine's device; from elsewhere it is copied.
                With companions (48, H / 2, W / 2), see companions.network_blocks; without them (3, H, W), see
                single_frame.frame_input.

        Returns:
            (4, H, W) float32 on the engine's device, see StreamGenerator.forward; without companions (3, H, W), rain
            in units of the 0..1 RGB. Not cropped to the frame, which blocks may exceed.

        Raises:
            DerainError: the device's memory has no room for a single frame.
        """
        return self._rain_of(seen)

    def run(self, seen: Tensor, height: int, width: int) -> np.ndarray:
        """The same from the host and back to it, cropped to the frame.

        Args:
            seen: see rain; on the host, of input_dtype.
            height, width: of the frame.

        Returns:
            (4, height, width) or (3, height, width) float32.
        """
        return self.rain(seen)[:, :height, :width].contiguous().cpu().numpy()

    @property
    def kept(self) -> tuple[Path, ...]:
        """Files and folders of the cache that hold what was built so far."""
        return self._kept()

    def _chosen(self, precision: str) -> str:
        """The name of the precision that "auto" or its own name means."""
        if precision == "auto":
            return _fast_precision(self.device) if self.companions else "fp32"
        if precision not in DTYPES or (precision == "fp16" and self.device == "cpu"):
            here = "fp32 or bf16" if self.device == "cpu" else ", ".join(DTYPES)
            raise DerainError(f"precision {precision!r} is not to be had on {self.device}; give auto, {here}")
        return precision

    def _frame_by(self, network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return _frame_by(network, self.device, self._dtype)


def entrance(model: Generator) -> Callable[[Tensor], Tensor]:
    """What of a generator takes a batch of that which Engine.run takes one of."""
    return model.from_blocks if isinstance(model, StreamGenerator) else model


def _frame_by(network: Callable[..., Tensor], device: str, dtype: torch.dtype) -> Callable[..., Tensor]:
    """A network that takes batches of one as a function of single frames from anywhere; what else it takes stays."""

    def rain_of(seen: Tensor, **more: Tensor) -> Tensor:
        # as [None] gives it, the batch has a stride that torch takes for another layout, and copies
        batch = seen.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
        batch = batch.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        # a copy, for a replayed CUDA graph writes into the same memory
        return network(batch, **more)[0].to(torch.float32, copy=True)

    return rain_of


def _on_cpu(model: Generator) -> Callable[[Tensor], Tensor]:
    return _frame_by(entrance(model), "cpu", torch.float32)


def resolve_device(device: str) -> str:
    """The name of the device that "auto" or a device's own name means.

    Args:
        device: "auto" (a CUDA GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:N".

    Raises:
        DerainError: no such name, or the device does not exist here.
    """
    device = str(device)  # a torch.device says its name
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if device != "cpu" and (kind != "cuda" or (number and not number.isdecimal())):
        raise DerainError(f"device {device!r} is unknown; give auto, cpu, cuda or cuda:N")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise DerainError(f"device {device} is not here (see `streamderain doctor`); use --device cpu")
    return device


def _fast_precision(device: str) -> str:
    if device.startswith("cuda"):
        return "fp16"
    return "bf16" if cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(check() for name in checks if (check := getattr(torch.cpu, name, None)))
