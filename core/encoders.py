"""Frozen feature extractors in whose spaces training compares pictures; all take RGB 0..1 and are tapped alike."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Literal, Self

import torch
from torch import Tensor, nn

from .companions import MULTIPLE, SLOT_CHANNELS, SLOTS
from .generators import tapped
from .stream import BEFORE_CONTEXT, StreamGenerator

Depth = Literal[16, 19]
Statistics = tuple[float, float, float]  # of R, G and B in 0..1

WIDTHS = (64, 128, 256, 512, 512)  # channels of VGG's five stages
CONVOLUTIONS: dict[Depth, tuple[int, ...]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # in each stage
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class FrozenEncoder(nn.Module):
    """What all encoders are: a measure that training cannot move, while gradients pass through it to the picture."""

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, also when a network that holds this one is set to training."""
        return super().train(False)

    def features(self, x: Tensor, layers: Collection[int]) -> list[Tensor]:
        """What the layers of these numbers put out, in ascending order, running no further than the last of them.

        Args:
            x: (B, 3, H, W) float, RGB 0..1.
            layers: numbers, each once; what they mean is the encoder's own.

        Returns:
            One (B, ...) of x's dtype per number.

        Raises:
            ValueError: a number without a layer.
        """
        raise NotImplementedError

    def _freeze(self) -> None:
        """Called once all parameters are there."""
        self.requires_grad_(False).eval()


class VGGEncoder(FrozenEncoder):
    """The convolutions of VGG-16 or VGG-19 (Simonyan & Zisserman, ICLR 2015); 14,714,688 or 20,024,384 parameters.

    Layers bear torchvision's numbers: convolution, ReLU and pooling count one each, 0 to 30 or 36; relu_layers gives
    those of a name. Nothing works in place, so a convolution's tap is its output before the ReLU. torchvision's names
    of the weights are `layers.state_dict(prefix="features.")`. Random until filled, see encoder_files.load_vgg.

    Args:
        depth: 16 or 19.
        native: normalise the picture by ImageNet's mean and deviation, as the weights were trained; False feeds the
            0..1 as it is, as RDMC and CCLGAN did.

    Raises:
        ValueError: another depth.
    """

    def __init__(self, depth: Depth = 19, native: bool = True) -> None:
        super().__init__()
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD) if native else nn.Identity()
        layers: list[nn.Module] = []
        before = 3
        for width, convolutions in zip(WIDTHS, _convolutions(depth), strict=True):
            for _ in range(convolutions):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self._freeze()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float, RGB 0..1, at least 32x32, to (B, 512, H // 32, W // 32)."""
        return self.features(x, (len(self.layers) - 1,))[0]

    def features(self, x: Tensor, layers: Collection[int]) -> list[Tensor]:
        """What torchvision's modules of these numbers put out, in ascending order, running no further than the last.

        Args:
            x: (B, 3, H, W) float, RGB 0..1; H and W at least 2 to the number of poolings passed.
            layers: module numbers, each once.

        Returns:
            One (B, C, H', W') of x's dtype per number.

        Raises:
            ValueError: a number without a module.
        """
        return tapped(self.layers, self.normalise(x), layers)


def relu_layers(depth: Depth, names: Sequence[str]) -> tuple[int, ...]:
    """torchvision's module numbers of VGG's ReLUs, such as (1, 6) for ("relu1_1", "relu2_1").

    Args:
        depth: 16 or 19.
        names: "relu", the stage from 1, "_" and the convolution in the stage from 1.

    Returns:
        Numbers in the order of the names; features answers in ascending order whatever this is.

    Raises:
        ValueError: another depth, or a name without a layer.
    """
    numbers: dict[str, int] = {}
    start = 0
    for stage, convolutions in enumerate(_convolutions(depth), 1):
        numbers |= {f"relu{stage}_{n + 1}": start + 2 * n + 1 for n in range(convolutions)}
        start += 2 * convolutions + 1
    unknown = [name for name in names if name not in numbers]
    if unknown:
        raise ValueError(f"no layers {unknown}; VGG-{depth} has {', '.join(numbers)}")
    return tuple(numbers[name] for name in names)


class CLIPImageEncoder(FrozenEncoder):
    """The image tower of CLIP (Radford et al., ICML 2021), by default ViT-B/32 with 87,849,216 parameters.

    Its weights have OpenAI's names, there under `visual.`. Random until filled, see encoder_files.load_clip.

    Args:
        image_size: side of the square that every picture is resized to, a multiple of patch.
        patch: side of the patches in pixels.
        width: channels of the transformer, a multiple of heads.
        layers: attention blocks.
        heads: in each block.
        dim: length of the embedding.
        native: normalise the picture by CLIP's mean and deviation, as the weights were trained; False feeds the 0..1
            as it is.

    Raises:
        ValueError: image_size or width is no such multiple.
    """

    def __init__(
        self, *, image_size: int = 224, patch: int = 32, width: int = 768, layers: int = 12, heads: int = 12,
        dim: int = 512, native: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if image_size % patch or width % heads:
            raise ValueError(
                f"image_size {image_size} must be a multiple of patch {patch}, width {width} of heads {heads}"
            )
        self.image_size = image_size
        self.normalise = Normalise(CLIP_MEAN, CLIP_STD) if native else nn.Identity()
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn((image_size // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        blocks = nn.Sequential(*(AttentionBlock(width, heads) for _ in range(layers)))
        self.transformer = nn.Sequential(OrderedDict(resblocks=blocks))
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, dim))
        self._freeze()

    def forward(self, x: Tensor) -> Tensor:
        """The embedding of a picture in the space that CLIP shares with sentences.

        The whole picture is squeezed into the square, nothing is cut off (CLIP itself crops). The bicubic filter may
        leave 0..1 a little and is not clamped, so that gradients pass everywhere.

        Args:
            x: (B, 3, H, W) float, RGB 0..1, any size.

        Returns:
            (B, dim) of x's dtype, not of unit length.
        """
        square = (self.image_size, self.image_size)
        x = nn.functional.interpolate(x, square, mode="bicubic", align_corners=False, antialias=True)
        x = self.conv1(self.normalise(x)).flatten(2).transpose(1, 2)  # (B, 3, S, S) -> (B, N, width)
        x = torch.cat((self.class_embedding.expand(len(x), 1, -1), x), 1)  # (B, 1 + N, width)
        x = self.transformer(self.ln_pre(x + self.positional_embedding))
        return self.ln_post(x[:, 0]) @ self.proj

    def features(self, x: Tensor, layers: Collection[int]) -> list[Tensor]:
        """The embedding as the only layer, number 0: CLIP compares whole pictures, its inner tokens are not offered.

        Args:
            x: (B, 3, H, W) float, RGB 0..1, any size.
            layers: (0,), or none.

        Returns:
            The (B, dim) of forward, or nothing if no layer was asked for.

        Raises:
            ValueError: another number.
        """
        unknown = sorted(set(layers) - {0})
        if unknown:
            raise ValueError(f"no layers {unknown}; CLIP has 0, the embedding")
        return [self(x)] if layers else []


class StreamEncoder(FrozenEncoder):
    """The encoder of a trained stream generator: what stands in for VGG where no file of its weights is given.

    Its features are those of a network that looks for rain, not of one that names things, so numbers got with it do
    not compare with the papers'. Layers: 0, 1 and 2 are the features at half, quarter and eighth resolution.

    Args:
        generator: trained; its encoder is copied, so that freezing it here leaves the original free.
    """

    def __init__(self, generator: StreamGenerator) -> None:
        super().__init__()
        g = deepcopy(generator)
        self.layers = nn.Sequential(
            nn.Sequential(g.head, nn.ReLU(), g.encode2),
            nn.Sequential(g.down4, nn.ReLU(), g.encode4),
            nn.Sequential(g.down8, nn.ReLU(), g.middle[:BEFORE_CONTEXT] if g.context else g.middle),
        )
        self._freeze()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float, RGB 0..1, to the last layer, (B, C, H / 8, W / 8), sizes rounded up."""
        return self.features(x, (len(self.layers) - 1,))[0]

    def features(self, x: Tensor, layers: Collection[int]) -> list[Tensor]:
        """What the generator makes of a picture without companions on its way down.

        Args:
            x: (B, 3, H, W) of the generator's dtype, RGB 0..1, any size; repeated at the right and lower edge up to
                multiples of 8.
            layers: of 0, 1 and 2, each once.

        Returns:
            One (B, C, H', W') per number in ascending order, H' = ceil(H / 8) * 4, * 2 and * 1.

        Raises:
            ValueError: another number.
        """
        B, _, H, W = x.shape
        empty = x.new_zeros(B, SLOT_CHANNELS, H, W)
        empty[:, -1] = 1  # cost: nothing was found, as companions.network_input says it
        x = torch.cat((x, *(empty for _ in range(SLOTS)), empty[:, -1:]), 1)  # and full doubt
        x = nn.functional.pad(x, (0, -W % MULTIPLE, 0, -H % MULTIPLE), mode="replicate")
        return tapped(self.layers, nn.functional.pixel_unshuffle(x, 2), layers)


class AttentionBlock(nn.Module):
    """Self-attention, then a two-layer network on each token, both normalised before and added to their input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) to the same shape."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class QuickGELU(nn.Module):
    """The approximation of GELU that OpenAI's weights were trained with: x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x * torch.sigmoid(1.702 * x)


class Normalise(nn.Module):
    """(x - mean) / std per channel; the constants follow the network's device and stay out of its weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Statistics, std: Statistics) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to the same shape."""
        return (x - self.mean) / self.std


def _convolutions(depth: Depth) -> tuple[int, ...]:
    if depth not in CONVOLUTIONS:
        raise ValueError(f"depth is {depth!r}; it must be {' or '.join(map(str, CONVOLUTIONS))}")
    return CONVOLUTIONS[depth]
