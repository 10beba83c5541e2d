"""Random choices that belong to a sample, not to a process: the same whoever makes them, in whatever batch."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Chance:
    """One stream of random numbers for each sample of a batch, on the CPU whatever the device.

    Args:
        seeds: one whole number for each sample.
    """

    def __init__(self, seeds: Sequence[int] | Tensor) -> None:
        self._generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def __len__(self) -> int:
        return len(self._generators)

    def integers(self, low: int, high: int, count: int) -> Tensor:
        """Uniform whole numbers from low to high, both included.

        Returns:
            (B, count) int64.

        Raises:
            ValueError: high is below low.
        """
        if high < low:
            raise ValueError(f"no whole number lies between {low} and {high}")
        return torch.stack([torch.randint(low, high + 1, (count,), generator=each) for each in self._generators])

    def choice(self, size: int, count: int) -> Tensor:
        """Different numbers from 0 to size - 1, in random order.

        Returns:
            (B, min(count, size)) int64.
        """
        return torch.stack([torch.randperm(size, generator=each)[:count] for each in self._generators])
