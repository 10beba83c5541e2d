"""The one training loop: the only caller of zero_grad, backward and step. Resume equals no pause."""
from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from .batches import Batch, batches
from .config import TrainConfig
from .distributed import World
from .schedule import rate_factor
from .state import Snapshot, load_newest, save

Scores = dict[str, float]
BEST, LAST = "best.safetensors", "last.safetensors"


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share an Adam of their own.

    Attributes:
        parameters: what it moves.
        lr: peak learning rate.
        betas: decay of Adam's averages.
        weight_decay: decoupled where `decoupled` (AdamW), else a penalty as in Adam's own.
        decoupled: see weight_decay.
    """

    parameters: list[nn.Parameter]
    lr: float
    betas: tuple[float, float]
    weight_decay: float = 0.0
    decoupled: bool = True


@dataclass(frozen=True, slots=True)
class Player:
    """One side of a game, moving in its turn while the others hold still.

    Attributes:
        groups: what it may move. A parameter that stands in no player's group never moves.
        losses: from what forward returned and the batch to named terms, each () float32, which the loop adds up.
        first_step: it does not move before this step.
    """

    groups: tuple[Group, ...]
    losses: Callable[[Any, Batch], dict[str, Tensor]]
    first_step: int = 0


class Method(Protocol):
    """What a training method owes the loop."""

    @property
    def networks(self) -> nn.Module:
        """All that has weights; the state holds it."""
        ...

    @property
    def exported(self) -> nn.Module:
        """The derainer among it: averaged, scored and saved for use."""
        ...

    @property
    def players(self) -> tuple[Player, ...]:
        """Who moves, in the order of a step."""
        ...

    def forward(self, batch: Batch, step: int) -> Any:
        """What all players look at, computed once."""
        ...

    def watched(self, forwarded: Any) -> dict[str, Tensor]:
        """Figures worth logging that are no losses, each () float32."""
        ...

    def scores(self, model: nn.Module) -> Scores:
        """Quality on data kept apart; "score" decides which weights are best, larger is better."""
        ...

    def save(self, path: Path, model: nn.Module, card: dict[str, Any]) -> None:
        """Write the weights that a user loads."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What the loop reports after a step.

    Attributes:
        step, steps: done and in all.
        losses: this step's terms, means over all processes.
        watched: other figures.
        steps_per_second: since the loop began or resumed, scoring left out.
        scores: of the exported network, where this step ended with a checkpoint.
        best: whether that was the best so far.
    """

    step: int
    steps: int
    losses: dict[str, float]
    watched: dict[str, float]
    steps_per_second: float
    scores: Scores | None = None
    best: bool = False


def train(
    method: Method,
    samples: Dataset[Batch],
    config: TrainConfig,
    out: Path,
    *,
    world: World | None = None,
    card: dict[str, Any] | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> float:
    """Train until the last step, or until stop() says so; the state is on disk whenever this returns.

    Args:
        method: what to train.
        samples: sample n must depend on n alone; step s takes the world.size * batch_size samples from
            s * world.size * batch_size on, and each process its part of them.
        config: how; steps must be given.
        out: holds last.safetensors, best.safetensors and state/; an unfinished run in it is continued.
        world: the processes that train together.
        card: written into the weights, beside steps and scores.
        on_step: told after every step, in the first process.
        stop: asked after every step.
        say: told what happened to a state that cannot be read.

    Returns:
        The best score so far.

    Raises:
        ValueError: no steps given, or the loss is not finite.
        CheckpointError: no state in out can be read, or it is of another network.
    """
    world = world or World()
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(method, config, out, world, card or {}, say)
    spent, first = 0.0, run.step
    began = time.monotonic()
    for batch in batches(samples, config, world, run.step):
        losses, watched = run.advance({name: value.to(config.device) for name, value in batch.items()})
        ended = world.any(run.step >= run.steps or stop())
        spent += time.monotonic() - began
        before = run.best
        scores = run.checkpoint() if ended or run.step % config.checkpoint_every == 0 else None
        if world.first:
            rate = (run.step - first) / max(spent, 1e-9)
            on_step(Progress(run.step, run.steps, losses, watched, rate, scores, run.best > before))
        began = time.monotonic()
        if ended:
            break
    return run.best


class _Run:
    """Everything that a resumed run needs: weights, their average, the optimisers, the step, the best score."""

    def __init__(
        self, method: Method, config: TrainConfig, out: Path, world: World, card: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        if config.steps is None:
            raise ValueError("steps is not given")
        self.method, self.config, self.out, self.world, self.card = method, config, out, world, card
        self.steps = config.steps
        method.networks.to(config.device)
        self.players = method.players
        self.optimisers = [[_optimiser(group) for group in player.groups] for player in self.players]
        self.step, self.best = 0, -math.inf
        self.average = {name: value.detach().clone() for name, value in method.exported.state_dict().items()}
        if snapshot := load_newest(out, say):
            snapshot.restore(method.networks, self._flat(), self.average)
            self.step, self.best = snapshot.step, snapshot.best

    def advance(self, batch: Batch) -> tuple[dict[str, float], dict[str, float]]:
        """One step of every player; their losses, and what else is watched."""
        method, device = self.method, self.config.device.split(":")[0]
        moving = [pair for pair in zip(self.players, self.optimisers, strict=True) if self.step >= pair[0].first_step]
        _let_move(method.networks, [group for player, _ in moving for group in player.groups])
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.config.bf16):
            forwarded = method.forward(batch, self.step)
        factor = rate_factor(self.step, self.config)
        terms: dict[str, Tensor] = {}
        for player, optimisers in moving:
            _let_move(method.networks, list(player.groups))
            with torch.autocast(device, dtype=torch.bfloat16, enabled=self.config.bf16):
                losses = player.losses(forwarded, batch)
            self._move(torch.stack(list(losses.values())).sum(), player, optimisers, factor)
            terms |= losses
        self.step += 1
        self._follow()
        watched = method.watched(forwarded)
        figures = self.world.mean(terms | watched)
        return {name: figures[name] for name in terms}, {name: figures[name] for name in watched}

    def checkpoint(self) -> Scores | None:
        """Score the exported network, write it and the state; in the first process only."""
        scores = self._write() if self.world.first else None
        self.world.wait()
        return scores

    def _move(
        self, total: Tensor, player: Player, optimisers: list[torch.optim.Optimizer], factor: float
    ) -> None:
        if not torch.isfinite(total):
            raise ValueError(f"the loss is {total.item()} at step {self.step}; lower the learning rate")
        parameters = list({id(p): p for group in player.groups for p in group.parameters}.values())
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.world.average_gradients(parameters)
        if self.config.clip:
            nn.utils.clip_grad_norm_(parameters, self.config.clip)
        for optimiser, group in zip(optimisers, player.groups, strict=True):
            for each in optimiser.param_groups:
                each["lr"] = group.lr * factor
            optimiser.step()

    def _follow(self) -> None:
        """Move the average towards the weights; what is no real number, such as a counter, is taken as it is."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step)) if self.config.ema else 0.0
        for name, value in self.method.exported.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _write(self) -> Scores:
        model = self.method.exported
        current = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        model.eval()
        scores = {name: round(value, 4) for name, value in self.method.scores(model).items()}
        card = self.card | {"steps": self.step, "score": scores["score"], "scores": scores}
        self.method.save(self.out / LAST, model, card)
        if scores["score"] > self.best:
            self.best = scores["score"]
            self.method.save(self.out / BEST, model, card)
        model.load_state_dict(current)
        self.method.networks.train()
        save(self.out, Snapshot.of(self.method.networks, self._flat(), self.average, step=self.step, best=self.best))
        return scores

    def _flat(self) -> list[torch.optim.Optimizer]:
        return list(itertools.chain.from_iterable(self.optimisers))


def _optimiser(group: Group) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if group.decoupled else torch.optim.Adam
    return kind(group.parameters, lr=group.lr, betas=group.betas, weight_decay=group.weight_decay)


def _let_move(networks: nn.Module, groups: list[Group]) -> None:
    """Ask for gradients of these groups' parameters and of no others."""
    moving = {id(parameter) for group in groups for parameter in group.parameters}
    for parameter in networks.parameters():
        parameter.requires_grad_(id(parameter) in moving)
