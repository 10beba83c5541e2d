"""The one training loop: the only caller of zero_grad, backward and step. Resume equals no pause."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from streamderain.core.checkpoint import CheckpointError, load_tensors, save_tensors

Batch = dict[str, Tensor]
STATE = "training.safetensors"


class Method(Protocol):
    """What a training method owes the loop."""

    @property
    def model(self) -> nn.Module:
        """What is trained and kept as an exponential moving average."""
        ...

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Named terms that the loop adds up, each () float32."""
        ...

    def score(self, model: nn.Module) -> float:
        """Quality of a model on data kept apart, larger is better."""
        ...

    def save(self, path: Path, model: nn.Module, card: dict[str, Any]) -> None:
        """Write the weights that a user loads."""
        ...


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How long and how fast; the defaults made the shipped weights.

    Attributes:
        steps: optimiser steps in all.
        batch: samples for each step.
        lr: peak learning rate of AdamW, reached after warmup steps, then a cosine down to a hundredth.
        warmup: steps of linear rise.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        ema: decay of the moving average that is evaluated and saved.
        checkpoint_every: steps between writing the state, and between evaluations.
        workers: processes that make samples; 0 makes them in the loop.
        bf16: autocast the networks to bfloat16; losses stay in float32.
        seed: of initialisation and data.
        device: where to train.
    """

    steps: int = 20_000
    batch: int = 8
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    checkpoint_every: int = 500
    workers: int = 0
    bf16: bool = True
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class Progress:
    """What the loop reports after a step.

    Attributes:
        step, steps: done and in all.
        losses: this step's terms.
        steps_per_second: since the loop began or resumed.
        score: of the moving average, where this step ended with an evaluation.
    """

    step: int
    steps: int
    losses: dict[str, float]
    steps_per_second: float
    score: float | None = None


def train(
    method: Method,
    samples: Dataset[Batch],
    config: LoopConfig,
    out: Path,
    *,
    on_step: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Train until the last step, or until stop() says so; the state is on disk whenever this returns.

    Args:
        method: what to train.
        samples: sample n must depend on n alone; sample step * batch + i is the i-th of that step.
        config: how.
        out: holds last.safetensors, best.safetensors and the state; an unfinished run in it is continued.
        on_step: told after every step.
        stop: asked after every step.

    Returns:
        The best score so far.

    Raises:
        ValueError: the loss is not finite.
        CheckpointError: the state in out is damaged or of another network.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(method, config, out)
    began, first = time.monotonic(), run.step
    for batch in _batches(samples, config, run.step):
        terms = run.advance({name: value.to(config.device, non_blocking=True) for name, value in batch.items()})
        ended = run.step >= config.steps or stop()
        score = run.checkpoint() if ended or run.step % config.checkpoint_every == 0 else None
        rate = (run.step - first) / max(time.monotonic() - began, 1e-9)
        on_step(Progress(run.step, config.steps, terms, rate, score))
        if ended:
            break
    return run.best


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine from lr to lr / 100."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1))))


class _Run:
    """Everything that a resumed run needs: weights, their average, the optimiser, the step, the best score."""

    def __init__(self, method: Method, config: LoopConfig, out: Path) -> None:
        self.method, self.config, self.out = method, config, out
        method.model.to(config.device)
        self.average = {name: value.detach().clone() for name, value in method.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(method.model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.step, self.best = 0, -math.inf
        if (out / STATE).exists():
            self._load()

    def advance(self, batch: Batch) -> dict[str, float]:
        """One optimiser step."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        with torch.autocast(self.config.device.split(":")[0], dtype=torch.bfloat16, enabled=self.config.bf16):
            terms = self.method.losses(batch, self.step)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            raise ValueError(f"the loss is {total.item()} at step {self.step}; lower the learning rate")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.method.model.parameters(), self.config.clip)
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.method.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)
        return {name: float(term.detach()) for name, term in terms.items()}

    def checkpoint(self) -> float:
        """Score the average, write it and the state."""
        current = {name: value.clone() for name, value in self.method.model.state_dict().items()}
        self.method.model.load_state_dict(self.average)
        score = self.method.score(self.method.model)
        card = {"steps": self.step, "batch": self.config.batch, "seed": self.config.seed, "score": round(score, 3)}
        self.method.save(self.out / "last.safetensors", self.method.model, card)
        if score > self.best:
            self.best = score
            self.method.save(self.out / "best.safetensors", self.method.model, card)
        self.method.model.load_state_dict(current)
        self._save()
        return score

    def _save(self) -> None:
        tensors = {f"model.{name}": value for name, value in self.method.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        best = self.best if math.isfinite(self.best) else None
        save_tensors(self.out / STATE, tensors, {"step": self.step, "best": best, "seed": self.config.seed})

    def _load(self) -> None:
        tensors, metadata = load_tensors(self.out / STATE)
        part = {
            kind: {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(f"{kind}.")}
            for kind in ("model", "average", "optimiser")
        }
        self._check(part, metadata)
        self.method.model.load_state_dict(part["model"])
        self.average = {name: value.to(self.config.device) for name, value in part["average"].items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part["optimiser"].items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.step = int(metadata["step"])
        self.best = -math.inf if metadata["best"] is None else float(metadata["best"])

    def _check(self, part: dict[str, dict[str, Tensor]], metadata: dict[str, Any]) -> None:
        shapes = {name: value.shape for name, value in self.average.items()}
        if not {"step", "best"} <= metadata.keys():
            raise CheckpointError(f"{self.out / STATE} is no state of a training run")
        for kind in ("model", "average"):
            if {name: value.shape for name, value in part[kind].items()} != shapes:
                raise CheckpointError(f"{self.out / STATE} is the state of another network")


def _batches(samples: Dataset[Batch], config: LoopConfig, first: int) -> Iterator[Batch]:
    """Batches of the remaining steps, in order."""
    order = range(first * config.batch, config.steps * config.batch)
    loader: DataLoader[Batch] = DataLoader(
        samples,
        batch_size=config.batch,
        sampler=order,
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        persistent_workers=config.workers > 0,
    )
    return iter(loader)
