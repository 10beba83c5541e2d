"""Rounded weights keep what their kernels add up to."""
import naive
import pytest
import torch

from streamderain.core.rounding import rounded


def kernels(shape, seed=0):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return 127 * weight / weight.abs().amax((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("shape", [(3, 5, 3, 3), (4, 2, 2, 2), (8, 16, 1, 1), (1, 1, 3, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_it_matches_naive(shape, seed):
    weight = kernels(shape, seed)
    assert torch.equal(rounded(weight), torch.tensor(naive.rounded(weight.numpy())))


def test_a_kernel_keeps_its_sum_and_its_weights():
    weight = kernels((16, 32, 3, 3))
    whole = rounded(weight).float()
    assert (whole - weight).abs().max() < 1
    assert (whole - weight).sum((2, 3)).abs().max() <= 0.5 + 1e-4
    alone = (weight.round() - weight).sum((2, 3))
    assert alone.abs().max() > 1  # which rounding them one by one does not
    assert ((whole != weight.round()).sum((2, 3)) == alone.round().abs()).all()  # and no more of them move than need be


def test_what_is_whole_stays():
    weight = torch.arange(-127.0, 125.0).reshape(1, 28, 3, 3)
    assert torch.equal(rounded(weight).float(), weight)
