"""A network run by TensorRT: engines from the cache or built, each tried before it is used."""
from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from streamderain import tensorrt, trial
from streamderain.core.checkpoint import Generator
from streamderain.core.single_frame import SingleFrameDerainer, padded
from streamderain.engine_cache import BrokenEngine, EngineFiles, Key, machine_key
from streamderain.tensorrt import TALL, WIDE, Shapes, Unbuildable

Network = Callable[[Tensor], Tensor]


class _Built(NamedTuple):
    engine: bytes
    seconds: float


class TensorRTNetwork:
    """Takes the batches that the network takes; the engine for wide frames is ready when this is made.

    Args:
        model: on its device, in its precision; what no engine takes it does itself, eagerly.
        plain: its entrance, see engine.entrance.
        device: the GPU.
        digest: of the weights as they were loaded.
        files: where engines are kept.
        tell: takes one line.

    Raises:
        Unbuildable: there is no engine of this network that does what the network does.
    """

    def __init__(
        self, model: Generator, plain: Network, device: str, digest: str, files: EngineFiles,
        tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._model, self._plain, self._device, self._digest = model, plain, device, digest
        self._files, self._tell = files, tell
        self._engines: dict[Shapes, Network] = {}
        self._told_size = False
        self._engines[WIDE] = self._ready(WIDE)

    def __call__(self, batch: Tensor) -> Tensor:
        """(1, C, H, W) of what the network sees to (1, 3, H', W') rain; waits while a first tall engine is built."""
        if isinstance(self._model, SingleFrameDerainer):
            height, width = batch.shape[-2:]
            return self._run(padded(batch, self._model.network.multiple), 1)[..., :height, :width]
        return self._run(batch, 2)

    def kept(self) -> tuple[Path, ...]:
        """The files of the engines in use."""
        paths = (self._files.path(self._key(shapes)) for shapes in self._engines)
        return tuple(path for path in paths if path.is_file())

    def _run(self, batch: Tensor, place_px: int) -> Tensor:
        height, width = (side * place_px for side in batch.shape[-2:])
        for shapes in (WIDE, TALL):
            if shapes.hold(height, width):
                return self._engine(shapes)(batch)
        if not self._told_size:
            self._told_size = True
            self._tell(f"no TensorRT engine takes a frame of {width}x{height}; the network runs such frames eagerly")
        return self._plain(batch)

    def _engine(self, shapes: Shapes) -> Network:
        if shapes not in self._engines:
            try:
                self._engines[shapes] = self._ready(shapes)
            except Unbuildable as error:
                self._tell(f"TensorRT for {shapes.name}: {error}; the network runs them eagerly")
                self._engines[shapes] = self._plain
        return self._engines[shapes]

    def _ready(self, shapes: Shapes) -> Network:
        """The engine for these shapes: kept or built, and tried.

        Raises:
            Unbuildable: it cannot be built or loaded, or its result is wrong; then it is not kept.
        """
        key = self._key(shapes)
        network, fresh = self._kept(key), None
        if network is None:
            fresh = self._built(shapes)
            network = self._loaded(fresh.engine, key)
        weight = next(self._model.parameters())
        batch = trial.drawn_frame(self._model)[None].to(self._device, weight.dtype)
        with torch.inference_mode(), tensorrt.current(self._device):
            wrong = trial.difference(network, self._plain, batch)
        if wrong is not None:
            self._files.delete(key)
            raise Unbuildable(f"{wrong}; the engine was deleted")
        if fresh is not None:
            self._keep(key, fresh)
        return network

    def _kept(self, key: Key) -> Network | None:
        """The engine from the cache; None where there is none, or only one that had to be deleted."""
        try:
            engine = self._files.load(key)
            return None if engine is None else self._loaded(engine, key)
        except (BrokenEngine, Unbuildable) as error:
            self._tell(f"the engine {self._files.path(key)} cannot be used ({error}); it is deleted and built anew")
            self._files.delete(key)
            return None

    def _loaded(self, engine: bytes, key: Key) -> Network:
        # a file of kernels for each engine: who saves last would otherwise leave the others without theirs
        return tensorrt.load(engine, self._device, self._files.path(key).with_suffix(".kernels"))

    def _built(self, shapes: Shapes) -> _Built:
        self._tell(f"building the TensorRT engine for {shapes.name}, about a minute")
        begun = time.monotonic()
        return _Built(tensorrt.build(self._model, shapes, self._device), time.monotonic() - begun)

    def _keep(self, key: Key, fresh: _Built) -> None:
        """For the next run, now that it has proven right."""
        told = f"built in {fresh.seconds:.0f} s, {len(fresh.engine) / 1e6:.1f} MB"
        try:
            self._files.save(key, fresh.engine)
        except OSError as error:
            self._tell(f"{told}; it could not be kept for the next run ({error}); give another --cache-dir")
        else:
            self._tell(f"{told}, kept as {self._files.path(key)}")

    def _key(self, shapes: Shapes) -> Key:
        precision = str(next(self._model.parameters()).dtype)
        ranges = [shapes.low, shapes.best, shapes.high]
        about = {"weights": self._digest, "shapes": ranges, "precision": precision}
        return about | machine_key(self._device) | tensorrt.versions()
