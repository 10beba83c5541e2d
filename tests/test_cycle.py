"""The cycle's six pictures, made in two batches for each translator, are those of six calls."""
from dataclasses import asdict

import pytest
import torch

from streamderain.core.cycle import CycleTranslator
from streamderain.core.generators import ResnetGenerator


@pytest.fixture
def cycle():
    torch.manual_seed(0)
    return CycleTranslator(ResnetGenerator(ngf=2, num_blocks=1), ResnetGenerator(ngf=2, num_blocks=1))


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (2, 3, 8, 12)])
def test_the_six_pictures_are_those_of_direct_calls(cycle, shape):
    rainy, clean = torch.rand(2, *shape) * 2 - 1
    with torch.inference_mode():
        found = asdict(cycle(rainy, clean))
        derained, rained = cycle.to_clean(rainy), cycle.to_rainy(clean)
        expected = {
            "derained": derained, "rained": rained,
            "rainy_again": cycle.to_rainy(derained), "clean_again": cycle.to_clean(rained),
            "same_clean": cycle.to_clean(clean), "same_rainy": cycle.to_rainy(rainy),
        }  # fmt: skip
    assert {name: tuple(picture.shape) for name, picture in found.items()} == dict.fromkeys(expected, shape)
    # instance norm keeps the pictures of a batch apart; only the order of float32 sums may differ
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_each_translator_runs_twice(cycle):
    calls = []
    for name in ("to_clean", "to_rainy"):
        getattr(cycle, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    cycle(*torch.zeros(2, 1, 3, 8, 8))
    assert sorted(calls) == ["to_clean", "to_clean", "to_rainy", "to_rainy"]


@pytest.mark.parametrize("name", ["rainy_again", "clean_again"])
def test_a_rebuilt_picture_trains_both_translators(cycle, name):
    pictures = cycle(*(torch.rand(2, 1, 3, 16, 16) * 2 - 1))
    getattr(pictures, name).square().mean().backward()
    assert all(p.grad is not None for p in cycle.parameters())
