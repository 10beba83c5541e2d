"""Learning-rate schedules of the papers, stretched or shrunk to the number of steps."""
from __future__ import annotations

import math

from .config import TrainConfig


def rate_factor(step: int, config: TrainConfig) -> float:
    """What a peak learning rate is multiplied with at a step, from 0.

    The epoch of a step is its place in the schedule of epochs + decay_epochs, whatever the steps are in all.
    """
    steps = max(config.steps or 1, 1)
    if config.schedule == "cosine":
        if step < config.warmup:
            return (step + 1) / config.warmup
        done = (step - config.warmup) / max(steps - config.warmup, 1)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    epoch = min(step, steps) * (config.epochs + config.decay_epochs) // steps
    if config.schedule == "steps":
        return config.factor ** sum(epoch >= milestone for milestone in config.milestones)
    return max(1 - max(0, epoch + 1 - config.epochs) / (config.decay_epochs + 1), 0.0)
