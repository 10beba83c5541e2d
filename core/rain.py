"""A renderer of falling rain: seeded, physically parameterised, consistent over time.

A drop of diameter a at distance z that falls with speed v is drawn by an exposure T as a streak of length
f v T / z and width f a / z pixels (f: focal length in pixels), and stands f v / (z rate) pixels lower in the next
frame (Garg and Nayar, Vision and Rain, IJCV 2007). All three grow together as drops come nearer; near drops are
fewer, and blurred when they are out of focus. A falling drop oscillates, so that its streak is no even line: it has
beads, sways, splits into two bright edges, or has one bright end (Garg and Nayar, Photorealistic Rendering of Rain
Streaks, SIGGRAPH 2006). Rain moves independently of the scene.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from . import kernels_rain

DARK_GROUND = 0.125  # over so dark a ground "light" brightens about as much as "add" does
THINNEST = 0.35  # pixels; the deviation across below which a streak drawn at pixel centres would come and go
SHORTEST_WAVE = 8.0  # pixels of one turn along a streak; less cannot be drawn without steps


@dataclass(frozen=True, slots=True)
class RainStyle:
    """One kind of rain.

    Attributes:
        density: streaks for each 100 x 100 pixels.
        length: of a typical streak, pixels.
        width: standard deviation across a typical streak, pixels.
        slope: sideways per downward pixel; wind.
        slope_spread: standard deviation of the slope between streaks.
        brightness: peak of a typical streak, 0..1.
        brightness_spread: standard deviation of its logarithm between streaks.
        depth_spread: standard deviation of the logarithm of nearness, which scales length, width and fall.
        fall: pixels a typical streak falls in one frame.
        defocus: how far nearness blurs a streak beyond its growth; 0 is sharp everywhere.
        blend: "add" brightens by the layer; "cover" moves the picture towards airlight by it; "light" does so in the
            light that falls on the sensor, so that rain stands out before dark ground and is lost before bright.
        airlight: colour that covering drops take, 0..1 for each of RGB.
        veil: uniform brightening by drops too far to be seen, 0..1.
        taper: pixels over which a streak's ends fade, as a share of its length, 0..1; 1 leaves no even middle.
        longest_taper: pixels that this is at most.
        crowd: None draws each streak for itself. Else so many fall that only where they meet is seen: standard
            deviations over the layer's mean from which on it shows; below zero they are a curtain. The brightest
            bands reach about `brightness`.
        gusts: how much thinner the rain is where it is thinnest, 0..1.
        oscillation: how much of the drops' oscillation is seen in their streaks, 0..1; 0 draws even lines.
    """

    density: float
    length: float
    width: float
    slope: float
    slope_spread: float
    brightness: float
    brightness_spread: float
    depth_spread: float
    fall: float
    defocus: float
    blend: Literal["add", "cover", "light"]
    airlight: tuple[float, float, float]
    veil: float
    taper: float = 0.3
    longest_taper: float = 8.0
    crowd: float | None = None
    gusts: float = 0.0
    oscillation: float = 0.0


def random_style(
    rng: np.random.Generator, scale: float = 1.0, brightness: tuple[float, float] = (0.06, 0.8)
) -> RainStyle:
    """Draw a kind of rain from the range that real and rendered footage shows.

    Args:
        rng: the only source of chance.
        scale: pixels for each pixel of a picture 480 lines high; lengths and widths grow with it.
        brightness: range of a typical streak's peak, 0..1.
    """
    length = float(np.exp(rng.uniform(np.log(6), np.log(80))))
    width = float(np.exp(rng.uniform(np.log(0.45), np.log(1.6))))
    # the sum of what all streaks cover, so that short thin streaks come in crowds and long wide ones alone
    coverage = float(np.exp(rng.uniform(np.log(0.02), np.log(0.5))))
    tint = rng.uniform(0.85, 1.0, 3)
    return RainStyle(
        density=coverage * 1e4 / (length * width * 2.5) / scale**2,
        length=length * scale,
        width=width * scale,
        slope=float(np.tan(np.clip(rng.normal(0, 0.35), -1.1, 1.1))),
        slope_spread=float(rng.choice([0.0, 0.02, 0.05])),
        brightness=float(np.exp(rng.uniform(*np.log(brightness)))),
        brightness_spread=float(rng.uniform(0.1, 0.8)),
        depth_spread=float(rng.choice([0.0, 0.2, 0.4])),
        fall=length * scale * float(rng.uniform(1.0, 4.0)),
        defocus=float(rng.choice([0.0, 0.0, 0.5])),
        blend="add" if rng.random() < 0.65 else "cover",
        airlight=tuple(float(c) for c in rng.uniform(0.75, 1.0) * tint / tint.max()),  # type: ignore[arg-type]
        veil=float(rng.uniform(0, 0.06)) if rng.random() < 0.15 else 0.0,
    )


def render(style: RainStyle, *, frames: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Render the opacity of rain over a few frames.

    Returns:
        (frames, height, width) float32 in 0..1.
    """
    count = _count(style, height, width, rng)
    spread = np.exp(np.clip(rng.normal(0, 1, count), -2, 2) * style.depth_spread)
    length = style.length * spread
    margin = float(length.max(initial=0.0)) + 4
    tall, wide = height + 2 * margin, width + 2 * margin
    slope = style.slope + style.slope_spread * rng.standard_normal(count)
    # a drop's light spreads over its blurred width, so the peak falls as the blur grows
    blur = 1 + style.defocus * np.maximum(spread - 1, 0)
    amplitude = style.brightness * np.exp(style.brightness_spread * rng.standard_normal(count)) / blur
    streaks = np.zeros((count, 13), np.float32)
    streaks[:, 2], streaks[:, 3] = length, slope
    streaks[:, 4] = np.maximum(style.width * spread * blur, THINNEST)
    streaks[:, 5] = np.minimum(amplitude, 1.0)
    streaks[:, 6] = np.minimum(length * style.taper, style.longest_taper)
    y, x = rng.uniform(0, tall, count), rng.uniform(0, wide, count)
    if style.oscillation:
        streaks[:, 7:] = _oscillations(style.oscillation, length, rng)
    layers = np.zeros((frames, height, width), np.float32)
    for layer in layers:
        streaks[:, 0], streaks[:, 1] = y % tall - margin, x % wide - margin
        if style.oscillation:
            streaks[:, 8] = rng.uniform(0, 2 * np.pi, count)  # no frame knows the last one's: drops turn fast
        kernels_rain.draw_streaks(streaks, layer)
        y, x = y + style.fall * spread, x + style.fall * spread * slope
    layers = layers if style.crowd is None else _coincidences(layers, style.crowd, style.brightness)
    layers = layers * _gusts(style.gusts, height, width, rng) if style.gusts else layers
    return np.minimum(layers + np.float32(style.veil), 1.0)


def compose(clean: np.ndarray, opacity: np.ndarray, style: RainStyle) -> np.ndarray:
    """Lay rain over clean frames.

    Args:
        clean: (T, 3, H, W) float32 RGB 0..1.
        opacity: (T, H, W) float32 from render.

    Returns:
        (T, 3, H, W) float32 0..1, saturated as a sensor would.
    """
    airlight = np.asarray(style.airlight, np.float32)[:, None, None]
    if style.blend == "light":
        return clean + _brightened(clean, opacity[:, None], airlight)
    layer = opacity[:, None] * airlight
    rainy = clean + layer if style.blend == "add" else clean * (1 - opacity[:, None]) + layer
    return np.clip(rainy, 0, 1)


def _brightened(clean: np.ndarray, opacity: np.ndarray, airlight: np.ndarray) -> np.ndarray:
    """By how much drops brighten where their light and the scene's mix; a code's square is about its light."""
    more = np.float32(2 * DARK_GROUND) * opacity * (airlight**2 - clean**2)
    return more / np.maximum(clean + np.sqrt(clean**2 + more), 1e-6)  # the difference of two roots, exactly 0 for none


def _oscillations(seen: float, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turns, phase, beads, sway, hollow and lean of streaks of those lengths, see kernels_rain.draw_streaks: (N, 6)."""
    count = len(lengths)
    turns = np.minimum(np.exp(rng.uniform(np.log(0.3), np.log(4), count)), lengths / SHORTEST_WAVE)
    beads, sway, hollow = seen * rng.uniform(0, 1, (3, count))
    lean = seen * rng.uniform(-3, 3, count)
    return np.column_stack([turns, np.zeros(count), beads, sway, hollow * (rng.random(count) < 0.3), lean])


def _coincidences(layers: np.ndarray, crowd: float, brightness: float) -> np.ndarray:
    """What stands out of a crowd of streaks: bands that swell and fade, as of noise blurred along the fall."""
    deviation = float(layers.std())
    shown = np.maximum(layers - layers.mean() - crowd * deviation, 0)
    return np.minimum(shown * np.float32(brightness / (max(2.5 - crowd, 0.5) * deviation + 1e-6)), 1.0)


def _gusts(depth: float, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) float32, 1 - depth to 1: two waves across the picture, 100 to 400 pixels long."""
    y, x = np.arange(height)[:, None], np.arange(width)
    field = np.zeros((height, width))
    for _ in range(2):
        heading, phase = rng.uniform(0, 2 * np.pi, 2)
        turns = 2 * np.pi / np.exp(rng.uniform(np.log(100), np.log(400)))
        field += np.sin(turns * (np.sin(heading) * y + np.cos(heading) * x) + phase)
    return (1 - depth * (field / 4 + 0.5)).astype(np.float32)


def _count(style: RainStyle, height: int, width: int, rng: np.random.Generator) -> int:
    """How many streaks a region and its margins hold: Poisson, as falling drops are."""
    margin = style.length + 4
    return int(rng.poisson(style.density * (height + 2 * margin) * (width + 2 * margin) / 1e4))
