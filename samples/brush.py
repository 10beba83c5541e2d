"""Drawing for the sample: shapes, textures and words on transparent layers, at twice the size of the picture.

Lengths are pixels of the finished picture; averaging the double size down at the end makes edges smooth.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 360
SCALE = 2
SUBPIXEL_BITS = 4

Colour = tuple[float, float, float]
Texture = np.ndarray | float


@dataclass(frozen=True, slots=True)
class Layer:
    """A transparent picture that moves as one.

    Attributes:
        pixels: (HEIGHT * SCALE, W * SCALE, 4) float32 0..1, colour already multiplied by opacity.
        depth_factor: pixels it moves for each pixel that the houses move.
        sway: pixels that its top moves in the wind.
    """

    pixels: np.ndarray
    depth_factor: float
    sway: float = 0.0

    def over(self, canvas: np.ndarray, x: float, *, wind: float = 0.0) -> None:
        """Lay it over (HEIGHT * SCALE, WIDTH * SCALE, 3) float32 in place, left edge at x, leaning by wind -1..1."""
        height, width = canvas.shape[:2]
        lean = -self.sway * wind / HEIGHT
        move = np.array([[1, lean, x * SCALE - lean * height * 0.75], [0, 1, 0]], np.float32)
        moved = cv2.warpAffine(self.pixels, move, (width, height))
        canvas *= 1 - moved[..., 3:]
        canvas += moved[..., :3]


class Brush:
    """Draws into one layer: colours 0..1, textures multiplied in.

    Args:
        width: of the layer.
        rng: of textures and of all that varies.
    """

    def __init__(self, width: float, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rgb = np.zeros((HEIGHT * SCALE, round(width * SCALE), 3), np.float32)
        self.alpha = np.zeros(self.rgb.shape[:2], np.float32)

    def fill(self, points: Sequence[tuple[float, float]], colour: Colour, texture: Texture = 1.0) -> None:
        """A polygon; the texture broadcasts to (HEIGHT * SCALE, W * SCALE, 1)."""
        corners = np.array(points) * SCALE
        low, high = np.floor(corners.min(0)).astype(int) - 1, np.ceil(corners.max(0)).astype(int) + 2
        place = self._place(low, high)
        mask = np.zeros(self.alpha[place].shape, np.uint8)
        if mask.size:
            corners -= (place[1].start, place[0].start)
            whole = np.round(corners * 2**SUBPIXEL_BITS).astype(np.int32)
            cv2.fillPoly(mask, [whole], 255, cv2.LINE_AA, SUBPIXEL_BITS)  # type: ignore[call-overload]
            self._paint(place, mask, colour, texture)

    def box(self, x: float, y: float, w: float, h: float, colour: Colour, texture: Texture = 1.0) -> None:
        """An upright rectangle from its upper left corner."""
        self.fill([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], colour, texture)

    def dot(self, x: float, y: float, rx: float, ry: float, colour: Colour, angle: float = 0.0) -> None:
        """An ellipse, turned by degrees."""
        turn = np.deg2rad(angle)
        around = np.linspace(0, 2 * np.pi, 10 + 2 * int(max(rx, ry)), endpoint=False)
        across, down = rx * np.cos(around), ry * np.sin(around)
        xs = x + across * np.cos(turn) - down * np.sin(turn)
        ys = y + across * np.sin(turn) + down * np.cos(turn)
        self.fill(list(zip(xs, ys, strict=True)), colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, width: float, colour: Colour) -> None:
        """A straight stroke."""
        along = np.array([x1 - x0, y1 - y0])
        side = np.array([-along[1], along[0]]) / np.hypot(*along) * width / 2
        ends = np.array([[x0, y0], [x1, y1]])
        self.fill([*map(tuple, ends + side), *map(tuple, (ends - side)[::-1])], colour)

    def glow(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Light added around a point, also where nothing is drawn."""
        rows, columns = np.ogrid[: self.alpha.shape[0], : self.alpha.shape[1]]
        distance = np.hypot(rows - y * SCALE, columns - x * SCALE) / (radius * SCALE)
        self.rgb += np.exp(-4 * distance)[..., None].astype(np.float32) * np.array(colour, np.float32)

    def write(self, text: str, x: float, y: float, size: float, colour: Colour) -> None:
        """Words in a bold sans, centred at x and y."""
        reach = size * len(text)
        place = self._place((int((x - reach) * SCALE), int((y - size) * SCALE)),
                            (int((x + reach) * SCALE), int((y + size) * SCALE)))
        image = Image.new("L", self.alpha[place].shape[::-1])
        at = (x * SCALE - place[1].start, y * SCALE - place[0].start)
        font = ImageFont.load_default(size * SCALE)
        ImageDraw.Draw(image).text(at, text, 255, font, anchor="mm", stroke_width=size * SCALE / 28)
        self._paint(place, np.asarray(image), colour, 1.0)

    def grain(self, amount: float, size: float) -> np.ndarray:
        """A texture around 1: soft noise of this size over fine noise."""
        shape = self.alpha.shape
        soft, fine = noise(self.rng, shape, size * SCALE), noise(self.rng, shape, 2)
        return (1 + amount * (0.65 * soft + 0.35 * fine))[..., None]

    def bricks(self, course: float, length: float, spread: float) -> np.ndarray:
        """A texture around 1: bricks or tiles in running bond that differ by `spread`, with lighter joints."""
        rows, columns = np.indices(self.alpha.shape, np.float32) / SCALE
        number = (rows / course).astype(int)
        along = columns + (number % 2) * length / 2
        shades = self.rng.normal(1, spread, (number.max() + 1, int(along.max() / length) + 1)).astype(np.float32)
        joint = (rows % course < 0.75) | (along % length < 0.75)
        return np.where(joint, 1.25, shades[number, (along / length).astype(int)])[..., None]

    def fade(self, heights: Sequence[float], shades: Sequence[float]) -> np.ndarray:
        """A texture that changes with height only."""
        rows = np.arange(self.alpha.shape[0]) / SCALE
        return np.interp(rows, heights, shades).astype(np.float32)[:, None, None]

    def layer(self, depth_factor: float, sway: float = 0.0) -> Layer:
        """What was drawn."""
        return Layer(np.dstack([self.rgb, self.alpha]), depth_factor, sway)

    def _place(self, low: Sequence[int], high: Sequence[int]) -> tuple[slice, slice]:
        """Rows and columns between two corners (x, y), cut at the layer's edges."""
        return slice(max(low[1], 0), max(high[1], 0)), slice(max(low[0], 0), max(high[0], 0))

    def _paint(self, place: tuple[slice, slice], mask: np.ndarray, colour: Colour, texture: Texture) -> None:
        cover = mask[..., None].astype(np.float32) / 255
        if isinstance(texture, np.ndarray):
            texture = np.broadcast_to(texture, (*self.alpha.shape, 1))[place]
        shown = np.clip(np.array(colour, np.float32) * texture, 0, 1)
        self.rgb[place] = self.rgb[place] * (1 - cover) + shown * cover
        self.alpha[place] = 1 - (1 - self.alpha[place]) * (1 - cover[..., 0])


def noise(rng: np.random.Generator, shape: Sequence[int], size: float) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1 with features of about `size` samples, (H, W) float32."""
    coarse = rng.standard_normal([int(extent / size) + 3 for extent in shape]).astype(np.float32)
    smooth = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return (smooth - smooth.mean()) / smooth.std()


def tint(colour: Colour, factor: float) -> Colour:
    """The colour, lighter or darker."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor
