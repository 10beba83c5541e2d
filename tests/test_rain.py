"""The rain renderer: seeded, consistent over time, and composed as its formulas say."""
from dataclasses import replace
from itertools import pairwise

import naive
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from streamderain.core import kernels_rain, rain
from streamderain.core.rain import RainStyle

STYLE = RainStyle(
    density=60, length=12, width=0.8, slope=0.0, slope_spread=0.0, brightness=0.3, brightness_spread=0.0,
    depth_spread=0.0, fall=5.0, defocus=0.0, blend="add", airlight=(0.8, 0.9, 1.0), veil=0.0,
)  # fmt: skip
LIVELY = replace(
    STYLE, slope=0.3, slope_spread=0.05, brightness=0.8, brightness_spread=0.8, depth_spread=0.4, defocus=0.5, veil=0.05
)


def layers(style, seed=0, *, frames=2, height=48, width=64):
    return rain.render(style, frames=frames, height=height, width=width, rng=np.random.default_rng(seed))


def test_same_seed_same_rain_and_another_seed_another():
    assert_array_equal(layers(LIVELY, 3), layers(LIVELY, 3))
    assert (layers(LIVELY, 3) != layers(LIVELY, 4)).any()


@pytest.mark.parametrize("fall, slope", [(5, 0.0), (8, 0.5), (6, -1.5), (0, 0.4)])
def test_rain_moves_by_its_fall(fall, slope):
    # every streak that could wrap around stands outside the picture: the margin is a whole length and more
    rendered = layers(replace(STYLE, fall=float(fall), slope=slope), frames=3)
    sideways = int(fall * slope)
    for before, after in pairwise(rendered):
        assert before.max() > 0.2
        kept = slice(max(-sideways, 0), 64 - max(sideways, 0))
        came = slice(max(sideways, 0), 64 - max(-sideways, 0))
        difference = np.abs(after[fall:, came] - before[: 48 - fall, kept])
        assert difference.mean() < 1e-5  # positions are float32
        assert difference.max() <= 0.3 * np.exp(-4.5)  # rounding decides whether a tail at three sigma is drawn


@pytest.mark.parametrize("seed", range(6))
def test_opacity_stays_in_range(seed):
    style = replace(LIVELY, density=400.0) if seed == 0 else rain.random_style(np.random.default_rng(seed))
    rendered = layers(style, seed)
    assert rendered.dtype == np.float32
    assert rendered.shape == (2, 48, 64)
    assert rendered.min() >= 0
    assert rendered.max() <= 1
    assert rendered.any()


def test_density_scales_the_count(monkeypatch):
    drawn = []
    monkeypatch.setattr(kernels_rain, "draw_streaks", lambda streaks, layer: drawn.append(streaks.copy()))
    for density in (20.0, 80.0):
        layers(replace(STYLE, density=density), frames=1, height=300, width=400)
    for streaks, density in zip(drawn, (20, 80), strict=True):
        y, x = streaks[:, 0], streaks[:, 1]
        inside = ((y >= 0) & (y < 300) & (x >= 0) & (x < 400)).sum()
        expected = density * 12
        assert abs(inside - expected) < 5 * expected**0.5  # Poisson


@pytest.mark.parametrize("veil", [0.0, 0.25])
def test_no_streaks_leave_the_veil_alone(veil):
    assert_array_equal(layers(replace(STYLE, density=0.0, veil=veil)), np.full((2, 48, 64), veil, np.float32))


def test_nearer_streaks_are_longer_wider_and_faster(monkeypatch):
    drawn = []
    monkeypatch.setattr(kernels_rain, "draw_streaks", lambda streaks, layer: drawn.append(streaks.copy()))
    layers(replace(STYLE, depth_spread=0.4, fall=1.0))
    before, after = drawn
    nearness = before[:, 2] / STYLE.length
    assert nearness.min() < 0.7 < 1.4 < nearness.max()
    assert_allclose(before[:, 4], STYLE.width * nearness, rtol=1e-5)
    moved = after[:, 0] - before[:, 0]
    assert_allclose(moved[moved > 0], nearness[moved > 0], atol=1e-4)  # the rest fell out and came in at the top


@pytest.mark.parametrize("seed", range(3))
def test_tiny_streaks_match_naive(seed):
    rng = np.random.default_rng(seed)
    drops = np.column_stack([
        rng.uniform(-6, 20, 8), rng.uniform(-6, 26, 8), rng.uniform(2, 14, 8), rng.uniform(-1, 1, 8),
        rng.uniform(0.35, 2, 8), rng.uniform(0.05, 1, 8), rng.uniform(0.5, 4, 8), rng.uniform(0.5, 5, 8),
        rng.uniform(0, 6.3, 8), rng.uniform(0, 1, 8), rng.uniform(0, 1, 8), rng.uniform(0, 1, 8), rng.uniform(-3, 3, 8),
    ]).astype(np.float32)  # fmt: skip
    layer = np.zeros((14, 20), np.float32)
    kernels_rain.draw_streaks(drops, layer)
    # the kernel may go a pixel past three sigma, where a streak is down to 0.011 of its amplitude
    assert_allclose(layer, naive.streaks(drops.astype(float), (14, 20)), atol=0.012)


def test_streaks_add_up():
    drop = np.array([[7, 8, 6, 0.2, 0.9, 0.3, 2] + 6 * [0]], np.float32)
    once, twice = np.zeros((2, 14, 16), np.float32)
    kernels_rain.draw_streaks(drop, once)
    kernels_rain.draw_streaks(np.concatenate([drop, drop]), twice)
    assert once[7, 8] == np.float32(0.3)  # the peak is the amplitude
    assert_allclose(twice, 2 * once, rtol=1e-6)


def test_an_oscillation_only_takes_light_and_leaves_no_two_frames_alike():
    still = replace(STYLE, density=30.0, length=30.0, fall=0.0)
    even, shaken = (layers(replace(still, oscillation=seen), frames=3) for seen in (0.0, 1.0))
    assert_array_equal(even[0], even[1])
    assert np.abs(shaken[0] - shaken[1]).max() > 0.05
    assert 0.2 * even.sum() < shaken.sum() < 0.8 * even.sum()
    assert shaken.max() <= even.max() + 1e-6


def clean_and_opacity():
    rng = np.random.default_rng(1)
    return rng.random((2, 3, 5, 6), np.float32), rng.random((2, 5, 6), np.float32)


def test_adding_is_a_sum_that_saturates():
    clean, opacity = clean_and_opacity()
    rainy = rain.compose(clean, opacity, STYLE)
    for channel, light in enumerate(STYLE.airlight):
        assert_allclose(rainy[:, channel], np.minimum(clean[:, channel] + opacity * light, 1), rtol=1e-6)
    assert (rainy == 1).any()


def test_covering_is_a_blend_with_the_airlight():
    clean, opacity = clean_and_opacity()
    rainy = rain.compose(clean, opacity, replace(STYLE, blend="cover"))
    for channel, light in enumerate(STYLE.airlight):
        assert_allclose(rainy[:, channel], (1 - opacity) * clean[:, channel] + opacity * light, rtol=1e-5)


def test_in_light_rain_stands_out_before_dark_ground_and_mixes_as_light_does():
    clean, opacity = clean_and_opacity()
    opacity = np.maximum(opacity, 0.2)
    rainy = rain.compose(clean, opacity, replace(STYLE, blend="light"))
    share = 2 * rain.DARK_GROUND * opacity
    for channel, light in enumerate(STYLE.airlight):
        mixed = np.sqrt((1 - share) * clean[:, channel] ** 2 + share * light**2)
        assert_allclose(rainy[:, channel], mixed, rtol=1e-5)
    black, dark, bright = (
        rain.compose(np.full((1, 3, 4, 4), ground, np.float32), np.full((1, 4, 4), 0.05, np.float32),
                     replace(STYLE, blend="light", airlight=(1.0, 1.0, 1.0))).mean() - ground
        for ground in (0.0, rain.DARK_GROUND, 0.9)
    )  # fmt: skip
    assert black > dark == pytest.approx(0.05, rel=0.2)
    assert 0 < bright < 0.1 * dark


@pytest.mark.parametrize("blend", ["add", "cover", "light"])
def test_no_opacity_changes_nothing(blend):
    clean, opacity = clean_and_opacity()
    assert_array_equal(rain.compose(clean, 0 * opacity, replace(STYLE, blend=blend)), clean)


@pytest.mark.parametrize("seed", range(20))
def test_random_styles_are_seeded_and_physical(seed):
    style = rain.random_style(np.random.default_rng(seed))
    assert style == rain.random_style(np.random.default_rng(seed))
    assert style.density > 0
    assert style.fall >= style.length > 0
    assert 0 < style.brightness <= 0.8
    assert 0 <= style.veil <= 0.06
    assert all(0 < channel <= 1 for channel in style.airlight)


def test_a_picture_twice_as_large_has_streaks_twice_as_large():
    small, large = (rain.random_style(np.random.default_rng(5), scale) for scale in (1.0, 2.0))
    assert large.length == 2 * small.length
    assert large.width == 2 * small.width
    assert large.fall == pytest.approx(2 * small.fall)
    assert large.density == pytest.approx(small.density / 4)  # the same share of the picture is covered
    assert large.brightness == small.brightness
