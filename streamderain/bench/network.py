"""Networks alone: ours as the engine runs them, and the published one as published and the way ours runs."""
from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamderain.bench import floor
from streamderain.bench.published import published
from streamderain.bench.timing import Times, in_turns
from streamderain.core.checkpoint import Generator, load_generator
from streamderain.core.colour import to_rgb
from streamderain.core.stream import mac_per_pixel
from streamderain.engine import cpu_has_bf16, resolve_device
from streamderain.engines import open_engine
from streamderain.frame import Frame
from streamderain.stages import stages_for

Call = Callable[[], object]

ROUNDS = 5
SECONDS = 60.0  # after so long no further round of all networks begins
_PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One weight file on one backend: what is known of it, and the names of its contenders."""

    about: dict[str, Any]
    layers: list[floor.Layer]
    own: Hashable
    fp32: Hashable
    eager: Hashable
    alike: Hashable


class Networks:
    """Weight files and backends that are timed in turns, the published network between them.

    Args:
        frames: at least 2; the networks look at the second, with the first in both slots.
        device: as a Derainer takes it.
        tell: takes the engines' announcements.
    """

    def __init__(self, frames: Sequence[Frame], device: str, tell: Callable[[str], None] | None = None) -> None:
        self._frames, self._device, self._tell = frames, resolve_device(device), tell
        self._entries: list[_Entry] = []
        self._published = published()
        self._calls: dict[Hashable, Call] = {_PUBLISHED: self._as_published()}
        self._shown: dict[Hashable, tuple[str, str]] = {}  # backend and precision that a contender really has

    def add(self, model: Path, backend: str, precision: str = "auto") -> bool:
        """Load a weight file for a backend, and the published network on the same backend beside it.

        Returns:
            Whether it is to be measured; False where this backend turned out to be one that was added before.

        Raises:
            DerainError: the backend or the precision does not work here.
        """
        network, metadata = load_generator(model)
        (kind, numbers), call = self._call(network, backend, precision)
        own, fp32, eager = ((model, *how) for how in ((kind, numbers), ("eager", "fp32"), ("eager", numbers)))
        if any(entry.own == own for entry in self._entries):
            return False
        self._calls[own] = call
        for name, how in ((fp32, "fp32"), (eager, numbers)):
            if name not in self._calls:
                self._calls[name] = self._call(network, "eager", how)[1]
        alike = _PUBLISHED, kind, _in_floats(numbers)
        if alike not in self._calls:
            self._shown[alike], self._calls[alike] = self._call(self._published, backend, _in_floats(numbers))
        about = {"profile": metadata["profile"], "backend": kind, "precision": numbers, **_size_of(network)}
        height, width = self._frames[1].height, self._frames[1].width
        layers = floor.count_layers(network, height, width, value_bytes=floor.DTYPES[numbers].itemsize)
        self._entries.append(_Entry(about, layers, own, fp32, eager, alike))
        return True

    def measure(self) -> list[dict[str, Any]]:
        """Time all of them.

        Returns:
            For each added pair, in order: "network", "published_nlcl" and "floor", see docs/speed.md.
        """
        precisions = sorted({entry.about["precision"] for entry in self._entries})
        before = {each: floor.measure_ceilings(self._device, each) for each in precisions}
        times = in_turns(self._calls, device=self._device, rounds=ROUNDS, seconds=SECONDS)
        after = {each: floor.measure_ceilings(self._device, each) for each in precisions}
        ceilings = {each: floor.higher(before[each], after[each]) for each in precisions}
        return [self._figures(entry, times, ceilings[entry.about["precision"]]) for entry in self._entries]

    def _call(self, network: Generator, backend: str, precision: str) -> tuple[tuple[str, str], Call]:
        """An engine's backend and precision, and its work on the second frame."""
        engine = open_engine(
            copy.deepcopy(network), self._device, backend=backend, precision=precision, tell=self._tell
        )
        stages, (first, second) = stages_for(engine, self._tell), self._frames[:2]
        if engine.companions:
            view, reference = stages.view(second, 1), stages.view(first, 1)
            slot = reference, stages.search(view, reference, None, 0)
            seen = stages.beside(view, (slot, slot))
        else:
            seen, _ = stages.alone(second, 1)
        return (engine.backend, engine.precision), partial(engine.rain, seen.to(engine.device))

    def _as_published(self) -> Call:
        """The released network by itself, as its authors run it."""
        plain = copy.deepcopy(self._published.network).to(self._device)
        rgb = torch.from_numpy(to_rgb(self._frames[1].planes, self._frames[1].format))
        return partial(_inferred, plain, rgb[None].to(self._device) / 127.5 - 1)

    def _figures(self, entry: _Entry, times: dict[Hashable, Times], ceilings: floor.Ceilings) -> dict[str, Any]:
        own, theirs, alike = times[entry.own], times[_PUBLISHED], times[entry.alike]
        fp32, eager = times[entry.fp32], times[entry.eager]
        backend, precision = self._shown[entry.alike]
        return {
            "network": {
                **entry.about, **own.as_dict(), "ms_fp32": fp32.median, "best_ms_fp32": fp32.best,
                "ms_eager": eager.median, "best_ms_eager": eager.best, "faster_than_eager": eager.median / own.median,
            },
            "published_nlcl": {
                **theirs.as_dict(), "backend": "eager", "precision": "fp32", **_size_of(self._published),
                "slower": theirs.median / own.median, "slower_best": theirs.best / own.best,
                "slower_fp32": theirs.median / fp32.median,
                "same": {
                    "backend": backend, "precision": precision, **alike.as_dict(),
                    "slower": alike.median / own.median, "slower_best": alike.best / own.best,
                },
            },
            "floor": floor.figures(entry.layers, ceilings, own.median, own.best),
        }  # fmt: skip


@torch.inference_mode()
def _inferred(work: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    return work(batch)


def _in_floats(precision: str) -> str:
    """The precision in which the published network, for which there are no bytes, comes nearest to ours."""
    if precision != "int8":
        return precision
    return "bf16" if cpu_has_bf16() else "fp32"


def _size_of(network: nn.Module) -> dict[str, int]:
    channels = getattr(network, "in_channels", 3)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"mac_per_pixel": round(mac_per_pixel(network, channels=channels)), "parameters": parameters}
