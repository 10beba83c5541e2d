"""The frame that a compiled network has to get right, beside the same network run eagerly, before it is used."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from streamderain.core.checkpoint import Generator
from streamderain.core.stream import StreamGenerator

HEIGHT, WIDTH = 128, 192  # as modest as shows every layer of the deepest network something to do

# A half keeps 11 bits, so the few dozen layers of either side end half a grey level apart at most, and each pixel may
# be rounded once more on its way into the frame: two levels anywhere, a quarter of one on average, is what rounding
# can do. Another result than that is a wrong one.
MOST = 2 / 255
MEAN = 0.25 / 255
_FLAT = 1e-6  # a spread of the rain below this is no picture


def drawn_frame(model: Generator) -> Tensor:
    """What the network sees of a drawn scene in rain, with both companions, and a doubt, where it takes them.

    Returns:
        (48, HEIGHT / 2, WIDTH / 2) or (3, HEIGHT, WIDTH) float32 on the CPU; the same at every call.
    """
    chance = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, HEIGHT), torch.linspace(0, 1, WIDTH), indexing="ij")
    waves = torch.stack([(rows * a + columns * b).mul(6.28).sin() for a, b in ((2, 1), (1, 3), (4, -2))])
    scene = 0.45 + 0.25 * waves + 0.1 * (columns > 0.5)
    streaks = [_streaks(chance) for _ in range(3)]
    rgb = (scene + streaks[0]).clamp(0, 1)
    if not isinstance(model, StreamGenerator):
        return rgb
    slots = [torch.cat(((scene + each).clamp(0, 1) - rgb, 4 * each[:1].abs())) for each in streaks[1:]]
    return functional.pixel_unshuffle(torch.cat((rgb, *slots, 3 * streaks[1])), 2)


def difference(fast: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], batch: Tensor) -> str | None:
    """What is wrong with a compiled network's result, in a few words; None where nothing is.

    Args:
        fast: the compiled network.
        plain: the same network, eager.
        batch: what both take.
    """
    expected, found = plain(batch).float(), fast(batch).float()
    if found.shape != expected.shape:
        return f"it makes {tuple(found.shape)} out of a frame, not {tuple(expected.shape)}"
    if not torch.isfinite(found).all():
        return "it makes NaN or infinity out of a drawn frame"
    if found.std() < _FLAT < expected.std():
        return "it makes nothing out of a drawn frame"
    error = (found - expected).abs()
    most, mean = float(error.max()), float(error.mean())
    if most > MOST or mean > MEAN:
        return f"it is {255 * most:.1f} grey levels off on a drawn frame, {255 * mean:.2f} on average"
    return None


def _streaks(chance: torch.Generator) -> Tensor:
    """Bright upright strokes, (1, HEIGHT, WIDTH), 0 to 0.3."""
    seeds = (torch.rand(1, 1, HEIGHT, WIDTH, generator=chance) < 0.004).float()
    return 0.3 * functional.max_pool2d(seeds, (13, 1), stride=1, padding=(6, 0))[0]
