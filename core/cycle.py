"""CCLGAN's cycle: two translators and the six pictures that they make of a rainy and a clean one."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class CyclePictures:
    """What the translators make, each (B, 3, H, W), -1..1.

    Attributes:
        derained: G_n of the rainy picture.
        rained: G_r of the clean picture.
        rainy_again: G_r of derained.
        clean_again: G_n of rained.
        same_clean: G_n of the clean picture.
        same_rainy: G_r of the rainy picture.
    """

    derained: Tensor
    rained: Tensor
    rainy_again: Tensor
    clean_again: Tensor
    same_clean: Tensor
    same_rainy: Tensor


class CycleTranslator(nn.Module):
    """Runs each translator twice instead of thrice: what does not depend on the other goes in one batch.

    Args:
        to_clean: G_n, rainy to clean.
        to_rainy: G_r, clean to rainy.
    """

    def __init__(self, to_clean: nn.Module, to_rainy: nn.Module) -> None:
        super().__init__()
        self.to_clean, self.to_rainy = to_clean, to_rainy

    def forward(self, rainy: Tensor, clean: Tensor) -> CyclePictures:
        """The six pictures of two unpaired ones, (B, 3, H, W), -1..1, of one size."""
        derained, same_clean = self.to_clean(torch.cat((rainy, clean))).chunk(2)
        rained, same_rainy = self.to_rainy(torch.cat((clean, rainy))).chunk(2)
        return CyclePictures(
            derained, rained, self.to_rainy(derained), self.to_clean(rained), same_clean, same_rainy
        )
