"""The stream generator: a small encoder-decoder that sees a frame and its companions and returns the rain layer.

Pixel-unshuffled input (Shi et al., CVPR 2016, run backwards), dense 3x3 residual blocks at half, quarter and eighth
resolution, no normalisation, so that a tile equals the same place of the full frame inside the halo, where the whole
frame's context is known.
"""
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .companions import CHANNELS, MULTIPLE
from .context import GlobalContext, squeeze

OUTPUTS = 4  # the rain in three colours, and how unsure it is
DOUBTFUL = 32 / 255  # an error, of a range of 1, that counts as full doubt
_WITH_DOUBT = {"head.weight": (1, CHANNELS), "tail.weight": (0, OUTPUTS), "tail.bias": (0, OUTPUTS)}
BEFORE_CONTEXT = 2  # blocks at an eighth of the resolution before the whole frame is asked

ProfileName = Literal["tiny", "realtime", "quality"]


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What rebuilds the network.

    Attributes:
        widths: channels at half, quarter and eighth resolution, 1 to 1024.
        blocks: residual blocks at half resolution before and after, at quarter before and after, at eighth, 0 to 64.
        context: whether the whole frame is asked (context.py).
        recurrent: whether the frame before is to be shown derained, as the network itself left it.
    """

    widths: tuple[int, int, int]
    blocks: tuple[int, int, int, int, int]
    context: bool = False
    recurrent: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != 3 or not all(1 <= width <= 1024 for width in self.widths):
            raise ValueError(f"widths is {self.widths}; it must be three numbers from 1 to 1024")
        if len(self.blocks) != 5 or not all(0 <= count <= 64 for count in self.blocks):
            raise ValueError(f"blocks is {self.blocks}; it must be five numbers from 0 to 64")
        for name in ("context", "recurrent"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} is {value!r}; it must be true or false")


PROFILES: dict[ProfileName, StreamConfig] = {
    "tiny": StreamConfig(widths=(16, 32, 32), blocks=(0, 1, 1, 1, 4), context=True, recurrent=True),
    "realtime": StreamConfig(widths=(32, 64, 64), blocks=(1, 1, 1, 2, 6), context=True, recurrent=True),
    "quality": StreamConfig(widths=(64, 128, 128), blocks=(1, 2, 2, 2, 8), context=True, recurrent=True),
}


class ResidualBlock(nn.Module):
    """conv3x3 - ReLU - conv3x3 beside an identity skip; the second convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(x)))


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class StreamGenerator(nn.Module):
    """Frame and companions in, rain layer and doubt out.

    Args:
        config: widths and depths.

    Attributes:
        ranges: lowest and highest value before each convolution, by its name, where they were measured (int8.py).
    """

    family = "stream"
    in_channels = CHANNELS
    ranges: dict[str, tuple[float, float]] | None = None

    def __init__(self, config: StreamConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth = config.widths
        before, after, before4, after4, middle = config.blocks
        self.head = nn.Conv2d(CHANNELS * 4, half, 3, padding=1)
        self.encode2 = _blocks(half, before)
        self.down4 = nn.Conv2d(half, quarter, 2, stride=2)
        self.encode4 = _blocks(quarter, before4)
        self.down8 = nn.Conv2d(quarter, eighth, 2, stride=2)
        self.middle = _blocks(eighth, middle)
        self.context = GlobalContext(eighth) if config.context else None
        self.up4 = nn.Conv2d(eighth, quarter * 4, 1)
        self.decode4 = _blocks(quarter, after4)
        self.up2 = nn.Conv2d(quarter, half * 4, 1)
        self.decode2 = _blocks(half, after)
        self.tail = nn.Conv2d(half, OUTPUTS * 4, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @classmethod
    def from_profile(cls, name: ProfileName) -> StreamGenerator:
        """The network of a profile, freshly initialised.

        Raises:
            ValueError: no profile has that name.
        """
        if name not in PROFILES:
            raise ValueError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
        return cls(PROFILES[name])

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StreamGenerator:
        """What config_dict described, freshly initialised.

        Raises:
            AttributeError, TypeError, ValueError: this builds no network.
        """
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items()}
        return cls(StreamConfig(**values))

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the rain layer R, so that the background is B = O - R.

        Args:
            x: (B, 12, H, W) float, see companions.network_input: RGB 0..1, two companions of four channels, doubt.

        Returns:
            (B, 4, H, W) of x's dtype, not clamped: rain in units of the 0..1 RGB, and the doubt about it: the root of
            the expected error, in units of DOUBTFUL. The next frame is to see it beside the derained one.
        """
        height, width = x.shape[-2:]
        rest = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        x = nn.functional.pad(x, rest, mode="replicate") if any(rest) else x
        return self.from_blocks(nn.functional.pixel_unshuffle(x, 2))[..., :height, :width]

    def from_blocks(self, x: Tensor, said: Tensor | None = None) -> Tensor:
        """The same from an input that is padded and pixel-unshuffled already, see companions.network_blocks.

        Args:
            x: (B, 48, H / 2, W / 2), H and W multiples of 8.
            said: (B, eighth, 1, 1), what context gives for the frame that x is a part of; None for a whole frame.

        Returns:
            (B, 4, H, W).
        """
        x2, x4, x8 = self._encoded(x)
        if self.context is not None:
            x8 = x8 + (self.context(squeeze(x8)) if said is None else said)
        x8 = self.middle[BEFORE_CONTEXT:](x8)
        x4 = self.decode4(x4 + nn.functional.pixel_shuffle(self.up4(x8), 2))
        x2 = self.decode2(x2 + nn.functional.pixel_shuffle(self.up2(x4), 2))
        return nn.functional.pixel_shuffle(self.tail(x2), 2)

    def before_context(self, x: Tensor) -> Tensor:
        """What the context is read from, (B, eighth, H / 8, W / 8), of an x as from_blocks takes it."""
        return self._encoded(x)[2]

    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The feature maps at half, quarter and eighth resolution up to where the whole frame is asked."""
        x2 = self.encode2(torch.relu(self.head(x)))
        x4 = self.encode4(torch.relu(self.down4(x2)))
        return x2, x4, self.middle[:BEFORE_CONTEXT](torch.relu(self.down8(x4)))

    def config_dict(self) -> dict[str, list[int] | bool]:
        """The config as plain JSON values, for a checkpoint's metadata."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.config).items()}


def widened(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network from before there was a doubt, with one that is neither listened to nor said."""
    state = dict(state)
    for name, (axis, channels) in _WITH_DOUBT.items():
        tensor = state.get(name)
        if tensor is not None and tensor.ndim > axis and tensor.shape[axis] == 4 * (channels - 1):
            shape = [4 if each == axis else size for each, size in enumerate(tensor.shape)]
            state[name] = torch.cat([tensor, tensor.new_zeros(shape)], axis)
    return state


def reach_px(config: StreamConfig) -> int:
    """How far from a pixel the network looks, rounded up to the grid that a picture may be cut on.

    Counted from the output back to the input: a 3x3 convolution looks one place further at its own resolution, and
    what is looked at is rounded up to whole places of the next coarser one.
    """
    before, _, before4, _, middle = config.blocks  # of two 3x3 convolutions each
    eighth = decoder_reach_px(config) // MULTIPLE + 2 * middle
    quarter = 2 * eighth + 2 * before4
    half = 2 * quarter + 2 * before + 1  # encode2, head
    return -(-half * 2 // MULTIPLE) * MULTIPLE


def decoder_reach_px(config: StreamConfig) -> int:
    """The same counted from what the blocks at an eighth of the resolution return."""
    _, after, _, after4, _ = config.blocks
    half = 1 + 2 * after  # tail, decode2
    quarter = -(-half // 2) + 2 * after4
    return -(-quarter // 2) * MULTIPLE


def mac_per_pixel(model: nn.Module, channels: int = CHANNELS, side: int = 64) -> float:
    """Multiply-accumulates of all convolutions for one input pixel, counted on a side x side frame.

    Args:
        model: takes (1, channels, side, side).
        channels: 3 for a network that sees one RGB frame.
        side: a multiple of all that the network needs.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        values = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output  # each is worth one row of weights
        total += module.weight[0].numel() * values.numel()

    counted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [module.register_forward_hook(count) for module in counted]
    parameter = next(model.parameters())
    with torch.no_grad():
        model(torch.zeros(1, channels, side, side, dtype=parameter.dtype, device=parameter.device))
    for hook in hooks:
        hook.remove()
    return total / side**2
