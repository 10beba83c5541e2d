"""Losses stay in float32 while autocast runs the networks around them in bfloat16."""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def full_precision(loss: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a function without autocast on the device of its first tensor."""

    @wraps(loss)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        given = (*args, *kwargs.values())
        device = next((each.device.type for each in given if isinstance(each, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return loss(*args, **kwargs)

    return wrapped
