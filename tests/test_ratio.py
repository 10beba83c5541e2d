"""Contrastive ratios against plain arithmetic."""
import numpy as np
import pytest
import torch

from streamderain.core.ratio import ContrastiveRatioLoss

REDUCTIONS = ["ratio_of_sums", "sum_of_ratios", "mean_over_locations"]
WEIGHTS = 0.25, 2.0
SHAPES = (2, 5, 4), (2, 3, 6)  # of two levels: B, N, D


def levels(seed):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw) for shape in SHAPES]


def apart(a, b, axes):
    return np.abs(a.double().numpy() - b.double().numpy()).mean(axes)


def expected(reduction, anchors, positive, negatives, negative_weights, pair=0.0):
    """The formula written out, level by level."""
    axes = {"ratio_of_sums": (0, 1, 2), "sum_of_ratios": (1, 2), "mean_over_locations": 2}[reduction]
    near, far = [], []
    for n in range(len(WEIGHTS)):
        near.append(sum(apart(anchor[n], positive[n], axes) for anchor in anchors))
        if pair:
            near[n] = near[n] + pair * apart(anchors[0][n], anchors[1][n], axes)
        pairs = [(w, a, m) for a in anchors for w, m in zip(negative_weights, negatives, strict=True)]
        far.append(sum(weight * apart(anchor[n], negative[n], axes) for weight, anchor, negative in pairs))
    if reduction == "ratio_of_sums":
        return sum(w * a for w, a in zip(WEIGHTS, near, strict=True)) / (
            sum(w * b for w, b in zip(WEIGHTS, far, strict=True)) + 1e-7
        )
    total = sum(w * np.mean(a / (b + 1e-7)) for w, a, b in zip(WEIGHTS, near, far, strict=True))
    return total / sum(WEIGHTS) if reduction == "mean_over_locations" else total


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("negative_weights", [(1.0,), (1.0, 0.1)])
def test_one_anchor_matches_the_formula(negative_weights, reduction):
    anchor, positive = levels(1), levels(2)
    negatives = [levels(3 + n) for n in range(len(negative_weights))]
    loss = ContrastiveRatioLoss(WEIGHTS, reduction, negative_weights=negative_weights)
    found = loss([anchor], positive, negatives)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected(reduction, [anchor], positive, negatives, negative_weights), rel=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("pair", [0.0, 0.2])
def test_two_anchors_match_the_formula(pair, reduction):
    anchors, positive, negatives = [levels(1), levels(5)], levels(2), [levels(3)]
    found = ContrastiveRatioLoss(WEIGHTS, reduction, pair=pair)(anchors, positive, negatives).item()
    assert found == pytest.approx(expected(reduction, anchors, positive, negatives, (1.0,), pair), rel=1e-5)


def test_by_hand():
    anchor, positive, negative = ([torch.full((1, 1, 1), value)] for value in (3.0, 2.0, 7.0))
    for reduction in REDUCTIONS:
        assert ContrastiveRatioLoss([1.0], reduction)([anchor], positive, [negative]).item() == pytest.approx(1 / 4)


def test_one_level_of_equal_distances_makes_all_reductions_one():
    zeros, ones = [torch.zeros(2, 3, 4)], [torch.ones(2, 3, 4)]
    for reduction in REDUCTIONS:
        assert ContrastiveRatioLoss([1.0], reduction)([zeros], ones, [ones]).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_an_anchor_at_its_positive_costs_nothing(reduction):
    anchor = levels(1)
    assert ContrastiveRatioLoss(WEIGHTS, reduction)([anchor], anchor, [levels(2)]).item() == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_an_anchor_at_its_negative_stays_finite(reduction):
    anchor = [level.requires_grad_() for level in levels(1)]
    found = ContrastiveRatioLoss(WEIGHTS, reduction)([anchor], levels(2), [anchor])
    found.backward()
    assert 1e5 < found.item() < 1e8  # a distance of about 1 over eps
    assert all(torch.isfinite(level.grad).all() for level in anchor)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_step_downhill_goes_towards_the_positive_and_from_the_negative(reduction):
    anchor = [level.requires_grad_() for level in levels(1)]
    positive, negative = levels(2), levels(3)
    loss = ContrastiveRatioLoss(WEIGHTS, reduction)
    before = loss([anchor], positive, [negative])
    before.backward()
    moved = [level.detach() - 1e-3 * level.grad for level in anchor]
    assert all(level.grad.any() for level in anchor)
    assert loss([moved], positive, [negative]) < before
    aims = [(level.grad * (level.detach() - p)).sum() for level, p in zip(anchor, positive, strict=True)]
    flees = [(level.grad * (level.detach() - n)).sum() for level, n in zip(anchor, negative, strict=True)]
    assert sum(aims) > 0 > sum(flees)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_detached_features_do_not_move(reduction):
    anchor, positive, negative = ([level.requires_grad_() for level in levels(seed)] for seed in (1, 2, 3))
    still = [[level.detach() for level in each] for each in (positive, negative)]
    ContrastiveRatioLoss(WEIGHTS, reduction)([anchor], still[0], [still[1]]).backward()
    assert all(level.grad is not None for level in anchor)
    assert all(level.grad is None for level in (*positive, *negative))


def test_pictures_may_have_any_shape_but_for_places():
    shapes = (2, 3, 8, 8), (2, 12)  # a feature map and one vector for each picture
    anchor, positive, negative = ([torch.rand(shape) for shape in shapes] for _ in range(3))
    for reduction in ("ratio_of_sums", "sum_of_ratios"):
        assert ContrastiveRatioLoss(WEIGHTS, reduction)([anchor], positive, [negative]).shape == ()


def test_half_precision_is_summed_in_float32():
    anchor, positive, negative = (levels(seed) for seed in (1, 2, 3))
    halves = [[level.bfloat16() for level in each] for each in (anchor, positive, negative)]
    loss = ContrastiveRatioLoss(WEIGHTS, "sum_of_ratios")
    found = loss([halves[0]], halves[1], [halves[2]])
    again = [[level.float() for level in each] for each in halves]
    assert found.dtype == torch.float32
    assert torch.equal(found, loss([again[0]], again[1], [again[2]]))


@pytest.mark.parametrize(
    "positive, negatives, given",
    [(2, 2, "2 negatives of 2 levels"), (2, 0, "0 negatives of 2 levels"), (1, 1, "1 negatives of 1 levels")],
)
def test_what_was_not_announced_is_refused(positive, negatives, given):
    loss = ContrastiveRatioLoss(WEIGHTS, "ratio_of_sums")
    with pytest.raises(ValueError, match=f"{given}; there must be 1 of 2"):
        loss([levels(1)], levels(2)[:positive], [levels(3)] * negatives)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction is 'mean'; see ContrastiveRatioLoss"):
        ContrastiveRatioLoss([1.0], "mean")
