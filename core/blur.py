"""Anti-aliased halving and doubling (Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019)."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class BlurPool(nn.Module):
    """Blur each channel with [1, 2, 1] x [1, 2, 1] / 16 over reflected borders and keep every second sample.

    Args:
        channels: of the input.
    """

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = torch.outer(row, row) / 16
        self.register_buffer("kernel", kernel.expand(channels, 1, 3, 3).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2))."""
        padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return functional.conv2d(padded, self.kernel.to(x.dtype), stride=2, groups=x.shape[1])


class BlurUpsample(nn.Module):
    """Double the size and blur with [1, 3, 3, 1] / 4 along both axes over repeated borders.

    That filter at that stride is bilinear interpolation between sample centres, so torch does it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2 H, 2 W)."""
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
