"""Looking twice: the mean of a picture's layer and its mirror image's, by every engine."""
import numpy as np
import pytest
import torch
from engine_fakes import single, stream
from numpy.testing import assert_allclose, assert_array_equal
from test_int8 import codes_of, native

from streamderain import Derainer, weights
from streamderain.core.checkpoint import load_generator, save_generator
from streamderain.engine import Engine
from streamderain.int8_engine import Int8Engine
from streamderain.mirrored import Mirrored


@pytest.mark.parametrize("height, width", [(16, 24), (13, 17)])
def test_the_mean_of_both_views(height, width):
    engine = Engine(stream(), "cpu", backend="eager", precision="fp32")
    padded = torch.rand(12, 16, 24)
    blocks = torch.nn.functional.pixel_unshuffle(padded[None], 2)[0]
    flipped = torch.nn.functional.pixel_unshuffle(padded.flip(-1)[None], 2)[0]
    expected = (engine.run(blocks, 16, 24) + engine.run(flipped, 16, 24)[..., ::-1]) / 2
    rain = Mirrored(engine).run(blocks, height, width)
    assert not np.allclose(rain, engine.run(blocks, height, width), atol=1e-3)  # the network is not symmetric
    assert_allclose(rain, expected[:, :height, :width], atol=1e-6)


@native
def test_in_int8_too():
    engine = Int8Engine(load_generator(weights.find("tiny", "cpu"))[0])
    codes = codes_of((48, 64))[0]
    once, twice = engine.run(codes, 48, 64), Mirrored(engine).run(codes, 48, 64)
    assert 0 < np.abs(twice - once).max() < 0.3
    # by hand: the mirror image's columns, two by two within each place
    swapped = codes[torch.arange(48).reshape(-1, 2).flip(1).flatten()].flip(-1)
    other = engine.run(swapped[None].contiguous(memory_format=torch.channels_last)[0], 48, 64)[..., ::-1]
    assert_allclose(twice, (once + other) / 2, atol=1e-6)


def test_a_symmetric_picture_comes_out_symmetric(tmp_path):
    save_generator(tmp_path / "m.safetensors", stream(), profile="tiny", card={})
    half = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)
    picture = np.concatenate([half, half[:, ::-1]], axis=1)
    settings = {"model": tmp_path / "m.safetensors", "device": "cpu", "backend": "eager", "precision": "fp32"}
    once, twice = (Derainer(**settings, twice=twice)(picture) for twice in (False, True))
    assert (once != once[:, ::-1]).any()
    assert np.abs(twice.astype(int) - twice[:, ::-1]).max() <= 1  # rounding


def test_a_published_network_looks_once(tmp_path):
    save_generator(tmp_path / "m.safetensors", single(), profile="nlcl", card={})
    picture = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
    once, twice = (Derainer(model=tmp_path / "m.safetensors", device="cpu", twice=twice) for twice in (False, True))
    assert_array_equal(once(picture), twice(picture))
