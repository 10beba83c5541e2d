"""The stream generator learns to undo rendered rain; it makes the weights that ship."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamderain.core.checkpoint import digest, load_generator, save_generator
from streamderain.core.growth import grow
from streamderain.core.int8 import calibrate
from streamderain.core.losses import SSIMLoss
from streamderain.core.stream import DOUBTFUL, ProfileName, StreamGenerator

from .clips import Clip
from .config import OptimConfig, TrainConfig
from .loop import Batch, Group, Player
from .pictures import apart
from .rendered import RenderedConfig, RenderedRain
from .unrolled import moved, unrolled
from .validation import SEED, psnr

VALIDATION_SAMPLES = 16
FILES = "start", "teacher"  # settings of the network that name weights
HALVED: tuple[ProfileName, ...] = ("quality",)  # weights of these are stored as float16: 8 MB in place of 17


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """network.*: the profile.

    Attributes:
        profile: widths and depths.
        start: weights to begin with, of this profile or a smaller one (core/growth.py); empty begins anew.
        teacher: weights, of a larger profile as a rule, whose layers are aimed at beside the truth; empty for none.
    """

    profile: ProfileName = "realtime"
    start: str = ""
    teacher: str = ""


@dataclass(frozen=True, slots=True)
class LossConfig:
    """loss.*: how far an estimated layer is from the rendered one.

    Attributes:
        squared_steps: steps at the start with a squared error: on sparse streaks L1 alone sits at "do nothing".
        squared: weight of the squared error beside Charbonnier's, which answers an uncertain streak with a part of it.
        edges: weight of the L1 distance of horizontal and vertical differences.
        steady: weight of the L1 distance of an error to the frame before's, where the first companion shows it.
        doubt: weight of the squared error of the doubt.
        ssim: weight of 1 - SSIM of the backgrounds' luma, which counts faint streaks over even ground.
        taught: share of the teacher's layer in what is aimed at (Hinton, Vinyals and Dean, 2015): where nothing tells
            rain from scene the truth is chance, and the teacher says what is likely.
    """

    squared_steps: int = 400
    squared: float = 12.0
    edges: float = 0.25
    ssim: float = 0.3
    steady: float = 0.3
    doubt: float = 0.05
    taught: float = 0.5


@dataclass(frozen=True, slots=True)
class StreamTrainingConfig:
    """Settings to begin from nothing: some hours of one core. The shipped weights came in stages: docs/weights.md."""

    data: RenderedConfig = field(default_factory=RenderedConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=16_000, batch_size=2, schedule="cosine", warmup=200, clip=1.0, ema=0.999, bf16=True
        )
    )
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4))
    loss: LossConfig = field(default_factory=LossConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


class StreamTraining:
    """Distances of the estimated from the rendered rain layer, and how alike the two backgrounds are.

    Charbonnier's and the squared error of the layers, the L1 distance of their gradients, and 1 - SSIM of the
    backgrounds, weighted by LossConfig; the layer's range is the frame's 0..1. A squared error alone begins
    (LossConfig.squared_steps).

    Args:
        config: network, losses, data.
        rainy: unused: rain is rendered.
        clean: clean material; every tenth clip is kept apart for the score.
    """

    name = "stream"
    config_type: ClassVar[type[Any]] = StreamTrainingConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, config: StreamTrainingConfig, rainy: list[Clip], clean: list[Clip]) -> None:
        torch.manual_seed(config.train.seed)
        self.config = config
        self.networks = self.exported = _generator(config.network)
        self.teacher = _teacher(config.network.teacher, config.train.device)
        given = {name: getattr(config.network, name) for name in FILES}
        self._beginning = {f"{name}_sha256": digest(Path(path)) for name, path in given.items() if path}
        self.ssim = SSIMLoss().to(config.train.device)
        self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        seen, unseen = apart(clean)
        self.samples = RenderedRain(seen, config.data, seed=config.train.seed)
        self.validation = RenderedRain(unseen, config.data, seed=SEED)
        self._kept: list[Batch] = []

    @property
    def players(self) -> tuple[Player, ...]:
        """The generator alone."""
        optim = self.config.optim
        return (Player((_everything(self.networks, optim),), self.generator_loss),)

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, Tensor, int]:
        """The network's answers (B, T, 4, C, C), the layer to aim at, and the step, which decides how they differ."""
        given = batch["input"], batch["before"], batch["tones"]
        return unrolled(self.networks, *given)[1], self._aim(batch), step

    @torch.no_grad()
    def _aim(self, batch: Batch) -> Tensor:
        """The rain (B, T, 3, C, C), a part of it as the teacher, beside its own answers, would estimate it."""
        if self.teacher is None:
            return batch["rain"]
        taught = unrolled(self.teacher, batch["input"], batch["before"], batch["tones"])[1][:, :, :3]
        return torch.lerp(batch["rain"], taught, self.config.loss.taught)

    def generator_loss(self, forwarded: tuple[Tensor, Tensor, int], batch: Batch) -> dict[str, Tensor]:
        """The terms of one batch."""
        answers, aim, step = forwarded
        estimate, doubt = answers[:, :, :3], answers[:, :, 3]
        errors, true_errors = estimate - aim, estimate - batch["rain"]
        if step < self.config.loss.squared_steps:
            return {"squared": 10 * errors.square().mean()}
        loss, rainy = self.config.loss, batch["input"][:, :, :3]
        vertical, horizontal = errors.diff(dim=-2).abs().mean(), errors.diff(dim=-1).abs().mean()
        derained, clean = ((rainy - layer).flatten(0, 1) for layer in (estimate, aim))
        return {
            "charbonnier": (errors.square() + 1e-6).sqrt().mean(),
            "squared": loss.squared * errors.square().mean(),
            "edges": loss.edges * (vertical + horizontal),
            "ssim": loss.ssim * self.ssim(_luma(derained), _luma(clean)),
            "steady": loss.steady * _unsteadiness(true_errors, batch["before"]),
            "doubt": loss.doubt * (doubt - _doubtful(true_errors)).square().mean(),
        }

    def watched(self, forwarded: tuple[Tensor, Tensor, int]) -> dict[str, Tensor]:
        """Nothing beside the losses."""
        return {}

    @torch.inference_mode()
    def scores(self, model: nn.Module) -> dict[str, float]:
        """Mean PSNR in dB of the background on samples never trained on, each capped at 60, and of the input."""
        score = untouched = 0.0
        samples = self._unseen()
        for sample in samples:
            estimates = self._unrolled(model, sample)[1].cpu()
            for rain, estimate in zip(sample["rain"], estimates, strict=True):
                nothing = torch.zeros_like(estimate)
                score += psnr(estimate - rain, nothing) / (len(samples) * len(estimates))
                untouched += psnr(rain, nothing) / (len(samples) * len(estimates))
        return {"score": score, "input": untouched}

    def save(self, path: Path, model: nn.Module, card: dict[str, Any]) -> None:
        """Write the generator, with the ranges that its int8 version needs."""
        assert isinstance(model, StreamGenerator)
        seen = (inputs for sample in self._unseen() for inputs in self._unrolled(model, sample)[0])
        model.ranges = calibrate(model, (functional.pixel_unshuffle(inputs, 2)[None] for inputs in seen))
        profile = self.config.network.profile
        card = _without_folders({"method": self.name, **card, **self._beginning})
        save_generator(path, model, profile=profile, card=card, half=profile in HALVED)

    @torch.inference_mode()
    def _unrolled(self, model: nn.Module, sample: Batch) -> tuple[Tensor, Tensor]:
        """A sample's inputs as the network sees them, and the layers that it estimates."""
        device = next(model.parameters()).device
        given = (sample[name][None].to(device) for name in ("input", "before", "tones"))
        inputs, answers = unrolled(model, *given)
        return inputs[0], answers[0, :, :3]

    def _unseen(self) -> list[Batch]:
        """The samples of the score, made once."""
        self._kept = self._kept or [self.validation[n] for n in range(VALIDATION_SAMPLES)]
        return self._kept


def _generator(config: NetworkConfig) -> StreamGenerator:
    """The network to train, started from weights where they are given."""
    network = StreamGenerator.from_profile(config.profile)
    if config.start:
        grow(_trained(config.start), network)
    return network


def _teacher(path: str, device: str) -> StreamGenerator | None:
    """The network that is learned from, its weights fixed."""
    if not path:
        return None
    teacher = _trained(path).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return teacher.eval().requires_grad_(False)


def _trained(path: str) -> StreamGenerator:
    """The stream generator of a file."""
    network, _ = load_generator(Path(path))
    if not isinstance(network, StreamGenerator):
        raise ValueError(f"{path} is no stream generator; give weights of `streamderain train stream`")
    return network


def _without_folders(card: dict[str, Any]) -> dict[str, Any]:
    """A card with files' names alone: weights travel, and where they were made is nobody's business."""
    config = card.get("config", {})
    names = {key: Path(config[key]).name for name in FILES if config.get(key := f"network.{name}")}
    return card | {"config": config | names} if names else card


def _unsteadiness(errors: Tensor, before: Tensor) -> Tensor:
    """How much errors (B, T, 3, H, W) differ from the same places' in the frame before: their flicker, ()."""
    if errors.shape[1] < 2:
        return errors.new_zeros(())
    earlier = moved(errors[:, :-1].flatten(0, 1), before[:, 1:].flatten(0, 1)).view_as(errors[:, 1:])
    known = (before[:, 1:, None] >= 0).expand_as(earlier)
    return torch.where(known, (errors[:, 1:] - earlier).abs(), 0).mean()


def _doubtful(errors: Tensor) -> Tensor:
    """What the doubt about a layer with errors (B, T, 3, H, W) should have been, (B, T, H, W) 0..1."""
    return (errors.detach().abs().mean(dim=2) / DOUBTFUL).clamp(max=1).sqrt()


def _luma(rgb: Tensor) -> Tensor:
    """BT.601 luma of (B, 3, H, W), (B, 1, H, W)."""
    return (rgb * rgb.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)


def _everything(network: nn.Module, optim: OptimConfig) -> Group:
    return Group(list(network.parameters()), optim.lr, optim.betas, optim.weight_decay)
