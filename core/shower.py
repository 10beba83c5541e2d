"""A shower: a few kinds of rain that one wind drives through one light, drawn from the range of real and rendered rain.

One kind of streak at a time is too narrow a lesson: in a picture near streaks, far ones, and bands of streaks that
cannot be told apart fall together, and their ends fade.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from . import rain
from .rain import RainStyle

Shower = tuple[RainStyle, ...]
SHARES = (0.4, 0.35, 0.25)  # of showers of one, two and three kinds
FINE = 0.3  # share of showers of nothing but drizzle, far drops and grain: a downpour that no near drop crosses
CROWDED = 0.25  # share of the other showers' kinds that are seen as bands
DRIZZLE = 0.2  # share of them that are fine faint drops all over
FAR = 0.15  # share of them that are drops at the limit of what a sensor resolves
HELD = 0.1  # share of them that are drops which a short exposure holds nearly still
GRAIN = 0.1  # share of them that are a downpour in a picture made smaller since
STILL_AIR = 0.12  # share of showers that fall straight down, where a streak is easily taken for a thing that stands
IN_LIGHT = 0.35  # share of showers that mix with the scene in its light, as before a camera
OSCILLATING = 0.5  # share of showers whose streaks are no even lines
VEILING = 0.3  # of the picture; far drops that cover more are seen as grain on a veil
SLIM = 9.0  # a streak is at least this many times as long as its deviation across
STOUT = 3.5  # but for held drops and grain, at least so many times
SLIM_FAR = 7.0  # the same of drops that a sensor hardly resolves


def random_shower(rng: np.random.Generator, scale: float = 1.0) -> Shower:
    """Draw the kinds of rain of one shower.

    Args:
        rng: the only source of chance.
        scale: pixels for each pixel of a picture 480 lines high; lengths and widths grow with it.
    """
    common = rain.random_style(rng, scale)
    common = replace(common, slope=0.0) if rng.random() < STILL_AIR else common
    common = replace(common, blend="light") if rng.random() < IN_LIGHT else common
    strength = float(np.exp(rng.uniform(np.log(0.05), np.log(0.8))))
    gusts = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.4 else 0.0
    oscillation = float(rng.uniform(0.3, 1.0)) if rng.random() < OSCILLATING else 0.0
    fine = rng.random() < FINE
    kinds = []
    for number in range(1 + int(rng.choice(len(SHARES), p=SHARES))):
        kind = _kind(rng, fine)(rng, scale)
        kinds.append(replace(common, **{
            "gusts": gusts, "oscillation": oscillation, "slope_spread": float(rng.choice([0.0, 0.01, 0.03, 0.06])),
            "brightness": strength * (1.0 if number == 0 else float(rng.uniform(0.3, 1.2))),
            "veil": common.veil if number == 0 else 0.0,
        } | kind))  # fmt: skip
    return tuple(kinds)


def render(shower: Shower, *, frames: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """The opacity of a shower over a few frames, (frames, height, width) float32 in 0..1."""
    layers = sum(rain.render(kind, frames=frames, height=height, width=width, rng=rng) for kind in shower)
    return np.minimum(np.asarray(layers, np.float32), 1.0)


def compose(clean: np.ndarray, opacity: np.ndarray, shower: Shower) -> np.ndarray:
    """Lay a shower over clean frames; see rain.compose."""
    return rain.compose(clean, opacity, shower[0])


def _kind(rng: np.random.Generator, fine: bool) -> Callable[[np.random.Generator, float], dict[str, Any]]:
    """What draws one kind of a shower, which is a fine one or any."""
    if fine:
        return (_drizzle, _far, _grain)[int(rng.integers(3))]
    shares = {_crowd: CROWDED, _drizzle: DRIZZLE, _far: FAR, _held: HELD, _grain: GRAIN}
    kinds = (*shares, _drops)
    return kinds[int(rng.choice(len(kinds), p=(*shares.values(), 1 - sum(shares.values()))))]


def _drops(rng: np.random.Generator, scale: float) -> dict[str, Any]:
    """Streaks that are seen one by one: short thin ones in numbers, long wide ones alone."""
    length = _log_uniform(rng, 6, 110)
    width = min(_log_uniform(rng, 0.45, 2.6), length / SLIM)
    coverage = _log_uniform(rng, 0.015, 0.4)
    soft = rng.random() < 0.6
    return {
        "density": coverage * 1e4 / (length * width * 2.5) / scale**2,
        "length": length * scale,
        "width": width * scale,
        "brightness_spread": float(rng.uniform(0.1, 0.9)),
        "depth_spread": float(rng.choice([0.0, 0.25, 0.5])),
        "fall": length * scale * float(rng.uniform(1.0, 4.0)),
        "taper": float(rng.uniform(0.4, 1.0)) if soft else 0.3,
        "longest_taper": 1e3 if soft else 8.0,
    }


def _drizzle(rng: np.random.Generator, scale: float) -> dict[str, Any]:
    """Fine short streaks all over, some grey levels bright, none of which stands out."""
    length = _log_uniform(rng, 6, 30)
    width = min(_log_uniform(rng, 0.4, 1.1), length / SLIM)
    return {
        "density": _log_uniform(rng, 0.2, 1.5) * 1e4 / (length * width * 2.5) / scale**2,
        "length": length * scale,
        "width": width * scale,
        "brightness": _log_uniform(rng, 0.02, 0.3),
        "brightness_spread": float(rng.uniform(0.2, 0.6)),
        "depth_spread": float(rng.choice([0.0, 0.2, 0.4])),
        "fall": length * scale * float(rng.uniform(1.0, 4.0)),
        "taper": float(rng.uniform(0.3, 1.0)),
    }


def _far(rng: np.random.Generator, scale: float) -> dict[str, Any]:
    """Drops at the limit of what a sensor resolves, however many pixels it has: grain that leans one way.

    They lean as they like: turbulence moves the small ones, and few pixels draw them. Of many only what stands out of
    their mean is theirs: the mean is a veil, whose removal would change the picture's colours.
    """
    del scale
    length = _log_uniform(rng, 3, 16)
    width = min(_log_uniform(rng, 0.3, 0.55), length / SLIM_FAR)
    coverage = _log_uniform(rng, 0.1, 3)
    crowd = (0.0, 1.0) if coverage > VEILING else None
    return _turbulent(rng, length, width, coverage, lean=(0.03, 0.25), light=(0.012, 0.12), crowd=crowd)


def _grain(rng: np.random.Generator, scale: float) -> dict[str, Any]:
    """A downpour in a picture made smaller for the web: soft short streaks that merge into marbled grain."""
    del scale
    width = _log_uniform(rng, 0.7, 1.4)
    length = width * _log_uniform(rng, STOUT, SLIM)
    coverage = _log_uniform(rng, 1, 5)
    return _turbulent(rng, length, width, coverage, lean=(0.05, 0.3), light=(0.03, 0.4), crowd=(-1.2, 1.2))


def _turbulent(
    rng: np.random.Generator, length: float, width: float, coverage: float,
    *, lean: tuple[float, float], light: tuple[float, float], crowd: tuple[float, float] | None,
) -> dict[str, Any]:  # fmt: skip
    """Drops of few pixels that lean as they like, from ranges of their lean, brightness and crowd."""
    return {
        "density": coverage * 1e4 / (length * max(width, rain.THINNEST) * 2.5),
        "length": length,
        "width": width,
        "slope_spread": _log_uniform(rng, *lean),
        "brightness": _log_uniform(rng, *light),
        "brightness_spread": float(rng.uniform(0.3, 0.9)),
        "depth_spread": float(rng.choice([0.2, 0.4])),
        "fall": length * float(rng.uniform(1.0, 4.0)),
        "crowd": float(rng.uniform(*crowd)) if crowd else None,
        "taper": float(rng.uniform(0.3, 1.0)),
    }


def _held(rng: np.random.Generator, scale: float) -> dict[str, Any]:
    """Drops by day, when a camera exposes for a thousandth of a second: bright, hardly longer than wide, far apart."""
    length = _log_uniform(rng, 4, 12)
    width = length / _log_uniform(rng, STOUT, SLIM)
    coverage = _log_uniform(rng, 0.002, 0.06)
    return {
        "density": coverage * 1e4 / (length * width * 2.5) / scale**2,
        "length": length * scale,
        "width": width * scale,
        "brightness_spread": float(rng.uniform(0.2, 0.8)),
        "depth_spread": float(rng.choice([0.2, 0.4])),
        "fall": length * scale * float(rng.uniform(2.0, 30.0)),
        "taper": float(rng.uniform(0.3, 1.0)),
    }


def _crowd(rng: np.random.Generator, scale: float) -> dict[str, Any]:
    """So many streaks that only bands are seen where they meet, or a curtain of them."""
    length = _log_uniform(rng, 8, 140)
    width = min(_log_uniform(rng, 0.4, 3.5), length / SLIM)
    return {
        "density": _log_uniform(rng, 0.5, 3.0) * 1e4 / (length * width * 2.5) / scale**2,
        "length": length * scale,
        "width": width * scale,
        "brightness_spread": float(rng.uniform(0.3, 1.0)),
        "depth_spread": float(rng.choice([0.0, 0.15, 0.3])),
        "fall": length * scale * float(rng.uniform(1.0, 4.0)),
        "crowd": float(rng.uniform(-1.0, 2.2)),
        "taper": float(rng.uniform(0.2, 0.8)),
        "longest_taper": 1e3,
    }


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
