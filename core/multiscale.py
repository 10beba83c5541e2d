"""RDMC's network: three dilated encoders, cross-level recruitment, recursion with shared weights.

Read from the code of its journal successor DRNet (Pattern Recognition 158:111004, 2025), as docs/methods.md says.
"""
from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Recruitment = Literal["learned", "mask", "gated"]
PATHS = 8  # four from fine to coarse, then four from coarse to fine
FINE_TO_COARSE, COARSE_TO_FINE = (0, 1, 2, 3), (4, 5, 6, 7)


class RecursiveMultiScaleNet(nn.Module):
    """x_0 = O, x_t = O + f(O, x_{t-1}); the last x is the background. f is the same network in every stage.

    With the defaults it has 19,809,990 parameters beside its 10 architecture scalars; with no path 15,883,731.

    Args:
        stages: recursions, 1 to 8; may be lowered on a trained network.
        widths: channels of one encoder at full, 1/2, 1/4, 1/8 and 1/16 resolution.
        dilations: one encoder for each.
        recruitment: "learned" adds all paths, each times a trained scalar; "mask" only those of mask; "gated" weighs
            them by the input as well.
        mask: eight of 0 and 1, the paths of "mask": into d4, d3, d2, d1 from finer levels, then into d3, d2, d1, y
            from coarser ones.

    Raises:
        ValueError: numbers that build no network.
    """

    multiple = 16

    def __init__(
        self,
        stages: int = 3,
        widths: tuple[int, ...] = (32, 64, 128, 256, 256),
        dilations: tuple[int, ...] = (1, 2, 3),
        recruitment: Recruitment = "learned",
        mask: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        _check(stages, widths, dilations, recruitment, mask)
        self.settings: dict[str, Any] = {
            "stages": stages, "widths": list(widths), "dilations": list(dilations), "recruitment": recruitment,
            "mask": list(mask) if mask else None,
        }  # fmt: skip
        self.stages = stages
        c1, c2, c3, c4, c5 = (len(dilations) * width for width in widths)
        self.encoders = nn.ModuleList(DilatedEncoder(widths, dilation) for dilation in dilations)
        self.upsample = MixedUpsample()
        self.decode4 = _double(c5 + c4, c4 // 2)
        self.decode3 = _double(c4 // 2 + c3, c3 // 2)
        self.decode2 = _double(c3 // 2 + c2, c2 // 2)
        self.decode1 = _double(c2 // 2 + c1, c1 // 2)
        self.out = nn.Conv2d(c1 // 2, 3, 1)
        kept = [recruitment != "mask" or bool(mask and mask[n]) for n in range(PATHS)]
        shapes = ((c3, c4 // 2), (c2, c3 // 2), (c1, c2 // 2), (6, c1 // 2),
                  (c4, c3 // 2), (c3, c2 // 2), (c2, c1 // 2), (c1, 3))  # fmt: skip
        self.paths = nn.ModuleDict({
            str(n): RecruitmentPath(*shapes[n], *_KINDS[n]) for n in range(PATHS) if kept[n]
        })
        self.scalars = nn.Parameter(1e-3 * torch.randn(PATHS))
        self.gate = nn.Conv2d(c5, PATHS, 1) if recruitment == "gated" else None

    def architecture(self) -> list[nn.Parameter]:
        """The ten scalars that architecture search trains: two of the upsampling, eight of the paths."""
        return [self.upsample.alpha, self.scalars]

    def forward(self, rainy: Tensor) -> Tensor:
        """The background.

        Args:
            rainy: (B, 3, H, W), 0..1; H and W multiples of 16.

        Returns:
            (B, 3, H, W), not clamped.
        """
        x = rainy
        for _ in range(self.stages):
            x = rainy + self.residual(torch.cat((rainy, x), 1))
        return x

    def residual(self, x: Tensor) -> Tensor:
        """f: minus the rain layer, from the rainy picture and the last estimate.

        Args:
            x: (B, 6, H, W).

        Returns:
            (B, 3, H, W).
        """
        e1, e2, e3, e4, e5 = (torch.cat(level, 1) for level in zip(*(each(x) for each in self.encoders), strict=True))
        gates = None if self.gate is None else torch.sigmoid(self.gate(e5.mean((2, 3), keepdim=True)))  # (B, 8, 1, 1)

        def recruit(node: Tensor, *sources: tuple[int, Tensor]) -> Tensor:
            for number, source in sources:
                if str(number) in self.paths:
                    weight = self.scalars[number] if gates is None else self.scalars[number] * gates[:, number, None]
                    node = node + weight * self.paths[str(number)](source)
            return node

        d4 = recruit(self.decode4(torch.cat((e4, self.upsample(e5)), 1)), (0, e3))
        d3 = recruit(self.decode3(torch.cat((e3, self.upsample(d4)), 1)), (1, e2), (4, e4))
        d2 = recruit(self.decode2(torch.cat((e2, self.upsample(d3)), 1)), (2, e1), (5, e3))
        d1 = recruit(self.decode1(torch.cat((e1, self.upsample(d2)), 1)), (3, x), (6, e2))
        return recruit(self.out(d1), (7, e1))


class DilatedEncoder(nn.Module):
    """Five levels of convolutions whose second one in each block is dilated, halved by max-pooling.

    Args:
        widths: channels of the levels.
        dilation: of every block's second convolution.
    """

    def __init__(self, widths: tuple[int, ...], dilation: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _dilated(before, after, dilation) for before, after in zip((6, *widths), widths, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 6, H, W) to one (B, widths[n], H / 2**n, W / 2**n) per level."""
        levels: list[Tensor] = []
        for block in self.blocks:
            x = block(x if not levels else functional.max_pool2d(x, 2))
            levels.append(x)
        return levels


class RecruitmentPath(nn.Module):
    """One extra way between levels of the encoder and nodes of the decoder.

    Args:
        in_channels, out_channels: at its ends.
        kind: "halve" and "match" go from fine to coarse, "double" and "level" from coarse to fine.
    """

    def __init__(self, in_channels: int, out_channels: int, kind: Literal["halve", "match", "double", "level"]) -> None:
        super().__init__()
        self.doubles = kind == "double"
        if kind == "halve":
            strided = nn.Conv2d(in_channels, out_channels, 3, stride=2)
            self.body = nn.Sequential(
                nn.ReflectionPad2d(1), strided, nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.2)
            )
        elif kind == "match":
            self.body = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.2)
            )
        else:
            self.body = _double(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to out_channels at half, the same or twice the size."""
        if self.doubles:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.body(x)


class MixedUpsample(nn.Module):
    """Twice the size, by a learnt mixture of bilinear and bicubic interpolation: softmax(alpha) . (both)."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(1e-3 * torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2 H, 2 W)."""
        linear, cubic = torch.softmax(self.alpha, 0)
        kinds = (("bilinear", linear), ("bicubic", cubic))
        parts = [w * functional.interpolate(x, scale_factor=2, mode=m, align_corners=True) for m, w in kinds]
        return parts[0] + parts[1]


_KINDS: tuple[tuple[Literal["halve", "match", "double", "level"]], ...] = (
    ("halve",), ("halve",), ("halve",), ("match",), ("double",), ("double",), ("double",), ("level",),
)  # fmt: skip


def _dilated(before: int, after: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=dilation, dilation=dilation, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


def _check(
    stages: int, widths: tuple[int, ...], dilations: tuple[int, ...], recruitment: str, mask: tuple[int, ...] | None
) -> None:
    if not all(isinstance(each, int) for each in (stages, *widths, *dilations)):
        raise ValueError("stages, widths and dilations must be whole numbers")
    if not 1 <= stages <= 8:
        raise ValueError(f"stages is {stages}; it must be 1 to 8")
    if len(widths) != 5 or not all(2 <= width <= 1024 and width % 2 == 0 for width in widths):
        raise ValueError(f"widths is {widths}; it must be five even numbers from 2 to 1024")
    if not 1 <= len(dilations) <= 8 or not all(1 <= dilation <= 16 for dilation in dilations):
        raise ValueError(f"dilations is {dilations}; it must be one to eight numbers from 1 to 16")
    if recruitment not in ("learned", "mask", "gated"):
        raise ValueError(f"recruitment is {recruitment!r}; it must be learned, mask or gated")
    if recruitment == "mask" and (mask is None or len(mask) != PATHS or not set(mask) <= {0, 1}):
        raise ValueError(f"mask is {mask}; it must be {PATHS} of 0 and 1")
