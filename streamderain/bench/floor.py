"""The least time a network can take on a device: its counted work against two ceilings that are measured there."""
from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from streamderain.bench.timing import timed, wait_for
from streamderain.core.checkpoint import Generator
from streamderain.core.companions import MULTIPLE
from streamderain.core.stream import StreamGenerator

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}

_TRIES, _SECONDS = 7, 0.5  # at least; the best counts: a ceiling is what a device can do when nothing disturbs it
_CPU_COPY_BYTES, _GPU_COPY_BYTES = 256 * 2**20, 2**30  # far more than any cache
_CPU_SIDE, _GPU_SIDE = 2048, 8192  # of the square matrices


@dataclass(frozen=True, slots=True)
class Layer:
    """The work of one convolution.

    Attributes:
        name: its place in the network.
        macs: multiply-accumulates for one frame.
        bytes: its input, its output and its weights, each moved once.
    """

    name: str
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a device does at best.

    Attributes:
        bytes_per_s: read and written in a copy of a large tensor.
        macs_per_s: in the product of two large square matrices, in the precision that is asked about.
    """

    bytes_per_s: float
    macs_per_s: float

    def seconds(self, layer: Layer) -> float:
        """The least time of a layer: it computes and moves at the same time, and the slower of the two decides."""
        return max(layer.macs / self.macs_per_s, layer.bytes / self.bytes_per_s)


def count_layers(network: Generator, height: int, width: int, *, value_bytes: int) -> list[Layer]:
    """Count what each convolution does for one frame; everything else can be done in passing.

    Norms, activations, sums and shuffles are free here, because a compiler may fuse them into the convolutions beside
    them: so the floor is never too high.

    Args:
        network: its copy runs on shapes alone, without computing.
        height, width: of the frame, pixels.
        value_bytes: of one number in the precision it runs in.
    """
    found: list[Layer] = []
    network = copy.deepcopy(network).to("meta")

    def hook(name: str) -> Hook:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
            row = module.weight[0].numel()  # one output value costs so much; of a transposed one, one input value
            macs = row * (inputs[0] if isinstance(module, nn.ConvTranspose2d) else output).numel()
            values = inputs[0].numel() + output.numel() + sum(each.numel() for each in module.parameters())
            found.append(Layer(name, macs, values * value_bytes))

        return count

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(hook(name))
    multiple = MULTIPLE if isinstance(network, StreamGenerator) else 1
    rows, columns = (-(-side // multiple) * multiple for side in (height, width))
    with torch.inference_mode():
        network(torch.empty((1, network.in_channels, rows, columns), device="meta"))
    return found


def floor_ms(layers: Sequence[Layer], ceilings: Ceilings) -> float:
    """The least milliseconds of one frame through these layers, one after the other."""
    return 1000 * sum(ceilings.seconds(layer) for layer in layers)


def higher(one: Ceilings, other: Ceilings) -> Ceilings:
    """The better of two measurements of the same device."""
    return Ceilings(max(one.bytes_per_s, other.bytes_per_s), max(one.macs_per_s, other.macs_per_s))


def figures(layers: Sequence[Layer], ceilings: Ceilings, ms: float, best_ms: float) -> dict[str, float]:
    """A measured network beside its floor, as plain values.

    Args:
        layers: counted.
        ceilings: measured.
        ms, best_ms: the network's median and shortest time.
    """
    least = floor_ms(layers, ceilings)
    return {
        "ms": least, "times_floor": ms / least, "best_times_floor": best_ms / least,
        "macs": sum(layer.macs for layer in layers), "bytes": sum(layer.bytes for layer in layers),
        "copy_gb_per_s": ceilings.bytes_per_s / 1e9, "matmul_gmac_per_s": ceilings.macs_per_s / 1e9,
    }  # fmt: skip


@torch.inference_mode()
def measure_ceilings(device: str, precision: str) -> Ceilings:
    """Measure a device's two ceilings.

    Args:
        device: a torch device.
        precision: of the matrices, one of DTYPES.
    """
    on_gpu = device.startswith("cuda")
    source = torch.zeros(_GPU_COPY_BYTES if on_gpu else _CPU_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    copied = _best_seconds(lambda: target.copy_(source), device)
    side = _GPU_SIDE if on_gpu else _CPU_SIDE
    one, other = (torch.rand((side, side), device=device).mul(100).to(DTYPES[precision]) for _ in range(2))
    product = torch._int_mm if precision == "int8" else torch.mm  # the first is the one product of bytes that torch has
    exact = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if on_gpu else exact)  # TF32, as convolutions and TensorRT take it there
    try:
        multiplied = _best_seconds(lambda: product(one, other), device)
    finally:
        torch.set_float32_matmul_precision(exact)
    return Ceilings(2 * source.numel() / copied, side**3 / multiplied)


def _best_seconds(work: Callable[[], object], device: str) -> float:
    def call() -> None:
        work()
        wait_for(device)

    call()
    tries: list[float] = []
    while len(tries) < _TRIES or sum(tries) < _SECONDS * 1000:
        tries.append(timed(call)[1])
    return min(tries) / 1000
