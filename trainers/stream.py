"""The stream generator learns to undo rendered rain; it makes the weights that ship."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamderain.core.checkpoint import save_generator
from streamderain.core.stream import ProfileName, StreamGenerator

from .clips import Clip
from .loop import Batch
from .rendered import RenderedConfig, RenderedRain

VALIDATION_SEED = 2**31
VALIDATION_SAMPLES = 48


@dataclass(frozen=True, slots=True)
class StreamTrainingConfig:
    """What is trained and with which loss.

    Attributes:
        profile: the network.
        squared_steps: steps at the start with a squared error: on sparse streaks L1 alone sits at "do nothing".
        edges: weight of the L1 distance of horizontal and vertical differences.
    """

    profile: ProfileName = "realtime"
    squared_steps: int = 400
    edges: float = 0.25


class StreamTraining:
    """Charbonnier distance between the estimated and the rendered rain layer, and between their gradients.

    The layer's range is the frame's 0..1; a squared error begins (StreamTrainingConfig.squared_steps).

    Args:
        config: network and loss.
        clips: clean material; every tenth is kept apart for the score.
        rendered: what samples are made of.
        seed: of the initial weights.
    """

    def __init__(self, config: StreamTrainingConfig, clips: list[Clip], rendered: RenderedConfig, *, seed: int) -> None:
        torch.manual_seed(seed)
        self.config = config
        self.model = StreamGenerator.from_profile(config.profile)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self.clips = [clip for n, clip in enumerate(clips) if n % 10 or len(clips) < 10]
        apart = clips[::10] if len(clips) >= 10 else clips
        self.validation = RenderedRain(apart, rendered, seed=VALIDATION_SEED, length=VALIDATION_SAMPLES)
        self._kept: list[Batch] = []

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        estimate = self.model(batch["input"].contiguous(memory_format=torch.channels_last)).float()
        error = estimate - batch["rain"]
        if step < self.config.squared_steps:
            return {"squared": 10 * error.square().mean()}
        vertical, horizontal = error.diff(dim=-2).abs().mean(), error.diff(dim=-1).abs().mean()
        return {
            "charbonnier": (error.square() + 1e-6).sqrt().mean(),
            "edges": self.config.edges * (vertical + horizontal),
        }

    @torch.inference_mode()
    def score(self, model: nn.Module) -> float:
        """Mean PSNR in dB of the background on samples never trained on, each capped at 60."""
        self._kept = self._kept or [self.validation[n] for n in range(len(self.validation))]
        device = next(model.parameters()).device
        total = 0.0
        for sample in self._kept:
            estimate = model(sample["input"][None].to(device))[0].float().cpu()
            mean_square = float((estimate - sample["rain"]).square().mean())
            total += min(-10 * torch.log10(torch.tensor(max(mean_square, 1e-9))).item(), 60.0)
        return total / len(self._kept)

    def save(self, path: Path, model: nn.Module, card: dict[str, Any]) -> None:
        assert isinstance(model, StreamGenerator)
        save_generator(path, model, profile=self.config.profile, card={"method": "stream", **card})
