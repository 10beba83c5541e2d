"""Contrastive regularisation by ratios: near the positive, far from the negatives, measured in some encoder's space."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Reduction = Literal["ratio_of_sums", "sum_of_ratios", "mean_over_locations"]


class ContrastiveRatioLoss(nn.Module):
    """(sum_a d(a, p) + pair * d(a, a')) / (sum_a sum_n weight_n * d(a, n) + eps), d the mean absolute difference.

    "ratio_of_sums" divides two sums over weighted levels (RDMC, after AECR-Net, CVPR 2021); "sum_of_ratios" adds
    weighted ratios of each level, per picture (CCLGAN's intra-CCL); "mean_over_locations" averages the ratios of all
    levels and sampled places (CCLGAN's inter-CCL).

    Args:
        weights: one for each level.
        reduction: see above.
        negative_weights: one for each negative.
        pair: weight of the distance between two anchors.
        eps: keeps the ratio finite where anchor and negatives coincide.
    """

    def __init__(
        self,
        weights: Sequence[float],
        reduction: Reduction,
        *,
        negative_weights: Sequence[float] = (1.0,),
        pair: float = 0.0,
        eps: float = 1e-7,
    ) -> None:
        super().__init__()
        if reduction not in ("ratio_of_sums", "sum_of_ratios", "mean_over_locations"):
            raise ValueError(f"reduction is {reduction!r}; see ContrastiveRatioLoss")
        self.weights, self.negative_weights = tuple(weights), tuple(negative_weights)
        self.reduction, self.pair, self.eps = reduction, pair, eps

    def forward(
        self, anchors: Sequence[list[Tensor]], positive: list[Tensor], negatives: Sequence[list[Tensor]]
    ) -> Tensor:
        """The loss of features; detach those that shall not move.

        Args:
            anchors: one or two lists of levels, each (B, ...).
            positive: levels of the same shapes.
            negatives: one list of levels for each of negative_weights.

        Returns:
            () float32.

        Raises:
            ValueError: levels or negatives that were not announced.
        """
        levels = {len(each) for each in (*anchors, positive, *negatives)}
        if len(negatives) != len(self.negative_weights) or levels != {len(self.weights)}:
            raise ValueError(
                f"{len(negatives)} negatives of {len(positive)} levels; there must be {len(self.negative_weights)} of "
                f"{len(self.weights)}"
            )
        near = [self._near([anchor[level] for anchor in anchors], positive[level]) for level in range(len(positive))]
        far = [
            sum_of(
                weight * self._distance(anchor[level], negative[level])
                for anchor in anchors for weight, negative in zip(self.negative_weights, negatives, strict=True)
            )
            for level in range(len(positive))
        ]  # fmt: skip
        if self.reduction == "ratio_of_sums":
            return self._weighted(near) / (self._weighted(far) + self.eps)
        ratios = [(a / (b + self.eps)).mean() for a, b in zip(near, far, strict=True)]
        total = self._weighted(ratios)
        return total / sum(self.weights) if self.reduction == "mean_over_locations" else total

    def _near(self, anchors: Sequence[Tensor], positive: Tensor) -> Tensor:
        total = sum_of(self._distance(anchor, positive) for anchor in anchors)
        return total + self.pair * self._distance(*anchors) if len(anchors) == 2 and self.pair else total

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        """() over the batch, (B,) per picture, or (B, N) per place, as the reduction wants it."""
        apart = (a.float() - b.float()).abs()
        if self.reduction == "ratio_of_sums":
            return apart.mean()
        return apart.mean(-1) if self.reduction == "mean_over_locations" else apart.flatten(1).mean(1)

    def _weighted(self, levels: Sequence[Tensor]) -> Tensor:
        return sum_of(weight * level for weight, level in zip(self.weights, levels, strict=True))


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape."""
    return torch.stack(list(terms)).sum(0)
