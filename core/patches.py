"""Where the contrastive losses look: non-local, reverse non-local and random patches of a picture.

NLCL (Ye et al., CVPR 2022) compares 16x16 patches within a window around a random anchor and takes those most alike.
The published loop over the window's places is one cross-correlation: |P_q - P_c|^2 = |P_q|^2 - 2 <P_q, P_c> + |P_c|^2.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .chance import Chance


@dataclass(frozen=True, slots=True)
class PatchSampler:
    """Chooses patch centres; the choice carries no gradient.

    A centre (y, x) stands for the patch of rows y - patch_size / 2 up to y + patch_size / 2 - 1, columns alike.

    Attributes:
        patch_size: side of a patch, pixels, even.
        search_size: side of the window around an anchor: offsets -search_size / 2 up to search_size / 2 - 1, even.
        stride: only every stride-th offset is a candidate.
        min_distance: keeps the chosen centres at least so many pixels apart in y or x; 0, as published, lets
            neighbours be shifts by one pixel.
    """

    patch_size: int = 16
    search_size: int = 40
    stride: int = 1
    min_distance: int = 0

    def __post_init__(self) -> None:
        for name in ("patch_size", "search_size"):
            value = getattr(self, name)
            if value < 2 or value % 2:
                raise ValueError(f"{name} is {value}; it must be even and at least 2")
        if self.stride < 1 or (self.search_size // 2) % self.stride:
            raise ValueError(f"stride is {self.stride}; it must divide half of search_size, {self.search_size // 2}")
        if self.min_distance < 0:
            raise ValueError(f"min_distance is {self.min_distance}; it must be at least 0")

    def random(self, image: Tensor, count: int, chance: Chance) -> Tensor:
        """Different centres anywhere in the picture, whole patches only.

        Args:
            image: (B, C, H, W), for its size.
            count: centres of each sample.
            chance: of the B samples.

        Returns:
            (B, count, 2) int64, y and x, on the image's device.

        Raises:
            ValueError: the picture has no room for so many.
        """
        rows, columns = (side - self.patch_size + 1 for side in image.shape[2:])
        if min(rows, columns) < 1 or rows * columns < count:
            raise ValueError(f"image is {tuple(image.shape)}; it has no {count} patches of {self.patch_size} pixels")
        places = chance.choice(rows * columns, count)
        return torch.stack((places // columns, places % columns), -1).to(image.device) + self.patch_size // 2

    def anchors(self, image: Tensor, count: int, chance: Chance) -> Tensor:
        """Centres for a search: a patch away from the border, as published.

        Args and Returns as in random.

        Raises:
            ValueError: the picture is smaller than two patches.
        """
        p = self.patch_size
        if min(image.shape[2:]) < 2 * p:
            raise ValueError(f"image is {tuple(image.shape)}; a search needs {2 * p} pixels on each side")
        return torch.stack([chance.integers(p, side - p, count) for side in image.shape[2:]], -1).to(image.device)

    @torch.no_grad()
    def nonlocal_(self, image: Tensor, k: int, anchors: Tensor) -> Tensor:
        """The k patches most like each anchor's within its window, the anchor itself first.

        Exact: the order is that of the squared distances in float64, ties in raster order.

        Args:
            image: (B, C, H, W) of any channels and range.
            k: at most the window's candidates inside the picture.
            anchors: (B, A, 2) int64 centres, see anchors.

        Returns:
            (B, A, k, 2) int64 centres on the image's device.

        Raises:
            ValueError: fewer than k candidates.
        """
        distances = self.distances(image, anchors)  # (B, A, n, n)
        side = distances.shape[-1]
        flat = distances.flatten(2)
        nearest = flat.sort(dim=-1, stable=True).indices[..., :k]
        chosen = self._apart(flat, k, side) if self.min_distance else nearest
        if chosen.shape[-1] < k or torch.isinf(flat.gather(-1, chosen)).any():
            raise ValueError(f"fewer than {k} patches lie in a window of {self.search_size}; lower k or min_distance")
        offsets = torch.stack((chosen // side, chosen % side), -1) * self.stride - self.search_size // 2
        return anchors.to(image.device)[:, :, None] + offsets

    @torch.no_grad()
    def distances(self, image: Tensor, anchors: Tensor) -> Tensor:
        """Squared distances of an anchor's patch to those around it.

        Args:
            image: (B, C, H, W).
            anchors: (B, A, 2) int64 centres of whole patches.

        Returns:
            (B, A, n, n) float64 over the window's offsets; infinite where a patch would leave the picture.
        """
        B, _, H, W = image.shape
        A = anchors.shape[1]
        half, reach = self.patch_size // 2, self.search_size // 2
        anchors = anchors.to(image.device)
        span = torch.arange(-reach - half, reach + half - 1, device=image.device)
        rows, columns = (anchors[..., axis, None] + span for axis in (0, 1))  # (B, A, search + patch - 1)
        batch = torch.arange(B, device=image.device)[:, None, None, None]
        inside_y, inside_x = rows.clamp(0, H - 1), columns.clamp(0, W - 1)
        windows = image.detach().permute(0, 2, 3, 1)[batch, inside_y[..., None], inside_x[:, :, None]]
        windows = windows.double().permute(0, 1, 4, 2, 3).flatten(0, 1)  # (B A, C, n + patch - 1, the same)
        around = slice(reach, reach + self.patch_size)
        patches = windows[..., around, around]
        product = _correlate(windows, patches)
        energy = windows.square().sum(1).unfold(1, self.patch_size, 1).sum(-1).unfold(2, self.patch_size, 1).sum(-1)
        own = patches.square().sum((1, 2, 3))[:, None, None]
        found = (energy - 2 * product + own)[:, :: self.stride, :: self.stride]
        found = found.clamp(min=0).unflatten(0, (B, A))
        offsets = torch.arange(-reach, reach, self.stride, device=image.device)
        ok_y, ok_x = (_whole(anchors[..., axis, None] + offsets, half, side) for axis, side in ((0, H), (1, W)))
        return found.masked_fill(~(ok_y[..., :, None] & ok_x[..., None, :]), torch.inf)

    @torch.no_grad()
    def reverse_nonlocal(self, image: Tensor, queries: Tensor, pool: Tensor, k: int) -> Tensor:
        """Which k patches of a pool are least like each query's patch.

        Args:
            image: (B, C, H, W).
            queries: (B, S, 2) int64 centres.
            pool: (B, P, 2) int64 centres.
            k: at most P.

        Returns:
            (B, S, P) bool, k true in each row.
        """
        left, right = (self.cut(image, centres).flatten(2) for centres in (queries, pool))
        far = torch.cdist(left.float(), right.float()).topk(min(k, pool.shape[1]), dim=-1).indices
        return torch.zeros(far.shape[0], far.shape[1], pool.shape[1], dtype=torch.bool, device=image.device).scatter_(
            -1, far, True
        )

    def cut(self, image: Tensor, centres: Tensor) -> Tensor:
        """The patches themselves.

        Args:
            image: (B, C, H, W).
            centres: (B, N, 2) int64 of whole patches.

        Returns:
            (B, N, C, patch_size, patch_size).
        """
        span = torch.arange(-self.patch_size // 2, self.patch_size // 2, device=image.device)
        rows, columns = (centres[..., axis, None] + span for axis in (0, 1))
        batch = torch.arange(len(image), device=image.device)[:, None, None, None]
        return image.permute(0, 2, 3, 1)[batch, rows[..., None], columns[:, :, None]].permute(0, 1, 4, 2, 3)

    def _apart(self, flat: Tensor, k: int, side: int) -> Tensor:
        """Greedily the nearest that keeps its distance to those chosen before."""
        places = torch.arange(flat.shape[-1], device=flat.device)
        y, x = places // side * self.stride, places % side * self.stride
        left, chosen = flat.clone(), [places.new_empty(*flat.shape[:-1], 0)]
        for _ in range(k):
            best = left.argmin(-1, keepdim=True)
            if torch.isinf(left.gather(-1, best)).any():
                break
            chosen.append(best)
            near = torch.maximum((y - y[best]).abs(), (x - x[best]).abs()) < self.min_distance
            left = left.masked_fill(near, torch.inf)
        return torch.cat(chosen, -1)


def read_features(features: Tensor, centres: Tensor, size: Sequence[int]) -> Tensor:
    """One feature vector for each centre, from the nearest place of a feature map that may be smaller or larger.

    Args:
        features: (B, C, H', W').
        centres: (B, N, 2) int64, y and x in a picture of the given size.
        size: (H, W) of that picture.

    Returns:
        (B, N, C).
    """
    height, width = features.shape[2:]
    rows = centres[..., 0] * height // size[0]
    columns = centres[..., 1] * width // size[1]
    index = (rows * width + columns)[:, None].expand(-1, features.shape[1], -1)  # (B, C, N)
    return features.flatten(2).gather(2, index).transpose(1, 2)


def _correlate(windows: Tensor, patches: Tensor) -> Tensor:
    """Inner products of a patch with every place of its window.

    A row of the patch against every row of the window is one matrix product; the patch's rows then add up along a
    diagonal. That copies patch_size times less than laying out every place's patch.

    Args:
        windows: (N, C, S, S).
        patches: (N, C, p, p).

    Returns:
        (N, S - p + 1, S - p + 1).
    """
    N, C, p, _ = patches.shape
    S = windows.shape[-1]
    n = S - p + 1
    rows = windows.unfold(3, p, 1).permute(0, 2, 3, 1, 4).reshape(N, S * n, C * p)
    shares = torch.bmm(rows, patches.permute(0, 1, 3, 2).reshape(N, C * p, p))  # (N, S n, p): window row, patch row
    diagonal = shares.as_strided((N, n, n, p), (S * n * p, n * p, p, n * p + 1))
    return diagonal.sum(-1)


def _whole(centres: Tensor, half: int, side: int) -> Tensor:
    """Whether patches around these centres lie inside a side of so many pixels."""
    return (centres >= half) & (centres <= side - half)
