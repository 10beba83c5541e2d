"""Published networks in the stream generator's place: value ranges, paddings, and what rebuilds them."""
import json

import numpy as np
import pytest
import torch
from torch import nn

from streamderain.core.generators import ResidualGenerator, ResnetGenerator
from streamderain.core.multiscale import RecursiveMultiScaleNet
from streamderain.core.single_frame import FAMILIES, SingleFrameDerainer, frame_input
from streamderain.core.stream import mac_per_pixel


def small(family):
    torch.manual_seed(0)
    make = {
        "residual": lambda: ResidualGenerator(4, 1),
        "resnet": lambda: ResnetGenerator(2, 1),
        "multiscale": lambda: RecursiveMultiScaleNet(2, (2, 2, 2, 2, 2), (1, 2)),
    }
    return make[family]().eval()


def constant(value):
    """A network that puts out one number everywhere."""
    network = ResidualGenerator(2, 0, norm="none")
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(network.layers[-1].bias, value)
    return network


@pytest.fixture
def seen(monkeypatch):
    """What the networks of a test were given."""
    inputs = []
    forward = ResidualGenerator.forward
    monkeypatch.setattr(ResidualGenerator, "forward", lambda self, x: inputs.append(x) or forward(self, x))
    return inputs


@pytest.mark.parametrize("low", [-1, 0])
def test_the_network_sees_its_own_range(seen, low):
    rgb = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(1, 3, 4, 4)
    SingleFrameDerainer(constant(0.0), low=low, output="rain")(rgb)
    expected = 2 * rgb - 1 if low else rgb
    assert torch.equal(seen[0], expected)


@pytest.mark.parametrize("low, code, background", [(-1, -0.5, 0.25), (-1, 1.0, 1.0), (0, 0.25, 0.25), (0, 1.5, 1.0),
                                                   (-1, -3.0, 0.0), (0, -0.5, 0.0)])  # fmt: skip
def test_a_background_is_mapped_back_and_clamped(low, code, background):
    rgb = torch.rand(2, 3, 5, 7)
    rain = SingleFrameDerainer(constant(code), low=low, output="background")(rgb)
    torch.testing.assert_close(rgb - rain, torch.full_like(rgb, background))


@pytest.mark.parametrize("low, code, layer", [(-1, 0.5, 0.25), (-1, -0.5, -0.25), (0, 0.25, 0.25)])
def test_a_rain_layer_is_scaled_and_never_clamped(low, code, layer):
    rain = SingleFrameDerainer(constant(code), low=low, output="rain")(torch.rand(1, 3, 6, 6))
    assert torch.equal(rain, torch.full_like(rain, layer))


@pytest.mark.parametrize("low", [-1, 0])
def test_where_the_background_is_the_input_there_is_no_rain(low):
    rgb = (torch.arange(256) / 255).expand(1, 3, 3, 256)
    rain = SingleFrameDerainer(ResidualGenerator(4, 1, skip="add"), low=low, output="background")(rgb)
    assert rain.abs().max() < 1e-6  # of a grey level of 16 bits a fifteenth


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(1, 1), (3, 70), (15, 17), (32, 48), (33, 30)])
def test_any_size_keeps_its_shape(family, size):
    model = SingleFrameDerainer(small(family), low=0, output="background")
    with torch.inference_mode():
        rain = model(torch.rand(2, 3, *size))
    assert rain.shape == (2, 3, *size)
    assert torch.isfinite(rain).all()


@pytest.mark.parametrize("size, rows, columns", [
    ((5, 7), [0, 1, 2, 3, 4, 3, 2, 1], [0, 1, 2, 3, 4, 5, 6, 5]),
    ((8, 12), range(8), range(12)),
    ((3, 9), [0, 1, 2, 2, 2, 2, 2, 2], [*range(9), 7, 6, 5]),  # five rows are missing, and two can be reflected
])  # fmt: skip
def test_padding_reflects_where_it_can(monkeypatch, seen, size, rows, columns):
    monkeypatch.setattr(ResidualGenerator, "multiple", 4)
    rgb = torch.rand(1, 3, *size)
    SingleFrameDerainer(constant(0.0), low=0, output="rain")(rgb)
    assert torch.equal(seen[0], rgb[:, :, list(rows)][..., list(columns)])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_config_as_plain_values_rebuilds_it(family):
    model = SingleFrameDerainer(small(family), low=-1, output="rain")
    plain = json.loads(json.dumps(model.config_dict()))
    assert (plain["low"], plain["output"], model.family) == (-1, "rain", family)
    again = SingleFrameDerainer.from_config(family, plain)
    assert again.config_dict() == model.config_dict() and again.family == family
    again.load_state_dict(model.state_dict())
    rgb = torch.rand(1, 3, 20, 24)
    with torch.inference_mode():
        assert torch.equal(again.eval()(rgb), model(rgb))


@pytest.mark.parametrize("low", [1, 0.5, float("nan"), None, [0]])
def test_another_low(low):
    with pytest.raises(ValueError, match="it must be -1 or 0"):
        SingleFrameDerainer(constant(0.0), low=low, output="rain")


@pytest.mark.parametrize("output", ["both", None, ["rain"]])
def test_another_output(output):
    with pytest.raises(ValueError, match="it must be background or rain"):
        SingleFrameDerainer(constant(0.0), low=0, output=output)


def test_a_frame_becomes_its_share_of_white():
    rgb = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1)
    assert torch.equal(frame_input(rgb), torch.tensor([0.0, 0.2, 1.0]).reshape(3, 1, 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_operations_do_not_depend_on_the_wrapping(family):
    network = small(family)
    wrapped = SingleFrameDerainer(network, low=0, output="rain")
    assert mac_per_pixel(wrapped, channels=3) == mac_per_pixel(network, channels=3) > 0


def test_a_transposed_convolution_counts_by_its_input():
    convolution = nn.ConvTranspose2d(3, 5, 3, stride=2, padding=1, output_padding=1)
    assert mac_per_pixel(convolution, channels=3) == 3 * 5 * 9
