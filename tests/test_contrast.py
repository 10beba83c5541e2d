"""Contrastive losses against closed forms and plain double loops."""
import math

import naive
import numpy as np
import pytest
import torch

from streamderain.core.contrast import (
    AsymmetricContrastiveLoss,
    LayerContrastiveLoss,
    PatchNCELoss,
    ProjectionHead,
    contrast,
    unit,
)

CLOSE = {"rtol": 1e-5, "abs": 1e-5}  # float32 sums of exponents up to 1 / 0.07 = 14
SHAPES = [(1, 2, 2, 3), (1, 8, 13, 5), (3, 4, 9, 16)]  # B, P, Q, D


def vectors(seed, *shape):
    """Of unit length along the last axis; the gradient ends at them."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (drawn / drawn.norm(dim=-1, keepdim=True)).requires_grad_()


def equal(count, dim=4):
    return torch.eye(dim)[0].expand(1, count, dim)


def plain(tensor):
    return tensor.detach().double().numpy()


def mean_of(twin, *batches):
    """A twin's mean over the samples of a batch."""
    return np.mean([twin(*sample) for sample in zip(*(plain(batch) for batch in batches), strict=True)])


def close(value):
    return pytest.approx(value, rel=CLOSE["rtol"], abs=CLOSE["abs"])


# --- closed forms ---
@pytest.mark.parametrize("count", [2, 64, 256])
def test_location_loss_of_equal_vectors(count):
    assert PatchNCELoss()(equal(count), equal(count)).item() == close(math.log(count))


def test_location_loss_of_256_places_is_5_545():
    assert PatchNCELoss()(equal(256), equal(256)).item() == pytest.approx(5.545, abs=5e-4)


@pytest.mark.parametrize("image, rain", [(8, 128), (2, 2), (8, 256)])
def test_layer_loss_of_equal_vectors(image, rain):
    assert LayerContrastiveLoss()(equal(image), equal(rain)).item() == close(math.log(image + rain - 1))


def test_layer_loss_of_two_opposite_clusters():
    found = LayerContrastiveLoss()(equal(8), -equal(128)).item()
    assert found == close((8 * math.log(7) + 128 * math.log(127)) / 136)  # the cross terms, e^-28.6, do not show
    assert found == pytest.approx(4.674, abs=5e-4)


@pytest.mark.parametrize("image", ["inside", "outside"])
@pytest.mark.parametrize("rain", ["inside", "outside"])
def test_asymmetric_loss_of_two_opposite_clusters_is_its_floor(image, rain):
    loss = AsymmetricContrastiveLoss(aggregation_image=image, aggregation_rain=rain)
    # 0 to 1e-9 in theory; float32 keeps 14.3 + ln 127 to 2e-6
    assert loss(equal(8), -equal(128)).item() == pytest.approx(0, abs=1e-5)


def test_asymmetric_loss_of_equal_vectors():
    found = AsymmetricContrastiveLoss()(equal(8), equal(128)).item()
    assert found == close(math.log(135 / 7) + math.log(9))
    assert found == pytest.approx(2.959 + 2.197, abs=1e-3)


@pytest.mark.parametrize("own, other, how, expected", [(8, 128, "inside", 2.959), (128, 8, "outside", 2.197)])
def test_each_direction_of_equal_vectors(own, other, how, expected):
    found = AsymmetricContrastiveLoss._direction(equal(own), equal(other), 0.07, how)
    assert found.item() == pytest.approx(expected, abs=5e-4)


# --- plain twins ---
@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 17, 8), (3, 9, 16)])
def test_location_loss_matches_naive(shape, temperature):
    query, key = vectors(1, *shape), vectors(2, *shape)
    expected = mean_of(lambda q, k: naive.patch_nce(q, k, temperature), query, key)
    assert PatchNCELoss(temperature)(query, key).item() == close(expected)


@pytest.mark.parametrize("pool_size", [1, 12, 40])
def test_location_loss_with_a_pool_matches_naive(pool_size):
    query, key, pool = vectors(1, 2, 9, 8), vectors(2, 2, 9, 8), vectors(3, 2, pool_size, 8)
    negative = torch.rand(2, 9, pool_size, generator=torch.Generator().manual_seed(4)) < 0.5
    twins = zip(plain(query), plain(key), plain(pool), negative.numpy(), strict=True)
    expected = np.mean([naive.patch_nce(q, k, 0.07, p, n) for q, k, p, n in twins])
    assert PatchNCELoss()(query, key, pool, negative).item() == close(expected)


def test_the_other_keys_are_a_pool_without_the_own_one():
    query, key = vectors(5, 2, 6, 4), vectors(6, 2, 6, 4)
    others = ~torch.eye(6, dtype=torch.bool).expand(2, 6, 6)
    torch.testing.assert_close(PatchNCELoss()(query, key, key, others), PatchNCELoss()(query, key))


def test_without_negatives_a_place_costs_nothing():
    query, key, pool = (vectors(seed, 1, 3, 4) for seed in (1, 2, 3))
    none = torch.zeros(1, 3, 3, dtype=torch.bool)
    assert PatchNCELoss()(query, key, pool, none).item() == 0


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_loss_matches_naive(shape, temperature):
    B, P, Q, D = shape
    image, rain = vectors(1, B, P, D), vectors(2, B, Q, D)
    expected = mean_of(lambda b, r: naive.layer_loss(b, r, temperature), image, rain)
    assert LayerContrastiveLoss(temperature)(image, rain).item() == close(expected)


@pytest.mark.parametrize("aggregation_image", ["inside", "outside"])
@pytest.mark.parametrize("aggregation_rain", ["inside", "outside"])
@pytest.mark.parametrize("shape", SHAPES)
def test_asymmetric_loss_matches_naive(shape, aggregation_rain, aggregation_image):
    B, P, Q, D = shape
    image, rain = vectors(1, B, P, D), vectors(2, B, Q, D)
    twins = {"inside": naive.loose_direction, "outside": naive.tight_direction}
    expected = mean_of(lambda b, r: twins[aggregation_image](b, r, 0.14), image, rain)
    expected += mean_of(lambda b, r: twins[aggregation_rain](r, b, 0.07), image, rain)
    loss = AsymmetricContrastiveLoss(0.14, 0.07, aggregation_image, aggregation_rain)
    assert loss(image, rain).item() == close(expected)


def test_asymmetric_default_is_loose_for_the_image_and_tight_for_the_rain():
    image, rain = vectors(3, 1, 6, 4), vectors(4, 1, 7, 4)
    chosen = AsymmetricContrastiveLoss(0.07, 0.07, "inside", "outside")
    assert torch.equal(AsymmetricContrastiveLoss()(image, rain), chosen(image, rain))


def test_inside_is_content_with_one_neighbour_and_outside_is_not():
    # two pairs far from each other, nearer to the negatives than to the other pair
    own = unit(torch.tensor([[[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]]]))
    other = unit(torch.tensor([[[0.5, 0.5, 0.7], [0.5, 0.5, 0.7]]]))
    inside, outside = (AsymmetricContrastiveLoss._direction(own, other, 0.07, how) for how in ("inside", "outside"))
    assert inside < 0.01
    assert outside > 1


def test_one_positive_makes_all_aggregations_one():
    similarity = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(7))
    positive = torch.zeros(2, 5, 7, dtype=torch.bool)
    positive[..., 3] = True
    valid = torch.ones_like(positive)
    expected = -similarity.log_softmax(-1)[..., 3]
    for how in ("outside", "inside", "pairwise"):
        torch.testing.assert_close(contrast(similarity, positive, valid, how), expected)


# --- what all of them owe ---
LOSSES = {
    "location": (PatchNCELoss(), 6, 6),
    "layer": (LayerContrastiveLoss(), 4, 7),
    "asymmetric": (AsymmetricContrastiveLoss(), 4, 7),
    "outside": (AsymmetricContrastiveLoss(0.14, 0.07, "outside", "outside"), 4, 7),
}


@pytest.fixture(params=LOSSES)
def case(request):
    """A loss and two batches of three samples that it takes."""
    loss, first, second = LOSSES[request.param]
    return loss, vectors(8, 3, first, 5), vectors(9, 3, second, 5)


def test_a_batch_is_the_mean_of_its_samples(case):
    loss, first, second = case
    alone = torch.stack([loss(a[None], b[None]) for a, b in zip(first, second, strict=True)])
    assert loss(first, second).item() == close(alone.mean().item())


def test_the_order_of_the_vectors_does_not_matter(case):
    loss, first, second = case
    assert loss(first.flip(1), second.flip(1)).item() == close(loss(first, second).item())


def test_autocast_does_not_reach_the_losses(case):
    loss, first, second = case
    expected = loss(first, second)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (first @ second.transpose(1, 2)).dtype == torch.bfloat16
        found = loss(first, second)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_gradients_are_finite_where_all_is_equal_or_opposite(case):
    loss, first, second = case
    for sign in (1, -1):
        a, b = (equal(each.shape[1]).clone().requires_grad_() for each in (first, second))
        loss(a, sign * b).backward()
        assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("name", ["layer", "asymmetric", "outside"])
def test_both_layers_are_trained(name):
    loss, first, second = LOSSES[name]
    image, rain = vectors(8, 1, first, 5), vectors(9, 1, second, 5)
    loss(image, rain).backward()
    assert image.grad.any(-1).all()
    assert rain.grad.any(-1).all()


def test_keys_and_pools_are_not_trained():
    query, key, pool = vectors(1, 1, 6, 5), vectors(2, 1, 6, 5), vectors(3, 1, 4, 5)
    PatchNCELoss()(query, key).backward()
    PatchNCELoss()(query, key, pool, torch.ones(1, 6, 4, dtype=torch.bool)).backward()
    assert query.grad.any(-1).all()
    assert key.grad is None
    assert pool.grad is None


@pytest.mark.parametrize(
    "arguments",
    [
        (equal(4), equal(5)),
        (equal(4), equal(4, dim=5)),
        (equal(4), equal(4), equal(3)),
        (equal(4), equal(4), None, torch.ones(1, 4, 3, dtype=torch.bool)),
    ],
    ids=["places", "dims", "no-mask", "no-pool"],
)
def test_shapes_that_do_not_belong_together_are_refused(arguments):
    with pytest.raises(ValueError, match=r"query is \(1, 4, 4\), key .*; a pool needs its mask"):
        PatchNCELoss()(*arguments)


# --- heads ---
@pytest.mark.parametrize(
    "channels, parameters",
    [((32,) * 5, 371_200), ((64, 128, 256, 512), 509_952), ((3, 64, 128, 256), 379_648)],
)
def test_heads_have_the_published_parameters(channels, parameters):
    with torch.device("meta"):  # counts only
        head = ProjectionHead(channels)
    assert sum(p.numel() for p in head.parameters()) == parameters
    assert len(head.state_dict()) == 4 * len(channels)


def test_heads_embed_at_unit_length():
    torch.manual_seed(0)
    head = ProjectionHead((3, 7), dim=16)
    features = [torch.randn(2, 5, 3), 100 * torch.randn(2, 4, 7)]
    embedded = head(features)
    assert [tuple(each.shape) for each in embedded] == [(2, 5, 16), (2, 4, 16)]
    for level, given, found in zip(head.levels, features, embedded, strict=True):
        # the weights start so small that the 1e-7 beside the length shows
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(found.shape[:2]), rtol=0, atol=2e-3)
        assert torch.equal(found, unit(level(given)))


def test_heads_stay_in_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ProjectionHead((3,), dim=8)([torch.randn(1, 5, 3)])[0]
    assert found.dtype == torch.float32


def test_unit_survives_a_vector_of_zeros():
    zeros = torch.zeros(1, 2, 4)
    assert torch.equal(unit(zeros), zeros)


def test_heads_start_as_cut_does():
    torch.manual_seed(1)
    for level in ProjectionHead((32, 512)).levels:
        for layer in (level[0], level[2]):
            assert not layer.bias.any()
            std = 0.02 * (2 / (layer.in_features + layer.out_features)) ** 0.5
            # 8,192 weights at least: the sample's own spread is below 1%
            assert layer.weight.std().item() == pytest.approx(std, rel=0.04)


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_levels_is_refused(count):
    with pytest.raises(ValueError, match=f"{count} levels of features for a head of 2"):
        ProjectionHead((3, 3), dim=4)([torch.zeros(1, 2, 3)] * count)
