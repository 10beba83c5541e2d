"""What stands and moves in the street of the sample: sky, skyline, houses, lamps, trees, a fence, a van, a walker."""
from __future__ import annotations

import cv2
import numpy as np
from brush import HEIGHT, SCALE, WIDTH, Brush, Colour, Layer, noise, tint

HORIZON, FOOT = 186, 246  # where the ground meets the sky, where the houses stand
TRAVEL = 120.0  # pixels that the houses move from the first frame to the last
CREAM: Colour = (0.80, 0.78, 0.72)
IRON: Colour = (0.10, 0.12, 0.12)
HAIR: Colour = (0.24, 0.16, 0.11)
LAMPLIGHT: Colour = (1.0, 0.84, 0.55)


def sky(rng: np.random.Generator) -> Layer:
    """Clouds at dusk."""
    brush = Brush(WIDTH + 20, rng)
    sizes = (6, 14, 30, 64, 130)
    clouds = np.sum([noise(rng, brush.alpha.shape, size * SCALE) * size**0.8 for size in sizes], axis=0) / 100
    height = brush.fade([0, HORIZON], [0, 1])
    base = np.array([0.28, 0.33, 0.40]) * (1 - height) + np.array([0.63, 0.59, 0.55]) * height
    brush.rgb[:] = np.clip(base * (1 + 0.13 * clouds[..., None]), 0, 1)
    brush.alpha[:] = 1
    return brush.layer(0.04)


def skyline(rng: np.random.Generator) -> Layer:
    """Wooded hills, roofs and a church in the haze."""
    brush = Brush(WIDTH + 60, rng)
    columns = np.arange(0, WIDTH + 60, 0.5)
    ridge = 62 + 13 * noise(rng, (2, len(columns)), 220)[0] + 1.6 * noise(rng, (2, len(columns)), 6)[0]
    outline = [*zip(columns, ridge, strict=True), (WIDTH + 60, 230), (0, 230)]
    brush.fill(outline, (0.37, 0.42, 0.43), brush.grain(0.05, 5))
    for x in range(-10, WIDTH + 60, 34):
        top, wide = 84 + int(rng.integers(-16, 12)), int(rng.integers(30, 46))
        wall = tint((0.41, 0.40, 0.41), float(rng.uniform(0.9, 1.1)))
        brush.box(x, top, wide, 100, wall, brush.grain(0.03, 6))
        brush.fill([(x - 3, top), (x + wide / 2, top - 17), (x + wide + 3, top)], (0.33, 0.29, 0.30))
        for column in range(x + 5, x + wide - 5, 9):
            brush.box(column, top + 8, 4, 6, (0.80, 0.66, 0.44) if rng.random() < 0.4 else (0.27, 0.30, 0.34))
    brush.box(178, 48, 22, 130, (0.36, 0.35, 0.37), brush.bricks(4, 9, 0.07))
    brush.fill([(175, 49), (189, 5), (203, 49)], (0.25, 0.30, 0.31), brush.bricks(3, 4, 0.06))
    brush.dot(189, 59, 6.5, 6.5, (0.82, 0.79, 0.70))
    brush.line(189, 59, 189, 54.5, 1, IRON)
    brush.line(189, 59, 192.5, 61, 1, IRON)
    return brush.layer(0.35)


def houses(rng: np.random.Generator) -> Layer:
    """The row on the far side of the street."""
    brush = Brush(WIDTH + TRAVEL + 10, rng)
    _house(brush, -34, 146, 66, (0.56, 0.31, 0.24), brick=True, shop=("BAKERY", (0.50, 0.15, 0.13)))
    _house(brush, 112, 118, 92, (0.70, 0.63, 0.48), brick=False)
    _house(brush, 230, 150, 58, (0.45, 0.30, 0.27), brick=True, shop=("OLD BOOKS", (0.12, 0.27, 0.31)))
    _house(brush, 380, 112, 86, (0.45, 0.54, 0.56), brick=False)
    _house(brush, 492, 150, 64, (0.60, 0.40, 0.28), brick=True, shop=("CAFE RIO", (0.19, 0.33, 0.19)))
    _house(brush, 642, 160, 82, (0.68, 0.56, 0.48), brick=False, shop=("CLOCKS", (0.36, 0.20, 0.34)))
    return brush.layer(1.0)


def _house(
    brush: Brush, x: float, w: float, top: float, wall: Colour, *, brick: bool, shop: tuple[str, Colour] | None = None
) -> None:
    """Walls, tiled roof, chimney, two floors of windows, and a shop or a front door below."""
    soot = brush.fade([top, top + 14, 225, FOOT], [0.72, 1, 1, 0.7]) * brush.grain(0.03, 30)
    brush.box(x, top, w, FOOT - top, wall, soot * (brush.bricks(4, 10, 0.14) if brick else brush.grain(0.05, 10)))
    stack = x + w * 0.68
    brush.box(stack, top - 46, 15, 44, (0.43, 0.26, 0.22), brush.bricks(3.5, 7, 0.12))
    brush.box(stack - 1.5, top - 48, 18, 4, (0.36, 0.33, 0.31))
    slopes = [(x - 3, top), (x + 10, top - 32), (x + w - 10, top - 32), (x + w + 3, top)]
    brush.fill(slopes, (0.31, 0.23, 0.21), brush.bricks(3.5, 5, 0.12) * brush.grain(0.06, 12))
    brush.box(x - 3, top - 1, w + 6, 3.2, (0.22, 0.23, 0.24))
    brush.box(x + w - 4, top, 2.4, FOOT - top, (0.24, 0.25, 0.26))  # the rain pipe
    columns = 3 if w > 130 else 2
    for floor in (top + 16, top + 62):
        for place in range(columns if floor < 142 else 0):
            _window(brush, x + w * (place + 0.5) / columns - 10, floor, 20, 29, lit=brush.rng.random() < 0.5)
    if shop:
        _shop(brush, x + 6, w - 14, *shop)
    else:
        _front_door(brush, x, w)


def _window(brush: Brush, x: float, y: float, w: float, h: float, *, lit: bool) -> None:
    """A sash window with frame, bars, curtains and sill; lamplight inside where it is lit."""
    brush.box(x - 2.5, y - 2.5, w + 5, h + 5, CREAM)
    glass: Colour = (0.95, 0.72, 0.38) if lit else (0.19, 0.23, 0.28)
    brush.box(x, y, w, h, glass, brush.fade([y, y + h], [1.15, 0.7]) * brush.grain(0.06, 8))
    for fold in range(3):
        for edge in (x + fold * 1.8, x + w - (fold + 1) * 1.8):
            brush.box(edge, y, 1.3, h * (0.95 - 0.1 * fold), (0.84, 0.55, 0.33) if lit else (0.40, 0.41, 0.43))
    brush.box(x + w / 2 - 0.7, y, 1.4, h, CREAM)
    brush.box(x, y + h * 0.45, w, 1.4, CREAM)
    brush.box(x - 4, y + h + 2.5, w + 8, 2.5, tint(CREAM, 0.8))
    brush.box(x - 3, y + h + 5, w + 6, 1.5, (0.15, 0.12, 0.11))


def _front_door(brush: Brush, x: float, w: float) -> None:
    """A green door with the house's number, and a lit window beside it."""
    _window(brush, x + 16, 182, 24, 33, lit=True)
    door = x + w - 50
    brush.box(door - 3, 187, 30, FOOT - 187, CREAM)
    brush.box(door, 196, 24, FOOT - 196, (0.13, 0.29, 0.27), brush.grain(0.05, 4))
    for panel in (200, 223):
        brush.box(door + 3, panel, 8, 18, (0.10, 0.22, 0.21))
        brush.box(door + 13, panel, 8, 18, (0.10, 0.22, 0.21))
    brush.write("17" if x < 200 else "23", door + 12, 191.5, 8, IRON)
    brush.dot(door + 21, 221, 1.1, 1.1, LAMPLIGHT)


def _shop(brush: Brush, x: float, w: float, name: str, colour: Colour) -> None:
    """A sign with its name, a striped awning, a lit window with goods on shelves, and a door."""
    brush.box(x, 183, w, FOOT - 183, tint(colour, 0.6), brush.grain(0.05, 4))
    brush.box(x, 165, w, 19, colour, brush.fade([165, 184], [1.15, 0.85]))
    brush.box(x, 165, w, 1.4, tint(colour, 1.7))
    brush.write(name, x + w / 2, 174.5, 13, (0.97, 0.93, 0.82))
    pane = w - 42
    brush.box(x + 6, 199, pane, 37, (1.0, 0.82, 0.50), brush.fade([199, 236], [1.05, 0.75]) * brush.grain(0.04, 12))
    for shelf in (213, 224, 235):
        _goods(brush, x + 8, x + pane + 3, shelf)
        brush.box(x + 6, shelf, pane, 1.2, (0.40, 0.27, 0.16))
    for bar in (x + 6, x + 6 + pane / 2, x + 5 + pane):
        brush.box(bar - 0.9, 199, 1.8, 38, IRON)
    for number, left in enumerate(np.linspace(x, x + w, 17)[:-1]):
        stripe = (0.90, 0.87, 0.80) if number % 2 else tint(colour, 1.35)
        right = left + w / 16
        shade = brush.fade([185, 200], [1.1, 0.8])
        brush.fill([(left, 184), (right, 184), (right, 199), (left, 199)], stripe, shade)
        brush.dot((left + right) / 2, 199, w / 32, 2.3, tint(stripe, 0.8))
    door = x + w - 29
    brush.box(door, 203, 21, FOOT - 203, tint(colour, 0.85))
    brush.box(door + 3.5, 206, 14, 22, (0.92, 0.75, 0.46), brush.grain(0.06, 6))
    brush.dot(door + 18.8, 229, 1, 1, LAMPLIGHT)


def _goods(brush: Brush, left: float, right: float, shelf: float) -> None:
    at = left
    while at < right - 4:
        wide, tall = float(brush.rng.uniform(2, 6)), float(brush.rng.uniform(4, 8.5))
        red, green, blue = (float(part) for part in brush.rng.uniform(0.15, 0.85, 3) * [0.95, 0.7, 0.45])
        brush.box(at, shelf - tall, wide, tall, (red, green, blue))
        at += wide + float(brush.rng.uniform(0.4, 2.2))


def lamps(rng: np.random.Generator) -> Layer:
    """Cast-iron street lamps, lit."""
    brush = Brush(WIDTH + 1.2 * TRAVEL + 10, rng)
    for x in (86.0, 412.0, 738.0):
        brush.glow(x, 108, 105, tint(LAMPLIGHT, 0.34))
        brush.box(x - 1.8, 122, 3.6, 138, IRON, brush.grain(0.2, 5))
        brush.box(x - 3.2, 206, 6.4, 54, IRON, brush.grain(0.2, 5))
        brush.box(x - 5, 252, 10, 9, IRON)
        brush.line(x - 12, 136, x + 12, 136, 1.8, IRON)
        brush.fill([(x - 6, 122), (x - 9, 98), (x + 9, 98), (x + 6, 122)], (1.0, 0.93, 0.72))
        for lean in (-7.5, -2.5, 2.5, 7.5):
            brush.line(x + lean * 0.75, 122, x + lean * 1.15, 98, 1, IRON)
        brush.fill([(x - 11, 98), (x - 4, 89), (x + 4, 89), (x + 11, 98)], IRON)
        brush.dot(x, 87, 2, 3, IRON)
    return brush.layer(1.2)


def trees(rng: np.random.Generator) -> Layer:
    """Two trees at the kerb; every leaf is drawn."""
    brush = Brush(WIDTH + 1.32 * TRAVEL + 10, rng)
    for x, crown in ((226.0, 1.0), (628.0, 1.1)):
        bark = brush.bricks(7, 3, 0.2) * brush.grain(0.2, 3)
        brush.fill([(x - 8, 265), (x - 4, 150), (x + 4, 150), (x + 9, 265)], (0.20, 0.16, 0.13), bark)
        for reach, height in ((-44, 92), (-20, 70), (16, 74), (42, 100)):
            brush.line(x, 178, x + reach * crown, height, 4, (0.18, 0.15, 0.12))
        _leaves(brush, x, 100, 66 * crown, 2600)
    return brush.layer(1.32, sway=7.0)


def _leaves(brush: Brush, x: float, y: float, radius: float, count: int) -> None:
    """A crown of clumps, each dark below and light above."""
    rng = brush.rng
    clumps = rng.normal(0, 0.42, (26, 2)) * [radius, radius * 0.62]
    for share in np.sort(rng.random(count)):  # the first are deep in shade, the last in the light
        clump = clumps[rng.integers(len(clumps))]
        dx, dy = clump + rng.normal(0, 0.13, 2) * radius
        light = 0.45 + 0.55 * share - 0.35 * dy / radius + 0.25 * (clump[1] - dy) / radius
        green = tint((0.20, 0.31, 0.12), float(np.clip(light, 0.3, 1.5) * rng.uniform(0.8, 1.25)))
        brush.dot(x + dx, y + dy, float(rng.uniform(1.8, 3.4)), float(rng.uniform(1.0, 1.8)), green,
                  float(rng.uniform(0, 180)))


def fence(rng: np.random.Generator) -> Layer:
    """A picket fence and a hedge on the near side, close to the camera."""
    brush = Brush(WIDTH + 2.3 * TRAVEL + 10, rng)
    wood, paint = brush.grain(0.12, 3) * brush.fade([296, HEIGHT], [1, 0.7]), (0.46, 0.45, 0.42)
    for rail in (318, 345):
        brush.box(-10, rail, 330, 5, tint(paint, 0.75), wood)
    for x in np.arange(-6, 318, 17.0):
        brush.fill([(x, HEIGHT), (x, 306), (x + 5.5, 299), (x + 11, 306), (x + 11, HEIGHT)], paint, wood)
        brush.box(x + 10, 306, 1.4, 60, tint(paint, 0.5))
    for share in np.sort(rng.random(5200)):
        x, up = float(rng.uniform(330, WIDTH + 2.3 * TRAVEL)), float(rng.beta(1.2, 1.1))
        top = 318 + 5 * np.sin(x / 31) + 4 * np.sin(x / 11)
        green = tint((0.17, 0.25, 0.11), float((0.35 + 0.75 * share) * (0.55 + 0.6 * up) * rng.uniform(0.8, 1.3)))
        brush.dot(x, HEIGHT + 4 - up * (HEIGHT + 4 - top), float(rng.uniform(2.4, 4.6)), float(rng.uniform(1.4, 2.4)),
                  green, float(rng.uniform(0, 180)))
    return brush.layer(2.3)


class Ground:
    """Pavement and wet road, a plane in perspective that mirrors what stands behind it."""

    def __init__(self, rng: np.random.Generator) -> None:
        rows = np.arange(FOOT * SCALE, HEIGHT * SCALE) / SCALE
        self.near = ((rows - HORIZON) / (FOOT - HORIZON)).astype(np.float32)[:, None]  # 1 at the houses, then more
        depth = 600 / self.near
        self.columns = np.arange(WIDTH * SCALE, dtype=np.float32)[None] / SCALE
        along = np.arange(0, WIDTH + TRAVEL, 0.25, dtype=np.float32)[None]  # at the houses' distance
        shape = (len(rows), along.shape[1])
        grit = 1 + 0.09 * noise(rng, shape, 3) + 0.06 * noise(rng, shape, 40)
        slabs = np.where((along % 42 < 1.2) | (depth % 34 < 3), 0.8, 1.0)
        dashes = (abs(depth - 330) < 6) & (along % 150 < 70)
        road = np.where(dashes, 0.62, 0.19) * grit
        paved = (depth > 497) | (depth < 236)
        kerb = (abs(depth - 487) < 10) | (abs(depth - 241) < 5)
        self.grey = np.where(paved, 0.34 * slabs * grit, np.where(kerb, 0.46 * grit, road)).astype(np.float32)
        puddles = np.clip(0.55 + 0.5 * noise(rng, shape, 90), 0.15, 1) * np.where(paved | kerb, 0.45, 1)
        self.wet = (puddles * np.where(dashes, 0.5, 1)).astype(np.float32)

    def over(self, canvas: np.ndarray, camera: float) -> None:
        """Lay it under everything that is on the canvas, seen from this place; in place."""
        at = ((self.columns - WIDTH / 2) / self.near + WIDTH / 2 + camera) * 4
        lines = np.broadcast_to(np.arange(len(self.near), dtype=np.float32)[:, None], at.shape)
        grey, wet = (cv2.remap(plane, at, lines, cv2.INTER_LINEAR)[..., None] for plane in (self.grey, self.wet))
        top = FOOT * SCALE
        mirrored = cv2.blur(canvas[top - len(self.near) : top][::-1], (5, 33))
        tone = np.array([0.93, 0.98, 1.06], np.float32)
        canvas[top:] = grey * tone * (1 - 0.35 * wet) + 0.58 * wet * mirrored / np.sqrt(self.near)[..., None]


def van(turn: float, rng: np.random.Generator) -> Layer:
    """A delivery van that drives to the right, seen a little from behind; its wheels turned by degrees."""
    brush, body = Brush(190, rng), (0.20, 0.42, 0.44)
    shine = brush.fade([212, 232, 262, 292], [1.3, 1.0, 0.95, 0.6])
    brush.dot(100, 298.5, 80, 5, (0.06, 0.07, 0.08))
    brush.fill([(8, 226), (34, 214), (34, 297), (8, 290)], tint(body, 0.72), shine)
    brush.fill([(34, 214), (128, 214), (146, 246), (176, 254), (180, 297), (34, 297)], body, shine)
    brush.fill([(34, 252), (176, 258), (178, 264), (34, 258)], CREAM, shine)
    brush.fill([(130, 220), (142, 246), (112, 246), (112, 220)], (0.16, 0.21, 0.26), brush.fade([220, 246], [1.6, 0.8]))
    brush.fill([(11, 230), (31, 221), (31, 245), (11, 250)], (0.14, 0.18, 0.22), brush.fade([220, 250], [1.5, 0.8]))
    brush.write("FRESH BREAD", 73, 232, 11.5, (0.97, 0.93, 0.82))
    brush.write("baked before dawn", 74, 244, 6.5, (0.90, 0.88, 0.80))
    brush.fill([(9, 262), (33, 262), (33, 270), (9, 270)], (0.90, 0.82, 0.35))
    brush.write("DRY 25", 21, 266.2, 6.6, (0.05, 0.05, 0.05))
    brush.box(10, 274, 5, 6, (0.95, 0.16, 0.12))
    brush.box(28, 275, 5, 6, (0.95, 0.16, 0.12))
    brush.glow(12, 277, 26, (0.30, 0.03, 0.02))
    brush.box(172, 266, 8, 6, (1.0, 0.95, 0.75))
    brush.glow(181, 269, 60, tint(LAMPLIGHT, 0.30))
    for x in (62.0, 150.0):
        brush.dot(x, 292, 13.5, 13.5, (0.07, 0.07, 0.08))
        brush.dot(x, 292, 7.5, 7.5, (0.50, 0.51, 0.52))
        for spoke in range(5):
            angle = np.deg2rad(turn + 72 * spoke)
            brush.line(x, 292, x + 7 * np.cos(angle), 292 + 7 * np.sin(angle), 1.6, (0.22, 0.22, 0.23))
    return brush.layer(0.0)


def walker(step: float, rng: np.random.Generator) -> Layer:
    """Someone under a red umbrella; `step` is the phase of the walk in radians."""
    brush = Brush(60, rng)
    bob = 0.8 * abs(np.sin(step))
    for phase, shade in ((np.pi, 0.7), (0.0, 1.0)):
        swing = 7 * np.sin(step + phase)
        brush.line(30, 236 - bob, 30 + swing, 257, 4, tint((0.17, 0.18, 0.24), shade))
        brush.line(29 + swing, 257, 34 + swing, 257, 2.6, (0.08, 0.07, 0.07))
    coat: Colour = (0.72, 0.60, 0.34)
    brush.fill([(26, 209 - bob), (34, 209 - bob), (38, 241 - bob), (22, 241 - bob)], coat, brush.grain(0.08, 4))
    brush.line(33, 212 - bob, 38, 222 - bob, 3.4, tint(coat, 0.8))
    brush.line(38, 222 - bob, 37, 208 - bob, 3.0, tint(coat, 0.9))
    brush.dot(31, 203 - bob, 4.4, 5.2, (0.80, 0.60, 0.48))
    brush.fill([(26, 213 - bob), (25.5, 198 - bob), (33, 197 - bob), (31, 203 - bob), (30, 212 - bob)], HAIR)
    brush.line(37, 220 - bob, 36, 182 - bob, 1.1, IRON)
    for number, (left, right) in enumerate(zip((10, 20, 30, 42), (20, 30, 42, 56), strict=True)):
        red = tint((0.78, 0.12, 0.12), (1.0, 1.25, 1.05, 0.75)[number])
        middle = (left + right) / 2
        rim = [(left, 198 - bob), (middle, 195.5 - bob), (right, 198 - bob)]
        dome = [(34 + (right - 34) * 0.6, 185 - bob), (33, 179 - bob), (34 + (left - 34) * 0.6, 185 - bob)]
        brush.fill(rim + dome, red)
    return brush.layer(0.0)
