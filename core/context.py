"""Global context: what a whole picture says to every place of it.

Rain falls all over a picture, in one direction; a fence, a cloth or a row of letters does not. A vector that is read
from the means of all channels over the picture is added everywhere (the global context of Cao et al., ICCV workshops
2019, with plain means in place of attention; Hu et al., CVPR 2018, multiply instead).
"""
from __future__ import annotations

import torch
from torch import Tensor, nn


class GlobalContext(nn.Module):
    """Means of a picture in, a vector for all its places out; it starts at zero, as if it were not there.

    Args:
        channels: of the feature map that is read and added to.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.read = nn.Linear(2 * channels, channels)
        self.say = nn.Linear(channels, channels)
        nn.init.zeros_(self.say.weight)
        nn.init.zeros_(self.say.bias)

    def forward(self, means: Tensor) -> Tensor:
        """(B, 2 * channels) from squeeze to (B, channels, 1, 1)."""
        return self.say(torch.relu(self.read(means)))[:, :, None, None]


def squeeze(x: Tensor) -> Tensor:
    """The means over (B, C, H, W) of what is above zero, then of what is below: (B, 2 * C), none negative."""
    above = torch.relu(x)
    return torch.cat([above.mean((2, 3)), (above - x).mean((2, 3))], dim=1)
