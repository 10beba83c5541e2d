"""What a caller gives a Derainer, checked where it comes in: an array, a strength, a scale."""
from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Generic, TypeVar

import numpy as np

from streamderain.core.colour import PixelFormat
from streamderain.errors import DerainError
from streamderain.frame import Frame

T = TypeVar("T")
ARRAY_FORMAT = PixelFormat(family="rgb", full_range=True)


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
    if not isinstance(value, Real) or not 0 <= value <= 2:
        shown = f"{value:g}" if isinstance(value, Real) else repr(value)
        raise DerainError(f"strength is {shown}; give a number from 0 (no change) to 2")
    return float(value)


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
