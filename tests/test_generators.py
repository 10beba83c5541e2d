"""The published NLCL generator: its size, its arithmetic and its taps."""
import pytest
import torch
from torch import nn

from streamderain.core.generators import ResidualGenerator


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return ResidualGenerator().eval()


def test_parameters_are_those_of_the_release(generator):
    assert sum(p.numel() for p in generator.parameters()) == 316_195


def test_operations_per_pixel_are_those_of_the_release(generator):
    weights = [m.weight.numel() for m in generator.modules() if isinstance(m, nn.Conv2d)]
    assert sum(weights) == 315_072  # stride 1 everywhere: one use of each weight per pixel


@pytest.mark.parametrize("size", [(16, 16), (7, 13)])
def test_any_size_keeps_its_shape(generator, size):
    with torch.inference_mode():
        assert generator(torch.zeros(2, 3, *size)).shape == (2, 3, *size)


def test_taps_are_the_outputs_of_the_numbered_modules(generator):
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    with torch.inference_mode():
        taps = generator.features(x, (0, 2, 4, 8, 12))
        assert [t.shape[1] for t in taps] == [32] * 5
        torch.testing.assert_close(taps[0], generator.layers[0](x))
        torch.testing.assert_close(taps[1], generator.layers[2](generator.layers[1](taps[0])))


def test_last_tap_is_the_output(generator):
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    with torch.inference_mode():
        first, last = generator.features(x, [0, 18])
        assert first.shape == (1, 32, 8, 8)
        torch.testing.assert_close(last, generator(x))


def test_taps_run_no_further_than_the_last_one(generator):
    reached = []
    hooks = [layer.register_forward_hook(lambda *_, n=n: reached.append(n)) for n, layer in enumerate(generator.layers)]
    generator.features(torch.zeros(1, 3, 8, 8), [4])
    for hook in hooks:
        hook.remove()
    assert reached == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("layers", [[19], [-1, 0]])
def test_unknown_taps_are_named(generator, layers):
    with pytest.raises(ValueError, match="the generator has 0 to 18"):
        generator.features(torch.zeros(1, 3, 8, 8), layers)


def test_norm_couples_distant_pixels(generator):
    x = torch.zeros(1, 3, 96, 96)
    y = x.clone()
    y[..., 0, 0] = 1
    with torch.inference_mode():
        # 36 convolutions of 3x3 reach 36 pixels; only the statistics reach the far corner
        assert not torch.equal(generator(x)[..., -1, -1], generator(y)[..., -1, -1])


def test_gradients_reach_every_parameter():
    generator = ResidualGenerator(channels=4, num_blocks=1)
    generator(torch.rand(1, 3, 8, 8)).square().mean().backward()
    assert all(p.grad is not None for p in generator.parameters())
