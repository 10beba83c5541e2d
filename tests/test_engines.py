"""Which engine is opened, and what is said where the wanted one cannot be had."""
import numpy as np
import pytest
import torch

from streamderain import Derainer, weights
from streamderain.core import int8
from streamderain.core.checkpoint import load_generator
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import StreamGenerator
from streamderain.engine import Engine, cpu_has_bf16
from streamderain.engines import open_engine
from streamderain.errors import DerainError
from streamderain.int8_engine import Int8Engine


@pytest.fixture
def native(monkeypatch):
    monkeypatch.setattr(int8, "cpu_has_int8", lambda: True)


def shipped():
    return load_generator(weights.find("tiny", "cpu"))[0]


def test_weights_with_ranges_run_in_int8_where_the_processor_can(native):
    made = open_engine(shipped(), "cpu")
    assert isinstance(made, Int8Engine)
    assert (made.device, made.backend, made.precision) == ("cpu", "eager", "int8")


def test_without_instructions_for_int8_it_is_the_float_engine(monkeypatch):
    monkeypatch.setattr(int8, "cpu_has_int8", lambda: False)
    made = open_engine(shipped(), "cpu")
    assert isinstance(made, Engine)
    assert made.precision == ("bf16" if cpu_has_bf16() else "fp32")
    with pytest.raises(DerainError, match="no instructions for int8; leave --precision out"):
        open_engine(shipped(), "cpu", precision="int8")


def test_weights_without_ranges_are_not_run_in_int8(native):
    fresh = StreamGenerator.from_profile("tiny").eval()
    assert isinstance(open_engine(fresh, "cpu"), Engine)
    with pytest.raises(DerainError, match="without the ranges that int8 needs"):
        open_engine(fresh, "cpu", precision="int8")


def test_a_published_network_is_not_run_in_int8(native):
    published = SingleFrameDerainer(ResidualGenerator(channels=4, num_blocks=1).eval(), low=0, output="background")
    assert open_engine(published, "cpu").precision == "fp32"
    with pytest.raises(DerainError, match="only networks made by"):
        open_engine(published, "cpu", precision="int8")


def test_int8_is_not_compiled(native):
    with pytest.raises(DerainError, match="runs eagerly"):
        open_engine(shipped(), "cpu", backend="compile", precision="int8")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_by_name_is_taken(native, precision):
    made = open_engine(shipped(), "cpu", precision=precision)
    assert isinstance(made, Engine)
    assert made.precision == precision
    assert made.input_dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


@pytest.mark.parametrize("precision", ["fp16", "int4"])
def test_a_precision_that_is_not_to_be_had_is_refused(precision):
    with pytest.raises(DerainError, match=f"'{precision}' is not to be had on cpu; give auto, fp32 or bf16"):
        open_engine(StreamGenerator.from_profile("tiny").eval(), "cpu", precision=precision)


@pytest.mark.skipif(not int8.cpu_has_int8(), reason="this processor has no instructions for int8")
def test_a_clip_in_int8_is_the_clip_in_float_within_a_fraction_of_a_level():
    rng = np.random.default_rng(0)
    scene = np.repeat(np.repeat(rng.integers(40, 180, (6, 9, 3)), 8, 0), 8, 1)
    clip = []
    for _ in range(5):
        rainy = scene.copy()
        for x in rng.integers(0, 72, 8):
            rainy[rng.integers(0, 30) :, x][:14] += 55
        clip.append(np.clip(rainy, 0, 255).astype(np.uint8))
    whole, coded = (Derainer(profile="tiny", device="cpu", precision=name) for name in ("fp32", "int8"))
    assert (whole.precision, coded.precision) == ("fp32", "int8")
    for now, following in zip(clip, [*clip[1:], None], strict=True):
        one, other = whole(now, following).astype(int), coded(now, following).astype(int)
        assert np.abs(one - now).mean() > 0.5  # there was rain to take away
        assert np.abs(one - other).mean() < 0.5


@pytest.mark.skipif(not int8.cpu_has_int8(), reason="this processor has no instructions for int8")
def test_int8_says_the_same_as_a_tensor():
    made = open_engine(shipped(), "cpu")
    codes = torch.randint(0, 255, (48, 6, 10), dtype=torch.uint8)
    codes = codes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    whole = made.rain(codes)
    assert whole.shape == (4, 8, 16)
    np.testing.assert_array_equal(whole[:, :7, :13].numpy(), made.run(codes, 7, 13))


def test_an_input_that_lies_as_the_network_wants_it_is_not_copied():
    given = []
    model = StreamGenerator.from_profile("tiny").eval()
    model.from_blocks = lambda batch: given.append(batch) or torch.zeros(1, 3, 12, 20)
    made = Engine(model, "cpu", precision="fp32")
    for seen in (torch.rand(6, 10, 48).permute(2, 0, 1), torch.rand(48, 6, 10)):
        made.rain(seen)
        assert torch.equal(given[-1][0], seen)
        assert given[-1].is_contiguous(memory_format=torch.channels_last)
        assert (given[-1].data_ptr() == seen.data_ptr()) == (seen.stride(0) == 1)
