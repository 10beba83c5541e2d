"""How a video's first frame wants to be shown: its colour, its turn, its HDR metadata."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Look:
    """How a video's first frame wants to be shown, for the output to say the same.

    Attributes:
        matrix, range, transfer, primaries: of its colour, as H.273 numbers them.
        rotation: degrees counter-clockwise.
        turn: nine numbers of the display matrix, which may also mirror, or None.
        mastering, light: HDR metadata, FFmpeg's structures as bytes, or None.
    """

    matrix: int
    range: int
    transfer: int
    primaries: int
    rotation: int
    turn: tuple[int, ...] | None
    mastering: bytes | None
    light: bytes | None


def look_of(picture: Any) -> Look:
    """Read what a picture says of itself; its side data only here: the view of it does not outlive a copy."""
    try:
        side = {each.type.name: bytes(each) for each in picture.side_data}
    except ValueError:  # a kind that PyAV cannot name, such as EXIF
        side = {}
    turn = side.get("DISPLAYMATRIX")
    return Look(
        picture.colorspace, picture.color_range, picture.color_trc, picture.color_primaries, picture.rotation,
        None if turn is None else tuple(np.frombuffer(turn, np.int32)[:9].tolist()),
        side.get("MASTERING_DISPLAY_METADATA"), side.get("CONTENT_LIGHT_LEVEL"),
    )  # fmt: skip
