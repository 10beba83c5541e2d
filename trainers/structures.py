"""What of a scene looks like rain: wires, railings, grass, boards, meshes, cloth, text, shining rods. It must stay."""
from __future__ import annotations

import cv2
import numpy as np

RODS = 0.2  # share of structures that shine
COLOURED = 0.4  # share of structures of any colour; rain has nearly none
SPEEDS = (1.5, 18.0)  # pixels a frame of what passes before the scene
_FINE = 4  # fractional bits of the coordinates that OpenCV draws by


def draw(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw thin structures of one kind, now and then of two, lighter or darker than what they stand before.

    Args:
        picture: (H, W, 3) uint8 RGB.

    Returns:
        A changed copy.
    """
    for _ in range(2 if rng.random() < 0.25 else 1):
        picture = _one(picture, rng)
    return picture


def passing(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw structures that pass before the scene: near things move faster, and no search may find them again.

    A pole beside a walking camera is in each frame, but never where its surroundings are.

    Args:
        frames: (T, 3, H, W) float32 0..1.

    Returns:
        A changed copy.
    """
    count, _, height, width = frames.shape
    speed, heading = np.exp(rng.uniform(*np.log(SPEEDS))), rng.normal(0, 0.4) + np.pi * (rng.random() < 0.5)
    step = speed * np.array([np.cos(heading), np.sin(heading)])
    reach = int(np.ceil(speed * (count - 1) / 2)) + 2
    layer = _layer((height + 2 * reach, width + 2 * reach), rng)
    shutter = round(rng.uniform(0, 0.6) * speed)
    layer = cv2.blur(layer, (shutter, 1), borderType=cv2.BORDER_REPLICATE) if shutter > 1 else layer
    out = np.empty_like(frames)
    for t in range(count):
        x, y = reach - step * (t - (count - 1) / 2)
        shift = np.array([[1, 0, x], [0, 1, y]])  # where in the layer the frame's corner lies
        seen = cv2.warpAffine(layer, shift, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        colour, through = np.moveaxis(seen, 2, 0)[:3], np.moveaxis(seen, 2, 0)[3:]
        out[t] = frames[t] * through + colour
    return np.clip(out, 0, 1, out=out)


def _layer(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Structures for themselves: (H, W, 4) float32, what they add, and how much is seen through them, 0..1."""
    drawn = _rods if rng.random() < 0.5 else _one
    seed = int(rng.integers(2**62))
    black, white = (
        drawn(np.full((*size, 3), ground, np.uint8), np.random.default_rng(seed)).astype(np.float32) / 255
        for ground in (0, 255)
    )  # all that is drawn mixes with the ground: what is left of a white one says how much of any is
    return np.dstack([black, (white - black).mean(axis=2)])


def _one(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < RODS:
        return _rods(picture, rng)
    mask: np.ndarray = np.zeros(picture.shape[:2], np.uint8)
    kinds = (_wires, _railing, _posts, _grass, _text, _boards, _mesh, _cloth)
    kinds[int(rng.integers(len(kinds)))](mask, rng)
    sigma = float(rng.uniform(0, 1.0))
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma)) if sigma > 0.3 else mask
    bright = rng.random() < 0.75  # rain is bright
    colour = (rng.uniform(150, 255) if bright else rng.uniform(0, 80)) * _tint(rng)
    return _painted(picture, mask * np.float32(rng.uniform(0.15, 1.0)), colour)


def _tint(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.25 if rng.random() < COLOURED else 0.85, 1.0, 3)


def _painted(picture: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """The picture under a colour (3,) where mask (H, W) covers it, by 0 to 255."""
    cover = mask[:, :, None] * np.float32(1 / 255)
    return np.rint(picture * (1 - cover) + colour.astype(np.float32) * cover).astype(np.uint8)


def _rods(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tubes, poles, spokes: a body with a shine along it that comes and goes, as bright and as narrow as a streak."""
    height, width = picture.shape[:2]
    lean, tint = rng.normal(0, 0.35), _tint(rng)
    for _ in range(int(rng.integers(1, 6))):
        thick, tall = np.exp(rng.uniform(np.log(2), np.log(14))), rng.uniform(0.15, 1.0) * height
        start = np.array([rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.3, 0.8) * height])
        own = lean + rng.normal(0, 0.1)
        end = start + tall * np.array([np.sin(own), np.cos(own)])
        body, shine = np.zeros((2, height, width), np.uint8)
        _line(body, start, end, thick)
        aside = np.array([rng.uniform(-0.25, 0.25) * thick, 0])
        _line(shine, start + aside, end + aside, thick * rng.uniform(0.2, 0.6))
        soft = cv2.GaussianBlur(shine, (0, 0), rng.uniform(0.4, 0.4 + 0.15 * thick))
        knots = int(rng.integers(2, 7))
        along = np.interp(np.arange(height), np.linspace(start[1], end[1], knots), rng.uniform(0, 1, knots))
        picture = _painted(picture, body * np.float32(rng.uniform(0.5, 1)), rng.uniform(40, 200) * tint)
        picture = _painted(picture, soft * along[:, None].astype(np.float32), rng.uniform(170, 255) * tint)
    return picture


def _line(mask: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> None:
    one, other = (tuple(round(c * 2**_FINE) for c in point) for point in (start, end))
    cv2.line(mask, one, other, 255, max(round(width), 1), cv2.LINE_AA, _FINE)


def _wires(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    sag = rng.uniform(0, 0.2) * height
    for _ in range(int(rng.integers(1, 5))):
        left, right = rng.uniform(-0.2, 1.2, 2) * height
        x = np.linspace(0, width, 12)
        y = left + (right - left) * x / width + sag * 4 * (x / width) * (1 - x / width)
        points = np.rint(np.column_stack([x, y]) * 2**_FINE).astype(np.int32)
        upright = points[:, ::-1] if rng.random() < 0.4 else points
        cv2.polylines(mask, [upright], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA, _FINE)


def _railing(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    gap, thick, lean = rng.uniform(5, 28), rng.uniform(1, 4), rng.normal(0, 0.08)
    top, tall = rng.uniform(-0.3, 0.7) * height, rng.uniform(0.15, 0.9) * height
    for x in np.arange(rng.uniform(0, gap), width, gap):
        _line(mask, np.array([x, top]), np.array([x + lean * tall, top + tall]), thick)
    for y in (top, top + tall) if rng.random() < 0.6 else ():
        _line(mask, np.array([0, y]), np.array([width, y]), thick)


def _posts(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    for _ in range(int(rng.integers(1, 4))):
        x, lean, end = rng.uniform(0, width), rng.normal(0, 0.03) * height, rng.uniform(0.2, 1.1) * height
        start = rng.uniform(-0.2, 0.5) * height
        _line(mask, np.array([x, start]), np.array([x + lean, start + end]), rng.uniform(1, 8))


def _grass(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    foot, tall = rng.uniform(0.4, 1.1) * height, rng.uniform(6, 50)
    for _ in range(int(rng.integers(10, 120))):
        x, lean, tip = rng.uniform(0, width), rng.normal(0, 0.35), tall * rng.uniform(0.4, 1.2)
        y = foot + rng.uniform(-0.1, 0.3) * height
        middle = np.array([x + 0.4 * lean * tip, y - 0.5 * tip])
        _line(mask, np.array([x, y]), middle, 1)
        _line(mask, middle, np.array([x + lean * tip * 1.2, y - tip]), 1)


def _text(mask: np.ndarray, rng: np.random.Generator) -> None:
    height, width = mask.shape
    signs = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789il|/:-. ", np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        words = bytes(rng.choice(signs, int(rng.integers(3, 16)))).decode()
        place = (int(rng.uniform(-0.2, 0.7) * width), int(rng.uniform(0.1, 1.0) * height))
        size = float(np.exp(rng.uniform(np.log(0.35), np.log(2.5))))
        thick = int(rng.integers(1, 3 + round(2 * size)))
        cv2.putText(mask, words, place, int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX])), size, 255,
                    thick, cv2.LINE_AA)  # fmt: skip


def _boards(mask: np.ndarray, rng: np.random.Generator) -> None:
    """The joints of boards, the slats of a blind: lines side by side, mostly upright as rain is."""
    lean = rng.normal(0, 0.15) if rng.random() < 0.6 else rng.uniform(-np.pi / 2, np.pi / 2)
    _parallels(mask, lean, np.exp(rng.uniform(np.log(4), np.log(40))), rng.uniform(1, 3), rng)


def _mesh(mask: np.ndarray, rng: np.random.Generator) -> None:
    """Wire netting, window bars, a lattice of girders: two families of lines that cross."""
    gap, thick = np.exp(rng.uniform(np.log(6), np.log(48))), rng.uniform(1, 3)
    turn, half = rng.normal(0, 0.2), rng.uniform(0.2, np.pi / 4)
    for lean in (turn - half, turn + half):
        _parallels(mask, lean, gap, thick, rng)


def _parallels(mask: np.ndarray, lean: float, gap: float, thick: float, rng: np.random.Generator) -> None:
    """Lines across a part of the picture, lean in radians from upright, gap and thick in pixels."""
    height, width = mask.shape
    gap = max(gap, 3 * round(thick) + 2)
    top, left = (int(rng.uniform(-0.3, 0.5) * extent) for extent in mask.shape)
    part = mask[max(top, 0) : top + height, max(left, 0) : left + width]
    across, along = np.array([np.cos(lean), -np.sin(lean)]), np.array([np.sin(lean), np.cos(lean)])
    reach = float(np.hypot(*part.shape))
    centre = np.array(part.shape[::-1]) / 2
    for offset in np.arange(-reach / 2 + rng.uniform(0, gap), reach / 2, gap):
        middle = centre + across * (offset + rng.normal(0, 0.04 * gap))
        _line(part, middle - along * reach, middle + along * reach, thick)


def _cloth(mask: np.ndarray, rng: np.random.Generator) -> None:
    """Checks, herringbone, weave: where two waves meet, along a part of the picture."""
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    field = np.zeros(mask.shape)
    for _ in range(2):
        lean, turns = rng.uniform(0, np.pi), 2 * np.pi / np.exp(rng.uniform(np.log(4), np.log(24)))
        field += np.sin(turns * (np.cos(lean) * x + np.sin(lean) * y) + rng.uniform(0, 2 * np.pi))
    top, left = (int(rng.uniform(-0.5, 0.7) * extent) for extent in mask.shape)
    shown = np.zeros(mask.shape, bool)
    shown[max(top, 0) : top + height, max(left, 0) : left + width] = True
    mask[shown & (field > rng.uniform(0.3, 1.2))] = 255
