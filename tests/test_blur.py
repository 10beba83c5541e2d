"""Anti-aliased halving and doubling against plain loops."""
import naive
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from streamderain.core.blur import BlurPool, BlurUpsample


def whole_numbers(seed, *shape):
    """Multiples of 16 within float32: all sums are exact, so equality is."""
    return 16.0 * np.random.default_rng(seed).integers(-500, 500, shape)


def each_plane(fast, slow, pictures):
    found = fast(torch.from_numpy(pictures).float()).numpy()
    expected = np.array([[slow(plane) for plane in picture] for picture in pictures])
    return found, expected


@pytest.mark.parametrize("size", [(2, 2), (2, 7), (5, 4), (8, 8), (9, 11)])
def test_halving_matches_naive(size):
    assert_array_equal(*each_plane(BlurPool(3), naive.blur_pool, whole_numbers(size[1], 2, 3, *size)))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (6, 4), (7, 9)])
def test_doubling_matches_naive(size):
    assert_array_equal(*each_plane(BlurUpsample(), naive.blur_upsample, whole_numbers(size[1], 2, 3, *size)))


@pytest.mark.parametrize("blur", [BlurPool(2), BlurUpsample()], ids=["halving", "doubling"])
def test_a_constant_stays_one(blur):
    assert (blur(torch.full((1, 2, 6, 6), 0.375)) == 0.375).all()


def test_halving_works_at_half_precision_and_saves_nothing():
    pool = BlurPool(2)
    assert pool(torch.ones(1, 2, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert pool.state_dict() == {}
