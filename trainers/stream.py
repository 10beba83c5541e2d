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
HALVED: tuple[ProfileName, ...] = ("quality",)  # weights of these are stored as float16: 8 MB in place of 17


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """network.*: the profile.

    Attributes:
        profile: widths and depths.
        start: weights to begin with, of this profile or a smaller one (core/growth.py); empty begins anew.
    """

    profile: ProfileName = "realtime"
    start: str = ""


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
    """

    squared_steps: int = 400
    squared: float = 12.0
    edges: float = 0.25
    ssim: float = 0.3
    steady: float = 0.3
    doubt: float = 0.05


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
        self._beginning = {"start_sha256": digest(Path(config.network.start))} if config.network.start else {}
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

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, int]:
        """The network's answers (B, T, 4, C, C), and the step, which decides how they are measured."""
        return unrolled(self.networks, batch["input"], batch["before"], batch["tones"])[1], step

    def generator_loss(self, forwarded: tuple[Tensor, int], batch: Batch) -> dict[str, Tensor]:
        """The terms of one batch."""
        answers, step = forwarded
        estimate, doubt = answers[:, :, :3], answers[:, :, 3]
        errors = estimate - batch["rain"]
        if step < self.config.loss.squared_steps:
            return {"squared": 10 * errors.square().mean()}
        loss, rainy = self.config.loss, batch["input"][:, :, :3]
        vertical, horizontal = errors.diff(dim=-2).abs().mean(), errors.diff(dim=-1).abs().mean()
        derained, clean = ((rainy - layer).flatten(0, 1) for layer in (estimate, batch["rain"]))
        return {
            "charbonnier": (errors.square() + 1e-6).sqrt().mean(),
            "squared": loss.squared * errors.square().mean(),
            "edges": loss.edges * (vertical + horizontal),
            "ssim": loss.ssim * self.ssim(_luma(derained), _luma(clean)),
            "steady": loss.steady * _unsteadiness(errors, batch["before"]),
            "doubt": loss.doubt * (doubt - _doubtful(errors)).square().mean(),
        }

    def watched(self, forwarded: tuple[Tensor, int]) -> dict[str, Tensor]:
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
        card = _without_folder({"method": self.name, **card, **self._beginning})
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
        start, _ = load_generator(Path(config.start))
        if not isinstance(start, StreamGenerator):
            raise ValueError(f"{config.start} is no stream generator; give weights of `streamderain train stream`")
        grow(start, network)
    return network


def _without_folder(card: dict[str, Any]) -> dict[str, Any]:
    """A card whose start is a file's name alone: weights travel, and where they were made is nobody's business."""
    start = card.get("config", {}).get("network.start")
    return card | {"config": card["config"] | {"network.start": Path(start).name}} if start else card


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
