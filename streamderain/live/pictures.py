"""Live pictures as JPEG: each view of each frame is encoded once for all who look, and only when somebody does."""
from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from streamderain import compare
from streamderain.core.colour import RED_BLUE
from streamderain.frame import Frame, on_host
from streamderain.live.moments import Shown

VIEWS = ("wipe", "after", "before", "rain", "side")
_QUALITY = 82
_SMALLEST_PX, _LARGEST_PX = 64, 4096
_STEP_PX = 64  # widths are rounded up to it, so that viewers of nearly one size share their pictures
_KEPT = 16  # encoded views of one frame


@dataclass(frozen=True, slots=True)
class Encoded:
    """A view of one picture.

    Attributes:
        number: of the picture, rising.
        at: as in Shown, for its age.
        header: what the browser is told: pts in seconds, live, size, lengths of the parts.
        parts: the JPEGs; two (before, after) for a wipe.
    """

    number: int
    at: float
    header: dict[str, Any]
    parts: tuple[bytes, ...]


class Pictures:
    """The newest picture, and its views as far as they were asked for. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encoding = threading.Lock()
        self._shown: Shown | None = None
        self._made: dict[tuple[str, int], Encoded] = {}
        self.number = 0

    def put(self, shown: Shown) -> None:
        """A newer picture."""
        with self._lock:
            self._shown, self._made = shown, {}
            self.number += 1

    def encoded(self, view: str, width: int) -> Encoded | None:
        """The newest picture in a view; takes milliseconds where nobody asked for it before.

        Args:
            view: one of VIEWS.
            width: pixels that the viewer can show; 0 for all there are. Never enlarged.
        """
        key = view, _width(width)
        with self._encoding:
            with self._lock:
                shown, number, made = self._shown, self.number, self._made
            if shown is None:
                return None
            if key not in made and len(made) < _KEPT:
                made[key] = _encode(shown, number, *key)
            return made.get(key) or _encode(shown, number, *key)


def jpeg(frame: Frame, width: int = 0, quality: int = _QUALITY) -> tuple[bytes, int, int]:
    """A frame as JPEG, upright, at most so wide; with its width and height in pixels."""
    picture = to_bgr(frame, width)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes(), picture.shape[1], picture.shape[0]


def to_bgr(frame: Frame, width: int = 0) -> np.ndarray:
    """A frame as (H, W, 3) uint8 BGR, upright, at most `width` pixels wide (0 for its own width).

    By OpenCV and not by our kernels, which belong to the thread that derains. HDR stays as it is coded.
    """
    frame = on_host(frame)
    turns = round(frame.rotation / 90) % 4
    height_px, width_px = frame.planes[0].shape
    shown_width = width_px if turns % 2 == 0 else height_px
    share = min(1.0, width / shown_width) if width else 1.0
    size = max(1, round(width_px * share)), max(1, round(height_px * share))
    planes = [_resized(plane, size, frame.format.bit_depth) for plane in frame.planes]
    if frame.format.family == "rgb":
        picture = cv2.merge(planes[::-1])
    elif frame.format.family == "grey":
        picture = cv2.transform(cv2.merge(planes), _grey_matrix(frame.format.full_range))
    else:
        matrix = _matrix(frame.format.matrix, frame.format.full_range)
        picture = cv2.transform(cv2.merge(planes), matrix)
    return np.ascontiguousarray(np.rot90(picture, turns))


def _encode(shown: Shown, number: int, view: str, width: int) -> Encoded:
    frames = {
        "wipe": lambda: (shown.before, shown.after),
        "after": lambda: (shown.after,),
        "before": lambda: (shown.before,),
        "rain": lambda: (compare.rain(shown.before, shown.after),),
        "side": lambda: (compare.side(shown.before, shown.after),),
    }[view]()
    done = [jpeg(frame, width) for frame in frames]
    header = {
        "pts": float((shown.after.pts or 0) * shown.after.time_base), "live": shown.live,
        "width": done[0][1], "height": done[0][2], "parts": [len(data) for data, _, _ in done],
    }  # fmt: skip
    return Encoded(number, shown.at, header, tuple(data for data, _, _ in done))


def _width(asked: int) -> int:
    if asked <= 0:
        return 0
    return -(-min(max(asked, _SMALLEST_PX), _LARGEST_PX) // _STEP_PX) * _STEP_PX


def _resized(plane: np.ndarray, size: tuple[int, int], bit_depth: int) -> np.ndarray:
    if bit_depth > 8:
        plane = (plane >> (bit_depth - 8)).astype(np.uint8)
    if (plane.shape[1], plane.shape[0]) == size:
        return np.ascontiguousarray(plane)
    shrinks = plane.shape[1] > size[0]
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _matrix(matrix: str, full_range: bool) -> np.ndarray:
    """(3, 4): blue, green and red from Y, Cb, Cr and 1; 8 bits."""
    kr, kb = RED_BLUE[matrix]
    kg = 1 - kr - kb
    y, c, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    rows = np.array([
        [y, 2 * c * (1 - kb), 0],
        [y, -2 * c * kb * (1 - kb) / kg, -2 * c * kr * (1 - kr) / kg],
        [y, 0, 2 * c * (1 - kr)],
    ])  # fmt: skip
    return np.hstack([rows, -rows @ np.array([[black], [128.0], [128.0]])])


def _grey_matrix(full_range: bool) -> np.ndarray:
    y, black = (1.0, 0.0) if full_range else (255 / 219, 16.0)
    return np.full((3, 1), y) @ np.array([[1.0, -black]])
