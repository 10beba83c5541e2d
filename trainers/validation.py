"""Scores of a derainer while it trains, on pairs that are never trained on."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .clips import Clip
from .pictures import DataConfig, Pictures

SEED = 2**31
SAMPLES = 48
MOST_DB = 60.0  # what a perfect answer counts


class Validation:
    """Fixed pairs that every score is taken on.

    Args:
        clips: kept apart: pairs where the training learns from pairs, else clean ones, which drawn rain is laid over.
        data: of the training; its crops, rain and pairs are those of the score.
        count: how many samples.
    """

    def __init__(self, clips: list[Clip], data: DataConfig, count: int | None = None) -> None:
        paired = data.pairing == "paired"
        config = DataConfig(
            pairing="paired" if paired else "rendered", range=(0, 1), crop_size=data.crop_size,
            rain_brightness=data.rain_brightness,
        )  # fmt: skip
        self._pairs = Pictures(clips if paired else [], [] if paired else clips, config, seed=SEED)
        self._count = SAMPLES if count is None else count
        self._kept: list[tuple[Tensor, Tensor]] = []

    @torch.inference_mode()
    def scores(self, derainer: nn.Module) -> dict[str, float]:
        """Mean PSNR in dB on RGB, each at most 60, of the background ("score") and of the untouched input ("input").

        Args:
            derainer: from (1, 3, H, W) of 0..1 to its rain layer.
        """
        self._kept = self._kept or [(s["rainy"], s["clean"]) for s in map(self._pairs.__getitem__, range(self._count))]
        device = next(derainer.parameters()).device
        found = []
        for rainy, clean in self._kept:
            rain = derainer(rainy[None].to(device))[0].float().cpu()
            found.append((psnr((rainy - rain).clamp(0, 1), clean), psnr(rainy, clean)))
        score, untouched = np.mean(found, axis=0)
        return {"score": float(score), "input": float(untouched)}


def psnr(picture: Tensor, truth: Tensor) -> float:
    """PSNR in dB of pictures of a range of 1, at most 60."""
    mean_square = float((picture - truth).square().mean())
    return min(-10 * float(np.log10(max(mean_square, 1e-9))), MOST_DB)
