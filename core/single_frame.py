"""The published networks in the stream generator's place: they look at one RGB frame and put out a picture."""
from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .generators import ResidualGenerator, ResnetGenerator
from .multiscale import RecursiveMultiScaleNet

SingleFrameNetwork = ResidualGenerator | ResnetGenerator | RecursiveMultiScaleNet
Output = Literal["background", "rain"]

FAMILIES: dict[str, type[SingleFrameNetwork]] = {
    "residual": ResidualGenerator,
    "resnet": ResnetGenerator,
    "multiscale": RecursiveMultiScaleNet,
}


class SingleFrameDerainer(nn.Module):
    """A network in its own range of values, from the outside: RGB 0..1 in, rain layer out.

    Args:
        network: one of FAMILIES.
        low: what black is to the network, -1 or 0; white is 1.
        output: what the network puts out: the background, or the rain layer (white minus black is then 1 - low).

    Raises:
        ValueError: another low or output.
    """

    in_channels = 3

    def __init__(self, network: SingleFrameNetwork, *, low: float, output: Output) -> None:
        super().__init__()
        if low not in (-1.0, 0.0):
            raise ValueError(f"low is {low!r}; it must be -1 or 0")
        if output not in ("background", "rain"):
            raise ValueError(f"output is {output!r}; it must be background or rain")
        self.network = network
        self.low, self.output = float(low), output

    @classmethod
    def from_config(cls, family: str, config: dict[str, Any]) -> SingleFrameDerainer:
        """What config_dict described, freshly initialised.

        Raises:
            KeyError, TypeError, ValueError: this builds no network.
        """
        options = dict(config)
        return cls(FAMILIES[family](**options.pop("network")), **options)

    @property
    def family(self) -> str:
        """The network's name in FAMILIES."""
        return next(name for name, kind in FAMILIES.items() if isinstance(self.network, kind))

    def config_dict(self) -> dict[str, Any]:
        """What rebuilds it beside the family, as plain JSON values, for a checkpoint's metadata."""
        return {"network": self.network.settings, "low": self.low, "output": self.output}

    def forward(self, rgb: Tensor) -> Tensor:
        """Estimate the rain layer R, so that the background is B = O - R.

        Args:
            rgb: (B, 3, H, W) float, 0..1; any size.

        Returns:
            (B, 3, H, W): rain in units of the 0..1 RGB. It may be negative. Of a network that puts out the background,
            which is clamped first, O - R is within 0..1.
        """
        height, width = rgb.shape[-2:]
        return self.from_padded(padded(rgb, self.network.multiple))[..., :height, :width]

    def from_padded(self, rgb: Tensor) -> Tensor:
        """The same from a picture that is padded already.

        Args:
            rgb: (B, 3, H, W) float, 0..1; H and W multiples of the network's.

        Returns:
            (B, 3, H, W).
        """
        span = 1 - self.low
        layer = self.network(rgb * span + self.low)
        if self.output == "rain":
            return layer / span
        return rgb - ((layer - self.low) / span).clamp(0, 1)


def frame_input(rgb: np.ndarray) -> Tensor:
    """A frame as a SingleFrameDerainer takes it, without the batch.

    Args:
        rgb: (3, H, W) uint8.

    Returns:
        (3, H, W) float32, 0..1.
    """
    return torch.from_numpy(rgb) / 255


def padded(x: Tensor, multiple: int) -> Tensor:
    """Reflected to the right and below up to multiples; repeated where the picture is too small for that.

    At least two multiples: at its coarsest level the network normalises over places, and one place is no statistic.
    """
    height, width = x.shape[-2:]
    below, right = (max(-side % multiple, 2 * multiple - side) for side in (height, width))
    x = functional.pad(x, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return functional.pad(x, (0, 0, 0, below), mode="reflect" if below < height else "replicate")
