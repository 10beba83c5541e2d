"""The discriminator that NLCL and CCLGAN share: a PatchGAN whose layers also serve as feature taps."""
from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from .blur import BlurPool
from .generators import Norm, kaiming, tapped, xavier


class PatchDiscriminator(nn.Module):
    """A 70x70 PatchGAN in CUT's anti-aliased form (Park et al., ECCV 2020): one logit for each overlapping patch.

    With the defaults it has 2,764,737 parameters; a 256x256 picture gives 30x30 logits. Modules are numbered in the
    order they run: convolutions at 0, 3, 7 and 11 are the taps of the layer contrast, the logits come last (14).

    Args:
        ndf: channels of the first convolution; each further one has twice as many, up to eightfold.
        num_layers: halvings.
        antialias: blur before every halving, else strided convolutions; the numbers of the taps then differ.
        norm: instance norm after all convolutions but the first and last, or none.
        init: "xavier" with gain 0.02 as CUT, or "kaiming", which learns sooner in a short training.

    Raises:
        ValueError: numbers or words that build no network.
    """

    def __init__(
        self,
        ndf: int = 64,
        num_layers: int = 3,
        antialias: bool = True,
        norm: Norm = "instance",
        init: Literal["xavier", "kaiming"] = "xavier",
    ) -> None:
        super().__init__()
        if not (1 <= ndf <= 512 and 1 <= num_layers <= 6):
            raise ValueError(f"ndf is {ndf} and num_layers {num_layers}; they must be 1 to 512 and 1 to 6")
        if norm not in ("instance", "none"):
            raise ValueError(f"norm is {norm!r}; it must be instance or none")
        if init not in ("xavier", "kaiming"):
            raise ValueError(f"init is {init!r}; it must be xavier or kaiming")
        widths = [3, *(ndf * min(2**n, 8) for n in range(num_layers + 1))]
        modules: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            shrinks = number < num_layers
            modules.append(nn.Conv2d(before, after, 4, stride=1 if antialias or not shrinks else 2, padding=1))
            if number and norm == "instance":
                modules.append(nn.InstanceNorm2d(after))
            modules.append(nn.LeakyReLU(0.2))
            if antialias and shrinks:
                modules.append(BlurPool(after))
        modules.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.layers = nn.Sequential(*modules)
        if init == "xavier":
            xavier(self)
        else:
            kaiming(self, slope=0.2)

    @property
    def logits_layer(self) -> int:
        """The number of the last module; naming it among the taps gives features and logits in one pass."""
        return len(self.layers) - 1

    def channels(self, layers: Collection[int]) -> list[int]:
        """Channels of the taps of these numbers, in ascending order.

        Raises:
            ValueError: a number that is no convolution.
        """
        found = []
        for number in sorted(layers):
            module = self.layers[number] if 0 <= number < len(self.layers) else None
            if not isinstance(module, nn.Conv2d):
                convolutions = [n for n, each in enumerate(self.layers) if isinstance(each, nn.Conv2d)]
                raise ValueError(f"discriminator layer {number} is no convolution; those are {convolutions}")
            found.append(module.out_channels)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits, large for the real domain.

        Args:
            x: (B, 3, H, W), -1..1.

        Returns:
            (B, 1, H', W').
        """
        return self.layers(x)

    def features(self, x: Tensor, layers: Collection[int]) -> list[Tensor]:
        """What the modules of these numbers put out, in ascending order, running no further than the last of them.

        Args:
            x: (B, 3, H, W), -1..1.
            layers: module numbers, each once.

        Raises:
            ValueError: a number without a module.
        """
        return tapped(self.layers, x, layers)
