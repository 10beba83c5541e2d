"""The published image-to-image networks, kept faithful to their papers: references and teachers, not the live path."""
from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from .blur import BlurPool, BlurUpsample

Norm = Literal["instance", "none"]
Skip = Literal["none", "add", "subtract"]
LEAK = 0.05  # of a negative rain layer: a gradient that lets it come back
WIDEST, DEEPEST = 1024, 64


class ResidualGenerator(nn.Module):
    """The generator of NLCL (Ye et al., CVPR 2022), as its authors released it.

    Full resolution throughout, zero padding, no skip from input to output and no output activation. Instance norm
    ties every pixel to the statistics of the whole picture, so a tile's result is not a tile of the result; and since
    the last but one block has a norm and no way around it, the picture's overall brightness is lost there (see
    docs/methods.md). With the defaults it has 316,195 parameters and does 315,072 multiply-accumulates per pixel.

    The modules are numbered as in the release: 0 the first convolution, 1..num_blocks the residual blocks, then the
    plain block and the last convolution (17 and 18 by default). Feature taps use these numbers.

    Args:
        channels: width of every hidden layer, 1 to 1024.
        num_blocks: residual blocks, 0 to 64.
        norm: "instance" as released, or "none", which keeps the picture's brightness.
        skip: "none" as released; "add" adds the input to the output; "subtract" takes the output, made grey and all but
            without its negative part, off the input: rain only brightens, and has no colour. Both start as the
            identity.
    """

    multiple = 1

    def __init__(
        self, channels: int = 32, num_blocks: int = 16, norm: Norm = "instance", skip: Skip = "none"
    ) -> None:
        super().__init__()
        _check_size(channels, num_blocks)
        if norm not in ("instance", "none"):
            raise ValueError(f"norm is {norm!r}; it must be instance or none")
        if skip not in ("none", "add", "subtract"):
            raise ValueError(f"skip is {skip!r}; it must be none, add or subtract")
        self.settings: dict[str, Any] = {"channels": channels, "num_blocks": num_blocks, "norm": norm, "skip": skip}
        self.skip = skip
        self.layers = nn.Sequential(
            _conv(3, channels),
            *(ResidualBlock(channels, norm) for _ in range(num_blocks)),
            nn.Sequential(_conv(channels, channels), _norm(channels, norm), nn.ReLU(), _conv(channels, channels)),
            _conv(channels, 3),
        )
        if skip != "none":
            start_at_zero(self.layers[-1])

    def forward(self, rainy: Tensor) -> Tensor:
        """One layer of the picture, background or rain, according to how the network was trained.

        Args:
            rainy: (B, 3, H, W), -1..1.

        Returns:
            (B, 3, H, W), not clamped: values somewhat outside -1..1 occur.
        """
        return self.features(rainy, (len(self.layers) - 1,))[0]

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
        taps = tapped(self.layers, x, layers)
        if self.skip != "none" and len(self.layers) - 1 in layers:
            taps[-1] = x + taps[-1] if self.skip == "add" else x - _grey_layer(taps[-1])
        return taps


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside an identity path; nothing after the sum."""

    def __init__(self, channels: int, norm: Norm = "instance") -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels),
            _norm(channels, norm),
            nn.ReLU(),
            _conv(channels, channels),
            _norm(channels, norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        return x + self.body(x)


class ResnetGenerator(nn.Module):
    """The translator of CCLGAN: the ResNet generator of CUT (Park et al., ECCV 2020), anti-aliased.

    The modules are numbered as in CUT: 0-3 the first convolution, 4-11 two halvings, from 12 the residual blocks, then
    two doublings and the last convolution. With the defaults it has 11,378,179 parameters.

    Args:
        ngf: width at full resolution, 1 to 256.
        num_blocks: residual blocks at a quarter of the resolution, 0 to 64.
        antialias: blur before every halving and after every doubling (Zhang, ICML 2019), else strided convolutions.
        out_activation: "tanh", or None for an open range.
    """

    multiple = 4

    def __init__(
        self,
        ngf: int = 64,
        num_blocks: int = 9,
        antialias: bool = True,
        out_activation: Literal["tanh"] | None = "tanh",
    ) -> None:
        super().__init__()
        _check_size(4 * ngf, num_blocks)
        if out_activation not in ("tanh", None):
            raise ValueError(f"out_activation is {out_activation!r}; it must be tanh or None")
        self.settings: dict[str, Any] = {
            "ngf": ngf, "num_blocks": num_blocks, "antialias": antialias, "out_activation": out_activation,
        }  # fmt: skip
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, ngf, 7), nn.InstanceNorm2d(ngf), nn.ReLU(),
            *_halving(ngf, antialias),
            *_halving(2 * ngf, antialias),
            *(ReflectedBlock(4 * ngf) for _ in range(num_blocks)),
            *_doubling(4 * ngf, antialias),
            *_doubling(2 * ngf, antialias),
            nn.ReflectionPad2d(3), nn.Conv2d(ngf, 3, 7), nn.Tanh() if out_activation == "tanh" else nn.Identity(),
        )  # fmt: skip
        xavier(self)

    def forward(self, x: Tensor) -> Tensor:
        """A picture of the other domain.

        Args:
            x: (B, 3, H, W), -1..1; H and W multiples of 4.

        Returns:
            (B, 3, H, W), -1..1.
        """
        return self.layers(x)

    def features(self, x: Tensor, layers: Collection[int]) -> list[Tensor]:
        """What the modules of these numbers put out, in ascending order, running no further than the last of them.

        Args:
            x: (B, 3, H, W), -1..1.
            layers: module numbers, each once.

        Returns:
            One (B, C, H', W') per number.

        Raises:
            ValueError: a number without a module.
        """
        return tapped(self.layers, x, layers)


class ReflectedBlock(nn.Module):
    """Two reflection-padded, normalised convolutions beside an identity path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        return x + self.body(x)


def tapped(modules: nn.Sequential, x: Tensor, layers: Collection[int]) -> list[Tensor]:
    """Run modules up to the last number asked for and return what those of the given numbers put out.

    Args:
        modules: run in order.
        x: the first one's input.
        layers: numbers from 0, each once.

    Raises:
        ValueError: a number without a module.
    """
    unknown = sorted(set(layers) - set(range(len(modules))))
    if unknown:
        raise ValueError(f"no layers {unknown}; the network has 0 to {len(modules) - 1}")
    taps = []
    for number in range(max(layers, default=-1) + 1):
        x = modules[number](x)
        if number in layers:
            taps.append(x)
    return taps


def xavier(network: nn.Module, gain: float = 0.02) -> None:
    """Initialise as CUT does: Xavier normal weights of this gain, biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def kaiming(network: nn.Module, slope: float) -> None:
    """Initialise convolutions so that activations of this negative slope keep their variance (He et al., ICCV 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=slope)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def start_at_zero(layer: nn.Module) -> None:
    """Let a convolution put out nothing until it has learnt something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _grey_layer(layer: Tensor) -> Tensor:
    """One layer for all channels, negative values all but gone."""
    return functional.leaky_relu(layer.mean(1, keepdim=True), LEAK)


def _halving(channels: int, antialias: bool) -> list[nn.Module]:
    """Convolution to twice the channels, at half the size."""
    norm = [nn.InstanceNorm2d(2 * channels), nn.ReLU()]
    if antialias:
        return [nn.Conv2d(channels, 2 * channels, 3, padding=1), *norm, BlurPool(2 * channels)]
    return [nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), *norm]


def _doubling(channels: int, antialias: bool) -> list[nn.Module]:
    """Convolution to half the channels, at twice the size."""
    half = channels // 2
    norm = [nn.InstanceNorm2d(half), nn.ReLU()]
    if antialias:
        return [BlurUpsample(), nn.Conv2d(channels, half, 3, padding=1), *norm]
    return [nn.ConvTranspose2d(channels, half, 3, stride=2, padding=1, output_padding=1), *norm]


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _norm(channels: int, norm: Norm) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "instance": lambda: nn.InstanceNorm2d(channels), "none": nn.Identity,
    }  # fmt: skip
    return kinds[norm]()


def _check_size(channels: int, num_blocks: int) -> None:
    if not (isinstance(channels, int) and 1 <= channels <= WIDEST):
        raise ValueError(f"the network's widest layer has {channels} channels; it must be 1 to {WIDEST}")
    if not (isinstance(num_blocks, int) and 0 <= num_blocks <= DEEPEST):
        raise ValueError(f"num_blocks is {num_blocks}; it must be 0 to {DEEPEST}")
