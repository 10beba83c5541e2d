"""Random choices belong to the sample: neither to the batch nor to the process."""
import pytest
import torch

from streamderain.core.chance import Chance

DRAWS = [lambda chance: chance.integers(-5, 900, 40), lambda chance: chance.choice(300, 40)]


@pytest.mark.parametrize("draw", DRAWS, ids=["integers", "choice"])
def test_a_sample_draws_the_same_in_any_company(draw):
    together = draw(Chance([3, 14, 15]))
    for place, seed in enumerate((3, 14, 15)):
        assert torch.equal(together[place], draw(Chance([seed]))[0])
    assert torch.equal(together, draw(Chance(torch.tensor([3, 14, 15]))))


@pytest.mark.parametrize("draw", DRAWS, ids=["integers", "choice"])
def test_the_process_neither_sees_nor_moves_it(draw):
    torch.manual_seed(0)
    first, state = draw(Chance([7])), torch.get_rng_state()
    torch.rand(5)
    assert torch.equal(draw(Chance([7])), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("draw", DRAWS, ids=["integers", "choice"])
def test_a_stream_goes_on_and_samples_differ(draw):
    chance = Chance([1, 2])
    first, second = draw(chance), draw(chance)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("low, high", [(0, 2), (-1, 1), (16, 16), (100, 103)])
def test_integers_reach_both_ends(low, high):
    found = Chance([5, 6]).integers(low, high, 200)
    assert found.shape == (2, 200)
    assert found.dtype == torch.int64
    assert sorted(set(found.flatten().tolist())) == list(range(low, high + 1))


@pytest.mark.parametrize("size, count", [(1, 1), (10, 3), (10, 10), (4, 9)])
def test_choices_are_different_and_in_range(size, count):
    found = Chance([8, 9, 10]).choice(size, count)
    assert found.shape == (3, min(count, size))
    assert found.dtype == torch.int64
    for row in found.tolist():
        assert len(set(row)) == len(row)
        assert set(row) <= set(range(size))


def test_choices_come_in_random_order():
    found = Chance(range(50)).choice(6, 6)
    assert set(found[:, 0].tolist()) == set(range(6))


def test_its_length_is_that_of_the_batch():
    assert len(Chance([4, 4])) == 2


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="no whole number lies between 3 and 2"):
        Chance([0]).integers(3, 2, 1)
