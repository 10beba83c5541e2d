"""What a caller gives a Derainer, checked where it comes in: an array, a strength, a scale, the process to work in."""
from __future__ import annotations

from collections.abc import Callable
from math import nan
from numbers import Integral, Real
from typing import Any, Generic, TypeVar

import numpy as np

from streamderain.core import threads
from streamderain.core.colour import PixelFormat
from streamderain.errors import DerainError
from streamderain.frame import Frame

T = TypeVar("T")
ARRAY_FORMAT = PixelFormat(family="rgb", full_range=True)


def check_process() -> None:
    """Raise DerainError where the kernels cannot run in this process, because it was forked after they had run."""
    if threads.lost_by_fork():
        raise DerainError(
            "this process was forked from one that had derained; start it by multiprocessing.get_context('spawn')"
        )


def frame_of(picture: Any) -> Frame:
    """A picture as a Frame, which it may be already.

    Raises:
        ValueError: it is neither a Frame nor an array (H, W, 3) uint8 with at least one pixel.
    """
    if isinstance(picture, Frame):
        return picture
    if not isinstance(picture, np.ndarray):
        raise ValueError(f"a {type(picture).__name__} is no picture; give a Frame or a uint8 array (H, W, 3) RGB")
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(f"array is {picture.dtype} {picture.shape}; it must be uint8 (H, W, 3) RGB, not empty")
    return Frame(tuple(np.ascontiguousarray(picture[..., channel]) for channel in range(3)), ARRAY_FORMAT)


def strength_of(value: Any) -> float:
    """How much of the rain layer is taken away.

    Raises:
        DerainError: it is no number from 0 to 2.
    """
    strength = float(value) if isinstance(value, Real) else nan
    if not 0 <= strength <= 2:
        raise DerainError(f"strength is {value!r}; give a number from 0 (no change) to 2")
    return strength


def scale_of(value: Any) -> int:
    """By what factor the picture is smaller that the rain is looked for in.

    Raises:
        DerainError: it is no whole number of 1 or more.
    """
    if not isinstance(value, Integral) or value < 1:
        raise DerainError(f"scale is {value!r}; give a whole number of 1 or more")
    return int(value)


class Checked(Generic[T]):
    """An attribute that is checked whenever it is set.

    Args:
        check: takes what was given and returns what is kept, or raises.
    """

    def __init__(self, check: Callable[[Any], T]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value: T = getattr(instance, self._name)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self._name, self._check(value))
