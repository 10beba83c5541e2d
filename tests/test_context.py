"""What the whole picture says to each of its places."""
import naive
import pytest
import torch
from numpy.testing import assert_allclose

from streamderain.core.context import GlobalContext, squeeze


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (2, 3, 5, 4), (1, 8, 7, 9)])
def test_squeeze_matches_naive(size):
    x = torch.randn(size, generator=torch.Generator().manual_seed(1))
    assert_allclose(squeeze(x).numpy(), naive.squeezed(x.numpy()), rtol=1e-4, atol=1e-6)


def test_the_means_of_parts_weighted_by_their_size_are_those_of_the_whole():
    x = torch.randn(1, 4, 10, 6, generator=torch.Generator().manual_seed(2))
    parts = squeeze(x[:, :, :3]) * 0.3 + squeeze(x[:, :, 3:]) * 0.7
    torch.testing.assert_close(parts, squeeze(x))


def test_a_fresh_context_says_nothing_and_learns():
    torch.manual_seed(0)
    context = GlobalContext(4)
    said = context(squeeze(torch.randn(2, 4, 6, 6)))
    assert said.shape == (2, 4, 1, 1) and not said.any()
    (said - 1).square().sum().backward()
    assert context.say.weight.grad is not None and context.say.weight.grad.any()
