"""The plain terms of the published methods: adversarial, structural, consistency, sparsity, identity."""
from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .precision import full_precision

WINDOW, SIGMA = 11, 1.5


class GANLoss(nn.Module):
    """The adversarial game in the two forms that the methods play it.

    Args:
        mode: "lsgan" (Mao et al., ICCV 2017) or "hinge".
        generator_form: with hinge, "hinge" is CCLGAN's own max(0, 1 - D), which is silent once D is above 1; "linear"
            the usual -D.
    """

    def __init__(self, mode: Literal["lsgan", "hinge"], generator_form: Literal["hinge", "linear"] = "hinge") -> None:
        super().__init__()
        if mode not in ("lsgan", "hinge") or generator_form not in ("hinge", "linear"):
            raise ValueError(f"mode is {mode!r} and generator_form {generator_form!r}; see GANLoss")
        self.mode, self.generator_form = mode, generator_form

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half of what D gets wrong on both sides.

        Args:
            real, fake: logits (B, 1, H, W); fake of a detached picture.

        Returns:
            () float32.
        """
        real, fake = real.float(), fake.float()
        if self.mode == "lsgan":
            return 0.5 * ((real - 1).square().mean() + fake.square().mean())
        return 0.5 * (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean())

    def generator(self, fake: Tensor) -> Tensor:
        """How far D is from taking the fake for real, () float32, from logits (B, 1, H, W)."""
        fake = fake.float()
        if self.mode == "lsgan":
            return (fake - 1).square().mean()
        return functional.relu(1 - fake).mean() if self.generator_form == "hinge" else -fake.mean()


class SSIMLoss(nn.Module):
    """1 - SSIM (Wang et al., IEEE TIP 2004), per channel, 11x11 Gaussian of sigma 1.5, zero padding of 5.

    The padding is that of the training code; core/metrics.py, which scores, has none.

    Args:
        data_range: largest possible difference.
    """

    row: Tensor

    def __init__(self, data_range: float = 1.0) -> None:
        super().__init__()
        self.c1, self.c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        row = torch.exp(-((torch.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
        self.register_buffer("row", row / row.sum(), persistent=False)

    @full_precision
    def forward(self, picture: Tensor, truth: Tensor) -> Tensor:
        """() float32, 0 for equal pictures (B, C, H, W)."""
        picture, truth = picture.float(), truth.float()
        mean_a, mean_b = self._blur(picture), self._blur(truth)
        variance_a = self._blur(picture * picture) - mean_a * mean_a
        variance_b = self._blur(truth * truth) - mean_b * mean_b
        covariance = self._blur(picture * truth) - mean_a * mean_b
        likeness = (2 * mean_a * mean_b + self.c1) * (2 * covariance + self.c2)
        return 1 - (likeness / ((mean_a**2 + mean_b**2 + self.c1) * (variance_a + variance_b + self.c2))).mean()

    def _blur(self, x: Tensor) -> Tensor:
        """Two products with band matrices: the gradient of a wide convolution of one channel is slow on a CPU."""
        down, across = (self._band(extent) for extent in x.shape[-2:])
        return down @ x @ across

    def _band(self, extent: int) -> Tensor:
        """(extent, extent), whose row n holds the window's weights around n; symmetric."""
        place = torch.arange(extent, device=self.row.device)
        apart = (place[:, None] - place).abs()
        return torch.where(apart <= WINDOW // 2, self.row[(WINDOW // 2 + apart).clamp(max=WINDOW - 1)], 0.0)


class ConsistencyLoss(nn.Module):
    """mean (B + R - O)^2: the two layers add up to the picture (NLCL's self-consistency)."""

    def forward(self, background: Tensor, rain: Tensor, rainy: Tensor) -> Tensor:
        """() float32 from three (B, 3, H, W) of one range."""
        return (background.float() + rain.float() - rainy).square().mean()


class SparsityLoss(nn.Module):
    """mean |R|: rain covers little of the picture."""

    def forward(self, rain: Tensor) -> Tensor:
        """() float32 from a rain layer or a residual, (B, 3, H, W)."""
        return rain.float().abs().mean()


class IdentityLoss(nn.Module):
    """mean |G(x) - x|: a picture that is already of the target domain stays as it is."""

    def forward(self, mapped: Tensor, picture: Tensor) -> Tensor:
        """() float32 from two (B, 3, H, W)."""
        return (mapped.float() - picture).abs().mean()
