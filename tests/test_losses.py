"""The plain terms against their closed forms."""
from contextlib import nullcontext

import naive
import numpy as np
import pytest
import torch

from streamderain.core import metrics, rain
from streamderain.core.losses import ConsistencyLoss, GANLoss, IdentityLoss, SparsityLoss, SSIMLoss
from streamderain.core.precision import full_precision


def logits(value):
    return torch.full((2, 1, 5, 5), float(value))


def pictures(seed, *shape):
    """Two alike ones, 0..1."""
    draw = np.random.default_rng(seed)
    first = draw.uniform(0, 1, shape)
    return first, np.clip(first + draw.normal(0, 0.2, shape), 0, 1)


# --- adversarial ---
@pytest.mark.parametrize("real, fake, expected", [(1, 0, 0), (0, 1, 1), (0.5, 0.5, 0.25), (1, 1, 0.5), (3, -2, 4)])
def test_least_squares_discriminator(real, fake, expected):
    assert GANLoss("lsgan").discriminator(logits(real), logits(fake)).item() == expected


@pytest.mark.parametrize("fake, expected", [(0, 1), (1, 0), (2, 1), (-1, 4)])
def test_least_squares_generator(fake, expected):
    assert GANLoss("lsgan").generator(logits(fake)).item() == expected


@pytest.mark.parametrize("real, fake, expected", [(1, -1, 0), (5, -9, 0), (0, 0, 1), (-1, 1, 2), (1, 1, 1)])
def test_hinge_discriminator(real, fake, expected):
    assert GANLoss("hinge").discriminator(logits(real), logits(fake)).item() == expected


@pytest.mark.parametrize(
    "form, fake, expected",
    [("hinge", 0, 1), ("hinge", -2, 3), ("hinge", 1, 0), ("hinge", 4, 0), ("linear", 4, -4), ("linear", -2, 2)],
)
def test_hinge_generator_in_both_forms(form, fake, expected):
    assert GANLoss("hinge", form).generator(logits(fake)).item() == expected


def test_the_published_hinge_is_silent_above_one():
    for form, moves in (("hinge", False), ("linear", True)):
        fake = logits(2).requires_grad_()
        GANLoss("hinge", form).generator(fake).backward()
        assert fake.grad.any().item() == moves


def test_logits_of_half_precision_are_judged_in_float32():
    half = logits(1.01).bfloat16()
    for found in (GANLoss("lsgan").generator(half), GANLoss("hinge").discriminator(half, half)):
        assert found.dtype == torch.float32


# --- structure ---
def test_ssim_of_equal_pictures_is_no_loss():
    picture = torch.rand(2, 3, 17, 20)
    assert SSIMLoss()(picture, picture).item() == pytest.approx(0, abs=1e-6)  # one rounding of float32


@pytest.mark.parametrize("size", [(11, 11), (14, 19), (5, 6)])
def test_ssim_matches_naive(size):
    a, b = pictures(size[1], 2, 3, *size)
    planes = zip(a.reshape(-1, *size), b.reshape(-1, *size), strict=True)
    expected = 1 - np.mean([naive.ssim_map(one, other) for one, other in planes])
    found = SSIMLoss()(torch.from_numpy(a), torch.from_numpy(b)).item()
    assert found == pytest.approx(expected, abs=1e-5)  # variances as differences of float32 means


def test_away_from_the_border_ssim_is_that_of_the_metrics():
    a, b = pictures(3, 20, 23)
    inside = naive.ssim_map(a, b)[5:-5, 5:-5]
    assert inside.mean() == pytest.approx(metrics.ssim(255 * a, 255 * b), abs=1e-9)


def test_ssim_of_another_range_is_the_same():
    a, b = (torch.from_numpy(each).float() for each in pictures(4, 1, 3, 16, 16))
    found = SSIMLoss(data_range=255.0)(255 * a, 255 * b)
    assert found.item() == pytest.approx(SSIMLoss()(a, b).item(), abs=1e-5)


def test_ssim_trains_towards_the_truth():
    a, b = (torch.from_numpy(each).float() for each in pictures(5, 1, 3, 16, 16))
    a.requires_grad_()
    before = SSIMLoss()(a, b)
    before.backward()
    assert torch.isfinite(a.grad).all()
    assert SSIMLoss()(a.detach() - a.grad, b) < before


@pytest.mark.parametrize("by_name", [False, True])
def test_autocast_does_not_reach_ssim(by_name):
    a, b = (torch.from_numpy(each).float() for each in pictures(6, 1, 3, 16, 16))
    expected = SSIMLoss()(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = SSIMLoss()(picture=a, truth=b) if by_name else SSIMLoss()(a, b)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("by_name", [False, True])
def test_autocast_is_switched_off_where_the_tensors_are(monkeypatch, by_name):
    asked = []
    monkeypatch.setattr(torch, "autocast", lambda device, enabled: asked.append((device, enabled)) or nullcontext())
    far = torch.empty(1, device="meta")
    full_precision(lambda x: x)(**{"x": far}) if by_name else full_precision(lambda x: x)(far)
    assert asked == [("meta", False)]


def test_ssim_saves_nothing():
    assert SSIMLoss().state_dict() == {}


# --- consistency, sparsity, identity ---
def test_layers_that_add_up_are_consistent():
    background, layer = torch.rand(2, 3, 4, 4).mul(64).round() / 64, torch.rand(2, 3, 4, 4).mul(64).round() / 64
    assert ConsistencyLoss()(background, layer, background + layer).item() == 0  # multiples of 1/64 add exactly


@pytest.mark.parametrize("background, layer, rainy, expected", [(0.5, 0.25, 0.25, 0.25), (-1, 0, 1, 4), (0, 2, 0, 4)])
def test_consistency_is_the_squared_rest(background, layer, rainy, expected):
    planes = (torch.full((1, 3, 4, 4), float(value)) for value in (background, layer, rainy))
    assert ConsistencyLoss()(*planes).item() == expected


def test_sparsity_is_the_mean_magnitude():
    layer = torch.zeros(1, 3, 4, 4)
    layer[..., :2] = torch.tensor([1.0, -0.5])
    assert SparsityLoss()(layer).item() == 0.375
    assert SparsityLoss()(torch.zeros(1, 3, 4, 4)).item() == 0


def test_identity_is_the_mean_difference():
    picture = torch.zeros(2, 3, 4, 4)
    mapped = picture.clone()
    mapped[0] = -0.5
    assert IdentityLoss()(mapped, picture).item() == 0.25
    assert IdentityLoss()(picture, picture).item() == 0


def test_plain_terms_are_float32_whatever_comes():
    half = torch.full((1, 3, 4, 4), 0.1).bfloat16()
    whole = torch.full((1, 3, 4, 4), 0.1)
    found = ConsistencyLoss()(half, half, whole), SparsityLoss()(half), IdentityLoss()(half, whole)
    assert [each.dtype for each in found] == [torch.float32] * 3


# --- the ranges in which they work ---
def test_a_synthetic_rain_layer_is_twice_its_own_in_the_networks_range():
    draw = np.random.default_rng(0)
    style = rain.RainStyle(
        density=60, length=12, width=0.8, slope=0.2, slope_spread=0.0, brightness=0.3, brightness_spread=0.0,
        depth_spread=0.0, fall=5.0, defocus=0.0, blend="add", airlight=(0.8, 0.9, 1.0), veil=0.0,
    )  # fmt: skip
    opacity = rain.render(style, frames=1, height=24, width=32, rng=draw)
    clean = draw.uniform(0, 0.4, (1, 3, 24, 32)).astype(np.float32)  # dark enough that nothing is clipped
    rainy = rain.compose(clean, opacity, style)
    layer = torch.from_numpy(rainy - clean)
    rainy_n, clean_n = (2 * torch.from_numpy(each) - 1 for each in (rainy, clean))
    layer_n = rainy_n - clean_n
    assert layer.max() > 0.1
    assert layer_n.min() >= 0
    torch.testing.assert_close(layer_n, 2 * layer, rtol=0, atol=1e-6)  # roundings of float32 near 1
    assert ConsistencyLoss()(clean_n, layer_n, rainy_n).item() < 1e-12


@pytest.mark.parametrize("words", [("lsgn",), ("hinge", "square")])
def test_a_game_that_nobody_plays_is_refused(words):
    with pytest.raises(ValueError, match="see GANLoss"):
        GANLoss(*words)
