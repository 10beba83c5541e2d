"""A sequence derained one frame after the other, each beside what was made of the one before, as a Derainer does it."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_FIRST = slice(3, 6)  # of the network's input: the first companion's difference to the frame


def unrolled(
    network: Callable[[Tensor], Tensor], inputs: Tensor, before: Tensor, tones: Tensor
) -> tuple[Tensor, Tensor]:
    """Estimate the rain of consecutive frames.

    The gradient reaches back through all frames: a network that is to be given its own answers has to learn which of
    them serve the next frame, and that an error must not feed itself.

    Args:
        network: from (B, 12, H, W) to (B, 4, H, W), see StreamGenerator.forward.
        inputs: (B, T, 12, H, W) float32 with the rainy frames as companions.
        before: (B, T, H, W) int64, see RenderedRain: which pixel of the frame before the first companion shows, or -1.
        tones: (B, T, 3, 256) uint8, what becomes of that frame's codes.

    Returns:
        The inputs as the network saw them, and its answers (B, T, 4, H, W) float32: rain and doubt.
    """
    seen: list[Tensor] = []
    answers: list[Tensor] = []
    for x, source, tone in zip(inputs.unbind(1), before.unbind(1), tones.unbind(1), strict=True):
        if answers:
            derained = (seen[-1][:, :3] - answers[-1][:, :3]).clamp(0, 1)
            left = torch.cat([_toned(derained, tone), answers[-1][:, 3:].clamp(0, 1)], 1)
            known, found = source[:, None] >= 0, moved(left, source)
            first = torch.where(known, found[:, :3] - x[:, :3], x[:, _FIRST])
            x = torch.cat([x[:, :3], first, x[:, 6:-1], torch.where(known, found[:, 3:], x[:, -1:])], 1)
        seen.append(x)
        answers.append(network(x.contiguous(memory_format=torch.channels_last)).float())
    return torch.stack(seen, 1), torch.stack(answers, 1)


def _toned(pictures: Tensor, tone: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) of 0..1 with their codes replaced by tone (B, 3, 256); the gradient passes as it came."""
    codes = (pictures.detach() * 255).round_()
    change = tone.float().gather(2, codes.long().flatten(2)).view_as(codes) - codes
    return pictures + change / 255


def moved(pictures: Tensor, source: Tensor) -> Tensor:
    """Pictures (B, C, H, W) gathered through source (B, H, W), the number of the pixel that each place shows."""
    places = source.clamp(min=0).flatten(1)[:, None].expand(-1, pictures.shape[1], -1)
    return pictures.flatten(2).gather(2, places).view_as(pictures)
