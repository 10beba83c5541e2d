"""Build TensorRT engines on a machine without a GPU, and print what came of each as a line of JSON.

    python tests/one_engine_build.py tiny realtime

Run in a process of its own, because torch's CUDA probes have to be replaced before torch_tensorrt is imported, and
nothing else should meet them.
"""
from __future__ import annotations

import json
import os.path
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from streamderain.core.checkpoint import Generator
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import PROFILES, StreamGenerator

SIDES = (64, 64)  # of the frame that lowered and eager graph are compared on: halves are slow on a CPU


class Sorted(StreamGenerator):
    """A network with an operator that TensorRT has no counterpart of."""

    def from_blocks(self, x: Tensor) -> Tensor:
        """(B, 48, H / 2, W / 2) to (B, 4, H, W)."""
        return torch.cumsum(super().from_blocks(x), 2).sort(2).values.cumprod(2)


class Properties:
    """What torch_tensorrt asks a GPU for."""

    name, major, minor, total_memory, multi_processor_count = "none", 9, 0, 80 << 30, 132


def pretend_a_gpu() -> None:
    """Import torch_tensorrt where torch knows no CUDA.

    It asks for a GPU while it is imported, and later for the number of the current one. Its own libraries need
    libtorch_cuda, so it must not find them; it then uses its runtime in Python, which is not used here.
    """
    available, is_file = torch.cuda.is_available, os.path.isfile
    torch.cuda.is_available = lambda: True
    torch.cuda.current_device = lambda: 0
    torch.cuda.device = lambda _: nullcontext()
    torch.cuda.device_count = lambda: 1
    torch.cuda.get_device_properties = lambda *_: Properties
    torch.cuda.get_device_capability = lambda *_: (Properties.major, Properties.minor)
    torch._C._CudaDeviceProperties = Properties
    os.path.isfile = lambda path: "libtorchtrt" not in str(path) and is_file(path)
    try:
        import torch_tensorrt  # noqa: F401
    finally:
        os.path.isfile, torch.cuda.is_available = is_file, available


def network(name: str) -> Generator:
    """A profile or NLCL's published generator in fp16, with weights that make rain."""
    torch.manual_seed(0)
    if name == "nlcl":
        return SingleFrameDerainer(ResidualGenerator(), low=-1, output="background").eval().half()
    if name == "unconvertible":
        return Sorted(PROFILES["tiny"]).eval().half()
    model = StreamGenerator.from_profile(name).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    return model.half()


def report(name: str) -> dict[str, Any]:
    """Build and say what came of it."""
    from streamderain import tensorrt
    from streamderain.engine import entrance

    if name == "unconvertible":
        try:
            return {"bytes": len(tensorrt.build(network(name), tensorrt.WIDE, "cuda"))}
        except tensorrt.Unbuildable as error:
            return {"refused": str(error)}
    model, settings = network(name).to(memory_format=torch.channels_last), tensorrt.make_settings("cuda")
    begun = time.monotonic()
    program = tensorrt.exported(model, tensorrt.WIDE)
    lowered = tensorrt.lowered(program, settings)
    done = time.monotonic()
    sides = [side // 2 for side in SIDES] if name in PROFILES else SIDES
    seen = torch.rand(1, 48 if name in PROFILES else 3, *sides).half()
    with torch.inference_mode():
        found, expected = lowered(seen).float(), entrance(model)(seen).float()
    compared = time.monotonic()
    part = tensorrt.one_subgraph(lowered, settings)
    from torch_tensorrt.dynamo.partitioning import construct_submodule_inputs

    (spec,) = construct_submodule_inputs(part)
    engine = tensorrt.serialised(part, settings)
    return {
        "error": float((found - expected).abs().max()), "spread": float(expected.std()),
        "dtype": str(spec.dtype), "shapes": [list(spec.shape[f"{end}_shape"]) for end in ("min", "opt", "max")],
        "bytes": len(engine), "parameters": sum(each.numel() for each in model.parameters()),
        "seconds": {
            "export and lower": round(done - begun, 1), "compare": round(compared - done, 1),
            "build": round(time.monotonic() - compared, 1),
        },
    }  # fmt: skip


if __name__ == "__main__":
    pretend_a_gpu()
    for each in sys.argv[1:]:
        print(json.dumps({each: report(each)}), flush=True)
