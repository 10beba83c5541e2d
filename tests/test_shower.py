"""Showers: several kinds of rain under one wind; bands, gusts and soft ends of the renderer."""
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from streamderain.core import rain, shower
from streamderain.core.rain import RainStyle

DROPS = RainStyle(
    density=60, length=12, width=0.8, slope=0.0, slope_spread=0.0, brightness=0.3, brightness_spread=0.0,
    depth_spread=0.0, fall=5.0, defocus=0.0, blend="add", airlight=(0.8, 0.9, 1.0), veil=0.0,
)  # fmt: skip


def layers(style, *, frames=1, height=64, width=96, seed=0):
    return rain.render(style, frames=frames, height=height, width=width, rng=np.random.default_rng(seed))


def test_a_long_taper_leaves_one_bright_place_and_twice_the_reach():
    single = replace(DROPS, density=3.0, length=24.0, brightness=0.5)
    even, soft = (layers(replace(single, taper=taper, longest_taper=99.0)) for taper in (0.05, 1.0))
    assert (soft > 0.01).sum() > 1.5 * (even > 0.01).sum()
    assert (soft > 0.45).sum() < 0.4 * (even > 0.45).sum()
    assert soft.max() <= even.max() + 1e-6


def test_the_longest_taper_bounds_it():
    long = replace(DROPS, density=3.0, length=60.0)
    half, fifth = (layers(replace(long, taper=taper, longest_taper=8.0)) for taper in (0.5, 0.2))
    assert_array_equal(half, fifth)


@pytest.mark.parametrize("crowd", [-1.0, 0.0, 0.5, 2.0])
def test_of_a_crowd_only_what_stands_out_is_seen(crowd):
    # by hand: the layer less its mean and so many deviations; 2.5 deviations over the mean reach the brightness
    dense = replace(DROPS, density=300.0, brightness=0.05, brightness_spread=0.5)
    plain, shown = layers(dense, frames=2), layers(replace(dense, crowd=crowd), frames=2)
    assert plain.max() < 1  # else saturation would make this another comparison
    expected = (plain - plain.mean() - crowd * plain.std()).clip(0) * 0.05 / ((2.5 - crowd) * plain.std())
    np.testing.assert_allclose(shown, expected.clip(0, 1), atol=1e-4)
    assert (shown > 0).mean() == pytest.approx({-1: 0.9, 0: 0.45, 0.5: 0.3, 2: 0.05}[crowd], abs=0.12)


def test_gusts_thin_the_rain_by_their_depth_at_most_and_stay_where_they_are():
    many = replace(DROPS, density=300.0, brightness=0.1)
    steady, gusty = (layers(replace(many, gusts=depth), frames=2, height=300, width=300) for depth in (0, 0.8))
    seen = (steady.min(axis=0) > 0.05) & (steady.max(axis=0) < 1)
    share = (gusty / np.maximum(steady, 1e-6))[:, seen]
    assert 0.2 - 1e-5 <= share.min() < 0.5 < 0.9 < share.max() <= 1 + 1e-5
    np.testing.assert_allclose(share[0], share[1], rtol=1e-4)


@pytest.mark.parametrize("seed", range(30))
def test_showers_are_seeded_and_share_wind_and_light(seed):
    kinds = shower.random_shower(np.random.default_rng(seed))
    assert kinds == shower.random_shower(np.random.default_rng(seed))
    assert 1 <= len(kinds) <= 3
    assert len({(kind.slope, kind.blend, kind.airlight, kind.gusts) for kind in kinds}) == 1
    assert all(kind.veil == 0 for kind in kinds[1:])
    for kind in kinds:
        slim = shower.SLIM if kind.length > 12.6 else shower.STOUT  # held drops end at 12, grain at 1.4 * SLIM
        assert kind.length >= slim * kind.width * (1 - 1e-9)  # a width is a quotient of the length
        assert kind.fall >= kind.length
        assert 0 < kind.brightness <= 1


def test_both_looks_and_every_number_of_kinds_come_up():
    drawn = [shower.random_shower(np.random.default_rng(seed)) for seed in range(200)]
    counts = np.bincount([len(kinds) for kinds in drawn], minlength=4)[1:] / len(drawn)
    np.testing.assert_allclose(counts, shower.SHARES, atol=0.1)
    every = [kind for kinds in drawn for kind in kinds]
    bands = [kind for kind in every if kind.crowd is not None and kind.slope_spread in (0.0, 0.01, 0.03, 0.06)]
    assert abs(len(bands) / len(every) - (1 - shower.FINE) * shower.CROWDED) < 0.1
    seen = [kind for kind in every if kind not in bands and kind.length <= 30]
    assert abs(np.mean([kinds[0].slope == 0 for kinds in drawn]) - shower.STILL_AIR) < 0.1
    assert abs(np.mean([kinds[0].blend == "light" for kinds in drawn]) - shower.IN_LIGHT) < 0.1
    assert abs(np.mean([kinds[0].oscillation > 0 for kinds in drawn]) - shower.OSCILLATING) < 0.1
    fine = sum(kind.density * kind.length * kind.width * 2.5 / 1e4 >= 0.2 for kind in seen) / len(every)
    wanted = shower.FINE + (1 - shower.FINE) * (shower.DRIZZLE + shower.FAR + shower.GRAIN)
    assert wanted - 0.05 < fine < wanted + 0.1


def test_a_picture_twice_as_large_has_streaks_twice_as_large_but_for_those_of_few_pixels():
    kept = 0
    for seed in range(40):
        small, large = (shower.random_shower(np.random.default_rng(seed), scale) for scale in (1.0, 2.0))
        for one, other in zip(small, large, strict=True):
            few = other.width == one.width
            kept += few
            assert not few or one.width <= 0.55 or (0.7 <= one.width <= 1.4 and one.slope_spread >= 0.05)  # far, grain
            assert (other.length, other.width) == pytest.approx((one.length, one.width) if few else
                                                               (2 * one.length, 2 * one.width))  # fmt: skip
            assert other.density == pytest.approx(one.density / (1 if few else 4))
    assert kept


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(
    "kind, least, most",
    [
        (shower._drops, shower.SLIM, 250), (shower._drizzle, shower.SLIM, 80), (shower._crowd, shower.SLIM, 400),
        (shower._far, shower.SLIM_FAR, 60), (shower._held, shower.STOUT, shower.SLIM),
        (shower._grain, shower.STOUT, shower.SLIM),
    ],
)  # fmt: skip
def test_only_held_drops_and_grain_are_hardly_longer_than_wide(kind, least, most, seed):
    drawn = kind(np.random.default_rng(seed), 2.0)
    assert least * (1 - 1e-9) <= drawn["length"] / drawn["width"] <= most * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_held_drops_are_single_spots_that_no_two_frames_share(seed):
    rng = np.random.default_rng(seed)
    kind = replace(DROPS, slope=0.0, **shower._held(rng, 1.0))
    layers = rain.render(kind, frames=2, height=160, width=160, rng=rng)
    spots, _, boxes, _ = cv2.connectedComponentsWithStats((layers[0] > 0.05).astype(np.uint8))
    assert spots > 1
    tall, wide = boxes[1:, cv2.CC_STAT_HEIGHT], boxes[1:, cv2.CC_STAT_WIDTH]
    assert (tall <= 36).all() and np.median(tall / wide) < 4
    assert (np.minimum(*layers) > 0.05).mean() < 0.2 * (layers[0] > 0.05).mean()


@pytest.mark.parametrize("seed", range(5))
def test_far_drops_are_faint_grain_that_leans_along_the_fall(seed):
    rng = np.random.default_rng(seed)
    kind = replace(DROPS, slope=0.0, **shower._far(rng, 3.0))
    layer = rain.render(kind, frames=1, height=120, width=120, rng=rng)[0]
    layer -= layer.mean()
    down, across = (layer[2:] * layer[:-2]).mean(), (layer[:, 2:] * layer[:, :-2]).mean()
    assert down > 2 * across > -layer.var()
    assert layer.std() < 0.12


def test_a_shower_is_the_sum_of_its_kinds_and_saturates():
    kinds = (replace(DROPS, brightness=0.9), replace(DROPS, brightness=0.8, density=400.0))
    together = shower.render(kinds, frames=2, height=40, width=50, rng=np.random.default_rng(7))
    rng = np.random.default_rng(7)
    apart = [rain.render(kind, frames=2, height=40, width=50, rng=rng) for kind in kinds]
    assert_array_equal(together, np.minimum(apart[0] + apart[1], 1))
    assert together.max() == 1


def test_the_light_of_the_first_kind_falls_on_all():
    clean, opacity = np.full((1, 3, 4, 5), 0.2, np.float32), np.full((1, 4, 5), 0.5, np.float32)
    rainy = shower.compose(clean, opacity, (DROPS, replace(DROPS, airlight=(0.1, 0.1, 0.1))))
    np.testing.assert_allclose(rainy[0, :, 0, 0], [0.6, 0.65, 0.7], rtol=1e-6)
