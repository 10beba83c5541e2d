"""The published image-to-image networks, kept faithful to their papers: references and teachers, not the live path."""
from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn


class ResidualGenerator(nn.Module):
    """The generator of NLCL (Ye et al., CVPR 2022), as its authors released it.

    Full resolution throughout, zero padding, no skip from input to output and no output activation. Instance norm
    ties every pixel to the statistics of the whole picture, so a tile's result is not a tile of the result.
    With the defaults it has 316,195 parameters and does 315,072 multiply-accumulates per pixel.

    The modules are numbered as in the release: 0 the first convolution, 1..num_blocks the residual blocks, then the
    plain block and the last convolution (17 and 18 by default). Feature taps use these numbers.

    Args:
        channels: width of every hidden layer.
        num_blocks: residual blocks.
    """

    def __init__(self, channels: int = 32, num_blocks: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv(3, channels),
            *(ResidualBlock(channels) for _ in range(num_blocks)),
            nn.Sequential(_conv(channels, channels), _norm(channels), nn.ReLU(), _conv(channels, channels)),
            _conv(channels, 3),
        )

    def forward(self, rainy: Tensor) -> Tensor:
        """One layer of the picture, background or rain, according to how the network was trained.

        Args:
            rainy: (B, 3, H, W), -1..1.

        Returns:
            (B, 3, H, W), not clamped: values somewhat outside -1..1 occur.
        """
        return self.layers(rainy)

    def features(self, x: Tensor, layers: Collection[int]) -> list[Tensor]:
        """What the modules of these numbers put out, in ascending order, running no further than the last of them.

        Naming the last module as well gives taps and output in one pass.

        Args:
            x: (B, 3, H, W), -1..1.
            layers: module numbers, each once.

        Returns:
            One (B, channels, H, W) per number; three channels for the last module.

        Raises:
            ValueError: a number without a module.
        """
        unknown = sorted(set(layers) - set(range(len(self.layers))))
        if unknown:
            raise ValueError(f"no layers {unknown}; the generator has 0 to {len(self.layers) - 1}")
        taps = []
        for number in range(max(layers, default=-1) + 1):
            x = self.layers[number](x)
            if number in layers:
                taps.append(x)
        return taps


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside an identity path; nothing after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels),
            _norm(channels),
            nn.ReLU(),
            _conv(channels, channels),
            _norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        return x + self.body(x)


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels)
