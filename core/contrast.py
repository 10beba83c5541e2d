"""Contrastive losses over sampled patches, all of them one computation: a masked softmax over similarities.

Vectors come as (B, N, D), of unit length along D, so that an inner product is a cosine. Every loss is the mean over
the batch and works in float32.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .generators import xavier
from .precision import full_precision

Aggregation = Literal["outside", "inside", "pairwise"]


class ProjectionHead(nn.Module):
    """Linear - ReLU - Linear - unit length, one for each level of features (MoCo's and CUT's head).

    Args:
        in_channels: of the levels; known before training, so that the heads are saved and trained.
        dim: of the embeddings.
    """

    def __init__(self, in_channels: Sequence[int], dim: int = 256) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, dim), nn.ReLU(), nn.Linear(dim, dim)) for channels in in_channels
        )
        xavier(self)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Embed the sampled features of each level.

        Args:
            features: one (B, N, C) per level.

        Returns:
            One (B, N, dim) float32 per level, unit length.

        Raises:
            ValueError: another number of levels.
        """
        if len(features) != len(self.levels):
            raise ValueError(f"{len(features)} levels of features for a head of {len(self.levels)}")
        return [unit(level(each)) for level, each in zip(self.levels, features, strict=True)]


def unit(vectors: Tensor) -> Tensor:
    """Vectors divided by their length along the last axis, float32."""
    vectors = vectors.float()
    return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-7)


class PatchNCELoss(nn.Module):
    """Pull each patch of the output towards the input patch at its place, away from others.

    InfoNCE over patches (Park et al., ECCV 2020); NLCL calls it location contrast, CCLGAN LCL.

    Args:
        temperature: divides the similarities, > 0.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature

    @full_precision
    def forward(
        self, query: Tensor, key: Tensor, pool: Tensor | None = None, negative: Tensor | None = None
    ) -> Tensor:
        """The loss of one level.

        Args:
            query: (B, S, D), embeddings of the output.
            key: (B, S, D), of the input at the same places; detached here.
            pool: (B, P, D), where negatives come from; detached here. None: the other keys of the same picture.
            negative: (B, S, P) bool, which of the pool are negatives of which query.

        Returns:
            () float32; ln S for S equal vectors.

        Raises:
            ValueError: shapes that do not belong together.
        """
        if query.shape != key.shape or (pool is None) != (negative is None):
            raise ValueError(f"query is {tuple(query.shape)}, key {tuple(key.shape)}; a pool needs its mask")
        key = key.detach()
        own = (query * key).sum(-1, keepdim=True)  # (B, S, 1)
        S = query.shape[1]
        if pool is None or negative is None:
            pool, negative = key, ~torch.eye(S, dtype=torch.bool, device=key.device).expand(len(key), S, S)
        similarity = torch.cat((own, query @ pool.detach().transpose(1, 2)), -1)
        positive = torch.zeros_like(similarity, dtype=torch.bool)
        positive[..., 0] = True
        return contrast(similarity / self.temperature, positive, torch.cat((positive[..., :1], negative), -1)).mean()


class LayerContrastiveLoss(nn.Module):
    """Image patches together, rain patches together, both apart: NLCL's layer contrast (CVPR 2022).

    Supervised contrast with two labels, the sum over positives outside the logarithm (Khosla et al., NeurIPS 2020),
    averaged over all image and rain anchors. Its floor is not 0, because positives compete with one another.

    Args:
        temperature: divides the similarities, > 0.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature

    @full_precision
    def forward(self, image: Tensor, rain: Tensor) -> Tensor:
        """The loss of one level.

        Args:
            image: (B, P, D), P at least 2.
            rain: (B, Q, D), Q at least 2.

        Returns:
            () float32; ln(P + Q - 1) if all vectors are equal.
        """
        z = torch.cat((image, rain), 1)
        label = torch.arange(z.shape[1], device=z.device) < image.shape[1]
        valid = ~torch.eye(len(label), dtype=torch.bool, device=z.device)
        positive = (label[:, None] == label) & valid
        similarity = z @ z.transpose(1, 2) / self.temperature
        return contrast(similarity, positive.expand_as(similarity), valid.expand_as(similarity)).mean()


class AsymmetricContrastiveLoss(nn.Module):
    """Layer contrast that asks less of the image than of the rain, which is the more compact layer (NLCL, TPAMI).

    The paper's formula is not public; docs/methods.md says how this one was chosen. "inside" sums the positives
    inside the logarithm: an anchor is content once some of its like are near. "outside" asks every pair of positives
    to beat all negatives. Each layer is averaged by itself. The floor of both is 0.

    Args:
        tau_image, tau_rain: temperatures of the two directions, > 0.
        aggregation_image, aggregation_rain: "inside" or "outside".
    """

    def __init__(
        self,
        tau_image: float = 0.07,
        tau_rain: float = 0.07,
        aggregation_image: Literal["inside", "outside"] = "inside",
        aggregation_rain: Literal["inside", "outside"] = "outside",
    ) -> None:
        super().__init__()
        self.tau_image, self.tau_rain = tau_image, tau_rain
        self.aggregation_image, self.aggregation_rain = aggregation_image, aggregation_rain

    @full_precision
    def forward(self, image: Tensor, rain: Tensor) -> Tensor:
        """The loss of one level: both directions added.

        Args:
            image: (B, P, D), P at least 2.
            rain: (B, Q, D), Q at least 2.

        Returns:
            () float32.
        """
        loose = self._direction(image, rain, self.tau_image, self.aggregation_image)
        return loose + self._direction(rain, image, self.tau_rain, self.aggregation_rain)

    @staticmethod
    def _direction(own: Tensor, other: Tensor, temperature: float, aggregation: Literal["inside", "outside"]) -> Tensor:
        N, M = own.shape[1], other.shape[1]
        similarity = own @ torch.cat((own, other), 1).transpose(1, 2) / temperature  # (B, N, N + M)
        place = torch.arange(N + M, device=own.device)
        valid = place != torch.arange(N, device=own.device)[:, None]
        positive = valid & (place < N)
        how: Aggregation = "inside" if aggregation == "inside" else "pairwise"
        return contrast(similarity, positive.expand_as(similarity), valid.expand_as(similarity), how).mean()


def contrast(similarity: Tensor, positive: Tensor, valid: Tensor, aggregation: Aggregation = "outside") -> Tensor:
    """Minus the log-share that an anchor's positives have among all that it is compared with.

    Args:
        similarity: (..., N, M), already divided by the temperature.
        positive: (..., N, M) bool; at least one in each row.
        valid: (..., N, M) bool: what counts at all; contains the positives.
        aggregation: of several positives: "outside" is the mean of each one's log-share among all valid; "inside" the
            log of their common share; "pairwise" the mean of each one's log-share among itself and the negatives.

    Returns:
        (..., N) float32, one loss for each anchor.
    """
    similarity = similarity.float()
    count = positive.sum(-1)
    if aggregation == "pairwise":
        negatives = similarity.masked_fill(~valid | positive, -torch.inf).logsumexp(-1, keepdim=True)
        each = functional.softplus(negatives - similarity)
        return each.masked_fill(~positive, 0.0).sum(-1) / count
    share = similarity - similarity.masked_fill(~valid, -torch.inf).logsumexp(-1, keepdim=True)
    if aggregation == "inside":
        return -share.masked_fill(~positive, -torch.inf).logsumexp(-1)
    return -share.masked_fill(~positive, 0.0).sum(-1) / count
