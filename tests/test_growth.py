"""A network started from a smaller one does what that did, and can learn beyond it."""
from dataclasses import replace

import pytest
import torch
from test_stream import ASKING, SMALL, randomised

from streamderain.core.companions import CHANNELS
from streamderain.core.growth import grow
from streamderain.core.stream import StreamConfig, StreamGenerator

LARGE = StreamConfig(widths=(7, 9, 20), blocks=(2, 1, 3, 1, 2))
FRAME = torch.rand(1, CHANNELS, 24, 32, generator=torch.Generator().manual_seed(3))


def fresh(config, seed=1):
    torch.manual_seed(seed)
    return StreamGenerator(config)


@pytest.mark.parametrize("config", [SMALL, LARGE])
def test_the_function_stays_the_same(config):
    small, large = randomised(), fresh(config)
    grow(small, large)
    with torch.inference_mode():
        torch.testing.assert_close(large(FRAME), small(FRAME), rtol=1e-4, atol=1e-5)


def test_a_context_grows_too():
    small, large = randomised(ASKING), fresh(replace(LARGE, blocks=(2, 1, 3, 1, 4), context=True))
    grow(small, large)
    with torch.inference_mode():
        torch.testing.assert_close(large(FRAME), small(FRAME), rtol=1e-4, atol=1e-5)
        small.context.say.weight += 1
        assert (large(FRAME) - small(FRAME)).abs().max() > 1e-3


def test_a_context_that_is_new_says_nothing_yet():
    small, large = randomised(), fresh(replace(LARGE, context=True))
    grow(small, large)
    with torch.inference_mode():
        torch.testing.assert_close(large(FRAME), small(FRAME), rtol=1e-4, atol=1e-5)


def test_a_block_that_there_is_no_room_for_is_left_out():
    small, flat = randomised(), fresh(replace(SMALL, blocks=(0, 0, 1, 1, 1)))
    grow(small, flat)
    for name, value in flat.state_dict().items():
        assert torch.equal(value, small.state_dict()[name]), name


def test_what_was_idle_learns():
    small, large = randomised(), fresh(LARGE)
    grow(small, large)
    step = torch.optim.SGD(large.parameters(), 0.05)
    for _ in range(3):  # the gate of a new block opens first, then what is behind it
        step.zero_grad()
        (large(FRAME) - 0.3).square().mean().backward()
        step.step()
    for name, parameter in large.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert large.tail.weight[:, 4:].abs().max() > 0


def test_a_narrower_network_is_refused():
    with pytest.raises(ValueError, match="head has 48 to 4 channels"):
        grow(randomised(), fresh(replace(SMALL, widths=(3, 6, 8))))


WIDE = StreamConfig(widths=(8, 12, 17), blocks=(2, 1, 3, 1, 4), context=True)


def test_twice_as_wide_it_begins_as_the_mean_with_the_mirror_image():
    small, large = randomised(ASKING), fresh(WIDE)
    grow(small, large)
    with torch.inference_mode():
        expected = (small(FRAME) + small(FRAME.flip(-1)).flip(-1)) / 2
        torch.testing.assert_close(large(FRAME), expected, rtol=1e-4, atol=1e-5)
        assert (small(FRAME) - expected).abs().max() > 1e-2, "a network that is its own mirror image shows nothing"
