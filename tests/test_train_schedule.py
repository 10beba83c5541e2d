"""The learning rates of the papers at every epoch, and what becomes of them when the steps are fewer or more."""
import math

import pytest

from streamderain.trainers.config import TrainConfig
from streamderain.trainers.schedule import rate_factor

LINEAR = TrainConfig(steps=210, epochs=200, decay_epochs=10)
STEPS = TrainConfig(steps=150, epochs=150, decay_epochs=0, schedule="steps", milestones=(30, 50, 80))
COSINE = TrainConfig(steps=110, schedule="cosine", warmup=10)


@pytest.mark.parametrize("each", [1, 3, 7])
def test_linear_declines_in_stairs_of_an_epoch(each):
    config = TrainConfig(steps=210 * each, epochs=200, decay_epochs=10)
    for epoch in range(210):
        for step in (epoch * each, epoch * each + each - 1):
            assert rate_factor(step, config) == 1 - max(0, epoch + 1 - 200) / 11


def test_linear_at_its_corners():
    assert [rate_factor(step, LINEAR) for step in (0, 198, 199)] == [1, 1, 1]
    assert [rate_factor(step, LINEAR) for step in (200, 209)] == pytest.approx([10 / 11, 1 / 11])
    assert rate_factor(10_000, LINEAR) == 0


def test_cclgan_declines_over_as_many_epochs_as_it_was_constant():
    config = TrainConfig(steps=400, epochs=200, decay_epochs=200)
    assert rate_factor(199, config) == 1
    assert rate_factor(299, config) == pytest.approx(1 - 100 / 201)
    assert rate_factor(399, config) == pytest.approx(1 / 201)


@pytest.mark.parametrize("epoch, factor", [(0, 1), (29, 1), (30, 0.2), (49, 0.2), (50, 0.04), (79, 0.04), (80, 0.008),
                                           (149, 0.008)])
def test_steps_fall_at_the_milestones(epoch, factor):
    assert rate_factor(epoch, STEPS) == pytest.approx(factor)


@pytest.mark.parametrize("steps", [15, 150, 1500, 100_000])
def test_milestones_stretch_with_the_steps(steps):
    config = TrainConfig(steps=steps, epochs=150, decay_epochs=0, schedule="steps", milestones=(30, 50, 80))
    factors = [rate_factor(step, config) for step in range(steps)]
    counts = [factors.count(each) for each in sorted(set(factors), reverse=True)]
    assert counts == pytest.approx([steps * share / 150 for share in (30, 20, 30, 70)], abs=1)


@pytest.mark.parametrize("config", [LINEAR, STEPS], ids=["linear", "steps"])
def test_one_step_is_taken_at_the_full_rate(config):
    one = TrainConfig(steps=1, epochs=config.epochs, decay_epochs=config.decay_epochs, schedule=config.schedule,
                      milestones=config.milestones)  # fmt: skip
    assert rate_factor(0, one) == 1


def test_cosine_rises_and_falls():
    assert [rate_factor(step, COSINE) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1])
    assert rate_factor(10, COSINE) == 1
    assert rate_factor(60, COSINE) == pytest.approx(0.01 + 0.99 / 2)
    assert rate_factor(35, COSINE) == pytest.approx(0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2)
    assert [rate_factor(step, COSINE) for step in (110, 500)] == pytest.approx([0.01, 0.01])


def test_cosine_without_warmup_starts_at_the_top():
    assert rate_factor(0, TrainConfig(steps=5, schedule="cosine")) == 1


def test_a_warmup_longer_than_the_run_only_rises():
    config = TrainConfig(steps=4, schedule="cosine", warmup=8)
    assert [rate_factor(step, config) for step in range(4)] == [1 / 8, 2 / 8, 3 / 8, 4 / 8]
