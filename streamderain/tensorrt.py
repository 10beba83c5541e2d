"""The only door to torch_tensorrt: from a network to one serialised engine, and from its bytes to a callable.

Written against torch_tensorrt 2.13 and its TensorRT-RTX build. The steps are separate functions, so that the test that
has no GPU goes through the same ones.
"""
from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.fx import GraphModule

from streamderain.core.checkpoint import Generator
from streamderain.core.companions import MULTIPLE
from streamderain.core.stream import StreamGenerator

_INPUT, _OUTPUT = "seen", "output0"  # what torch_tensorrt calls the ends of a graph with this forward()


# Compute capabilities of data-centre GPUs, which TensorRT-RTX's support matrix (versions 1.0 to 1.5) leaves out
_NO_RTX = {(7, 0), (8, 0), (9, 0), (10, 0), (10, 3)}


@dataclass(frozen=True, slots=True)
class Shapes:
    """Frames that one engine takes, as (height, width) in pixels, multiples of 64 but for their best.

    Attributes:
        name: for announcements.
        low, high: the smallest and the largest.
        best: what its kernels are chosen for.
    """

    name: str
    low: tuple[int, int]
    best: tuple[int, int]
    high: tuple[int, int]

    def hold(self, height: int, width: int) -> bool:
        """Whether a frame fits."""
        return self.low[0] <= height <= self.high[0] and self.low[1] <= width <= self.high[1]


# An engine reserves memory for its largest frame, so pictures that stand have one of their own, built when one comes.
WIDE = Shapes("frames up to 4096x2176", (64, 64), (1088, 1920), (2176, 4096))
TALL = Shapes("frames up to 2176x4096", (64, 64), (1920, 1088), (4096, 2176))


class Unbuildable(Exception):
    """torch_tensorrt makes no engine of this network, or none that can be loaded; why, in one line."""


def missing(device: str) -> str | None:
    """What TensorRT lacks for this GPU, with what to do; None where it can be used."""
    if not torch.cuda.is_available() or torch.version.hip:
        return "TensorRT needs an NVIDIA GPU, and torch finds none here; use --backend compile"
    if find_spec("torch_tensorrt") is None:
        return "torch_tensorrt is not installed; install the extra tensorrt-rtx or tensorrt, or use --backend compile"
    try:
        with redirect_stdout(io.StringIO()):  # it prints what it then raises
            torch_tensorrt = import_module("torch_tensorrt")
    except Exception as error:  # and it raises anything, Exception itself among it
        return f"torch_tensorrt cannot be loaded ({_line(error)}); install one that fits torch {torch.__version__}"
    if torch_tensorrt.ENABLED_FEATURES.tensorrt_rtx and torch.cuda.get_device_capability(device) in _NO_RTX:
        name = torch.cuda.get_device_name(device)
        return f"TensorRT-RTX is not made for {name}; install the extra tensorrt instead, or use --backend compile"
    return None


def versions() -> dict[str, str]:
    """Of torch_tensorrt and of the TensorRT behind it, for the cache's key."""
    torch_tensorrt, tensorrt = import_module("torch_tensorrt"), import_module("tensorrt")
    kind = getattr(tensorrt, "_package_name", "tensorrt")  # tensorrt_rtx calls itself tensorrt as well
    return {"torch_tensorrt": torch_tensorrt.__version__, kind: tensorrt.__version__}


def build(model: Generator, shapes: Shapes, device: str) -> bytes:
    """One serialised engine of a whole network, in the precision that its weights are in.

    Raises:
        Unbuildable: part of the network has no counterpart in TensorRT, or the builder gave up.
    """
    settings = make_settings(device)
    try:
        with current(device):
            return serialised(one_subgraph(lowered(exported(model, shapes), settings), settings), settings)
    except Exception as error:  # of any kind: assertions, its own, and those of three libraries beneath it
        raise Unbuildable(_line(error)) from error


def exported(model: Generator, shapes: Shapes) -> ExportedProgram:
    """The network as one graph of torch's operators, height and width left open within the shapes.

    Args:
        model: in eval mode, of the dtype and on the device that it will run in.
        shapes: the open range; the graph's example is their best.
    """
    entrance = _Entrance(model)
    place = 2 if isinstance(model, StreamGenerator) else 1  # pixels, see companions.network_blocks
    multiple = MULTIPLE if isinstance(model, StreamGenerator) else model.network.multiple
    open_sides = {}
    for axis, name, low, high in zip((2, 3), ("rows", "columns"), shapes.low, shapes.high, strict=True):
        side: Any = Dim(name, min=low // multiple, max=high // multiple)
        open_sides[axis] = side * (multiple // place) if multiple > place else side
    weight = next(model.parameters())
    sides = [side // place for side in shapes.best]
    example = torch.zeros((1, entrance.channels, *sides), dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        return export(entrance.eval(), (example,), dynamic_shapes=(open_sides,))


def make_settings(device: str) -> Any:
    """torch_tensorrt's settings: all of the network or nothing."""
    torch_tensorrt = import_module("torch_tensorrt")
    settings = import_module("torch_tensorrt.dynamo").CompilationSettings
    gpu = torch_tensorrt.Device(gpu_id=torch.device(device).index or 0)
    return settings(device=gpu, require_full_compilation=True, use_fast_partitioner=True)


def lowered(program: ExportedProgram, settings: Any) -> GraphModule:
    """The graph in the operators that torch_tensorrt converts; it still runs in torch, and means the same."""
    lowering = import_module("torch_tensorrt.dynamo.lowering")
    program = lowering.pre_export_lowering(program, settings)
    program = program.run_decompositions(lowering.get_decompositions())
    graph: GraphModule = lowering.post_lowering(program.module(), settings)
    return graph


def one_subgraph(graph: GraphModule, settings: Any) -> GraphModule:
    """The graph as the one part that TensorRT runs.

    Raises:
        AssertionError: an operator has no converter.
        Unbuildable: the graph falls into several parts.
    """
    registry = import_module("torch_tensorrt.dynamo.conversion._ConverterRegistry")
    registry.DYNAMO_CONVERTERS.set_compilation_settings(settings)
    partition = import_module("torch_tensorrt.dynamo.partitioning").fast_partition
    parted, _ = partition(
        graph, min_block_size=settings.min_block_size, torch_executed_ops=settings.torch_executed_ops,
        require_full_compilation=True, skip_fusion=True,
    )  # fmt: skip
    parts = dict(parted.named_children())
    only = next((part for name, part in parts.items() if "_run_on_acc" in name), None)
    if len(parts) != 1 or not isinstance(only, GraphModule):
        raise Unbuildable(f"the network falls into {len(parts)} parts ({', '.join(parts)})")
    return only


def serialised(graph: GraphModule, settings: Any) -> bytes:
    """The engine of a graph, built. On TensorRT-RTX this needs no GPU."""
    conversion = import_module("torch_tensorrt.dynamo.conversion._conversion")
    inputs = import_module("torch_tensorrt.dynamo.partitioning").construct_submodule_inputs(graph)
    interpreter = conversion.TRTInterpreter(
        graph, inputs, output_dtypes=conversion.infer_module_output_dtypes(graph), compilation_settings=settings
    )
    # Its own run() loads the engine as soon as it is built, which takes a GPU and would be done twice
    interpreter._construct_trt_network_def()
    names = [interpreter._input_names, interpreter._output_names]
    if names != [[_INPUT], [_OUTPUT]]:
        raise Unbuildable(f"the engine's ends are called {names}")
    config = interpreter._populate_trt_builder_config()
    engine = interpreter.builder.build_serialized_network(interpreter.ctx.net, config)
    if engine is None:
        raise Unbuildable("the builder made no engine")
    return bytes(engine)


def load(engine: bytes, device: str, kernels: Path) -> Callable[[Tensor], Tensor]:
    """What runs an engine on the GPU; TensorRT-RTX replays its launches as a CUDA graph where sizes stay the same.

    TensorRT's own runtime could too, but captures in a mode that forbids every other thread of the process to use the
    GPU meanwhile (pytorch/TensorRT issue 3349), and NVDEC and NVENC do.

    Args:
        engine: from build, on this machine.
        device: the GPU.
        kernels: a file where TensorRT-RTX keeps what it compiles while it runs; TensorRT needs none.

    Raises:
        Unbuildable: the engine is none of this GPU and this TensorRT.
    """
    torch_tensorrt = import_module("torch_tensorrt")
    module_of = import_module("torch_tensorrt.dynamo.runtime").TorchTensorRTModule
    try:
        with current(device):
            module = module_of(
                serialized_engine=engine, input_binding_names=[_INPUT], output_binding_names=[_OUTPUT],
                name="streamderain", settings=make_settings(device),
            )  # fmt: skip
        if torch_tensorrt.ENABLED_FEATURES.tensorrt_rtx:
            config = import_module("torch_tensorrt.runtime._runtime_config")
            module.runtime_settings = config.RuntimeSettings(
                cuda_graph_strategy="whole_graph_capture", runtime_cache=str(kernels)
            )
    except Exception as error:  # the runtimes in C++ and in Python raise different ones
        raise Unbuildable(_line(error)) from error
    run: Callable[[Tensor], Tensor] = module
    return run


def current(device: str) -> AbstractContextManager[None]:
    """The GPU that TensorRT builds for and allocates on, which it does not ask for."""
    return torch.cuda.device(device) if device.startswith("cuda") else nullcontext()


class _Entrance(nn.Module):
    """A generator from the place where its input has the size that it works on."""

    def __init__(self, model: Generator) -> None:
        super().__init__()
        self.model = model
        self.channels = 4 * model.in_channels if isinstance(model, StreamGenerator) else model.in_channels

    def forward(self, seen: Tensor) -> Tensor:
        """(1, channels, H, W) to rain."""
        if isinstance(self.model, StreamGenerator):
            return self.model.from_blocks(seen)
        return self.model.from_padded(seen)


def _line(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
