"""What is done when the device's memory is full: free the cache, then tiles, then the CPU. Each is told once."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from streamderain.core.checkpoint import Generator
from streamderain.core.stream import StreamGenerator, reach_px
from streamderain.errors import DerainError
from streamderain.tiles import in_tiles, squeezed_in_tiles

RainOf = Callable[[Tensor], Tensor]
TILES_PX = (1024, 512, 256)
FREED = "the memory of {device} was full; freed what torch had kept of it and tried again"
TILED = "the memory of {device} is full; the network runs in tiles of {tile} pixels, eagerly"
MOVED = "the memory of {device} is full; the network runs on the CPU"


class Careful:
    """Runs the network on whole frames for as long as the memory lasts, and otherwise as well as it can.

    A network that normalises over the whole picture cannot be cut into tiles: it goes to the CPU at once.

    Args:
        whole: what takes a frame, on any device, and returns its rain layer on `device`.
        plain: the same without a compiled network, for tiles; takes `said` as StreamGenerator.from_blocks does.
        features: StreamGenerator.before_context of a tile.
        model: the network itself, whose copy runs on the CPU.
        device: the one whose memory may be full.
        on_cpu: makes of a network on the CPU what `whole` is on the device.
        tell: takes one line.
    """

    def __init__(
        self, whole: RainOf, plain: Callable[..., Tensor], features: RainOf, model: Generator, device: str, *,
        on_cpu: Callable[[Generator], RainOf], tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._whole, self._plain, self._features, self._model, self._device = whole, plain, features, model, device
        self._on_cpu, self._tell = on_cpu, tell
        self._tile: int | None = None  # pixels, once a whole frame did not fit
        self._cpu: RainOf | None = None
        self._told_freed = False

    def __call__(self, seen: Tensor) -> Tensor:
        """Estimate the rain layer of one frame.

        Args:
            seen: see Engine.rain.

        Returns:
            What Engine.rain returns.

        Raises:
            DerainError: not even the frame itself has room on the device.
        """
        if self._cpu is not None:
            return self._from_cpu(seen)
        if self._tile is None and (rain := self._at_once(seen)) is not None:
            return rain
        if isinstance(self._model, StreamGenerator) and (rain := self._by_tiles(seen, self._model)) is not None:
            return rain
        self._tell(MOVED.format(device=self._device))
        # in float32, which every processor runs; the halves' rounding stays in the weights. Moved, for a full device
        # has no room for a copy either, and this was its last use there
        self._cpu = self._on_cpu(self._model.cpu().float())
        return self._from_cpu(seen)

    def _at_once(self, seen: Tensor) -> Tensor | None:
        rain = self._unless_full(self._whole, seen)
        if rain is None:
            rain = self._unless_full(self._whole, seen)
            if rain is not None and not self._told_freed:
                self._told_freed = True
                self._tell(FREED.format(device=self._device))
        return rain

    def _by_tiles(self, seen: Tensor, model: StreamGenerator) -> Tensor | None:
        """In the tiles that fitted last, or the largest that do now; None where none does."""
        halo, longest = reach_px(model.config), 2 * max(seen.shape[1:])
        for tile in TILES_PX:
            if tile <= 2 * halo or (tile >= longest if self._tile is None else tile > self._tile):
                continue
            rain = self._unless_full(partial(self._tiled, model, tile=tile, halo=halo), seen)
            if rain is not None:
                if tile != self._tile:
                    self._tile = tile
                    self._tell(TILED.format(device=self._device, tile=tile))
                return rain
        return None

    def _tiled(self, model: StreamGenerator, seen: Tensor, *, tile: int, halo: int) -> Tensor:
        """In tiles of one size, each with what the whole frame says."""
        rain_of: RainOf = self._plain
        if model.context is not None:
            means = squeezed_in_tiles(self._features, seen, tile, halo)
            rain_of = partial(self._plain, said=model.context(means.to(model.context.say.weight.dtype)))
        return in_tiles(rain_of, seen, tile, halo, self._device)

    def _from_cpu(self, seen: Tensor) -> Tensor:
        assert self._cpu is not None
        rain = self._cpu(seen)
        try:
            return rain.to(self._device)
        except torch.OutOfMemoryError:
            line = f"the memory of {self._device} has no room for a single frame; close what else uses it, or use"
            raise DerainError(f"{line} --device cpu") from None

    def _unless_full(self, rain_of: RainOf, seen: Tensor) -> Tensor | None:
        """The result; None where the memory was full, and what the attempt and torch's cache held is free then."""
        try:
            return rain_of(seen)
        except torch.OutOfMemoryError:
            pass  # freed below: within the handler the traceback still holds what the attempt had made
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
        return None
