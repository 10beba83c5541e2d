"""The stream generator: what it costs, which sizes it takes, and how far a pixel reaches."""
import json

import pytest
import torch
from torch import nn

from streamderain.core.companions import CHANNELS
from streamderain.core.context import squeeze
from streamderain.core.stream import PROFILES, StreamConfig, StreamGenerator, mac_per_pixel, reach_px

SMALL = StreamConfig(widths=(4, 6, 8), blocks=(1, 0, 1, 1, 1))
ASKING = StreamConfig(widths=(4, 6, 8), blocks=(1, 0, 1, 1, 3), context=True, recurrent=True)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def randomised(config=SMALL, seed=0):
    """A network none of whose layers is zero."""
    torch.manual_seed(seed)
    model = StreamGenerator(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize(
    "profile, macs, parameters",
    [("tiny", 8_000, 150_000), ("realtime", 40_000, 800_000), ("quality", 200_000, 4_500_000)],
)
def test_profiles_stay_within_their_budgets(profile, macs, parameters):
    model = StreamGenerator.from_profile(profile)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 0.75 * macs < mac_per_pixel(model) <= macs
    assert 0.75 * parameters < count <= parameters


def test_every_profile_is_counted():
    assert list(PROFILES) == ["tiny", "realtime", "quality"]


@pytest.mark.parametrize(
    "stride, padding, per_pixel", [(1, 1, 9 * 5 * 7), (2, 1, 9 * 5 * 7 / 4), (1, 0, 9 * 5 * 7 * 36 / 64)]
)
def test_multiply_accumulates_match_a_hand_count(stride, padding, per_pixel):
    convolution = nn.Conv2d(5, 7, 3, stride=stride, padding=padding)
    assert mac_per_pixel(convolution, channels=5, side=8) == per_pixel
    assert not convolution._forward_hooks


def test_multiply_accumulates_of_a_network_match_a_hand_count():
    # head 48 -> 4 and the pair of a block at 1/4 of the pixels, two pairs at 1/16, one at 1/64, and what joins them
    half = (9 * 48 * 4 + 2 * 9 * 4 * 4 + 9 * 4 * 16) / 4
    quarter = (4 * 4 * 6 + 2 * 2 * 9 * 6 * 6 + 6 * 16) / 16
    eighth = (4 * 6 * 8 + 2 * 9 * 8 * 8 + 8 * 24) / 64
    assert mac_per_pixel(StreamGenerator(SMALL)) == half + quarter + eighth


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 8), (8, 8), (13, 5), (31, 18)])
def test_any_size_keeps_its_shape(size):
    with torch.inference_mode():
        rain = randomised()(torch.rand(2, CHANNELS, *size))
    assert rain.shape == (2, 4, *size)
    assert torch.isfinite(rain).all()


@pytest.mark.parametrize("size", [(16, 24), (13, 5)])
def test_blocks_give_the_same_rain(size):
    model = randomised()
    x = torch.rand(1, CHANNELS, *size)
    padded = nn.functional.pad(x, (0, -size[1] % 8, 0, -size[0] % 8), mode="replicate")
    with torch.inference_mode():
        rain = model.from_blocks(nn.functional.pixel_unshuffle(padded, 2))
        assert torch.equal(rain[..., : size[0], : size[1]], model(x))


@pytest.mark.parametrize("profile", list(PROFILES))
def test_a_fresh_network_sees_no_rain(profile):
    with torch.inference_mode():
        assert not StreamGenerator.from_profile(profile)(torch.rand(1, CHANNELS, 16, 16)).any()


def test_a_random_network_sees_some():
    with torch.inference_mode():
        assert randomised()(torch.rand(1, CHANNELS, 16, 16)).std() > 1e-3


# In pixels: 2 in the head, 2 in the tail, 4 in each block of two convolutions at half resolution, 8 at quarter, 16 at
# eighth; the strides and shuffles add less than the 8 pixels of a cell at eighth resolution.
SMALL_REACH = 2 + 2 + 4 * 1 + 8 * 2 + 16 * 1 + 8


def test_a_pixel_reaches_no_further_than_the_convolutions():
    model = randomised()
    x = torch.rand(1, CHANNELS, 160, 160)
    touched = x.clone()
    touched[..., 80, 80] += 1
    with torch.inference_mode():
        changed = (model(x) != model(touched)).any(dim=1)[0]
    rows, columns = changed.nonzero(as_tuple=True)
    assert changed[80, 80]
    for places in (rows, columns):
        assert places.min() >= 80 - SMALL_REACH
        assert places.max() <= 80 + SMALL_REACH


def test_a_tile_with_its_halo_equals_the_full_frame():
    model = randomised()
    x = torch.rand(1, CHANNELS, 160, 176)
    halo = -(-SMALL_REACH // 8) * 8
    with torch.inference_mode():
        whole = model(x)[..., 56:104, 64:112]
        tile = model(x[..., 56 - halo : 104 + halo, 64 - halo : 112 + halo])[..., halo:-halo, halo:-halo]
    torch.testing.assert_close(tile, whole, rtol=0, atol=1e-5)  # other sizes may sum in another order


def test_with_a_context_every_place_hears_of_every_other():
    model = randomised(ASKING)
    x = torch.rand(1, CHANNELS, 160, 160)
    touched = x.clone()
    touched[..., :8, :8] += 1
    with torch.inference_mode():
        assert (model(x) != model(touched))[..., 150:, 150:].any()


def test_a_tile_that_is_told_what_the_frame_says_equals_it():
    model = randomised(ASKING)
    x = torch.rand(1, CHANNELS * 4, 120, 120)
    halo = reach_px(ASKING) // 2
    with torch.inference_mode():
        said = model.context(squeeze(model.before_context(x)))
        whole = model.from_blocks(x)[..., 2 * halo : 2 * halo + 16, :]
        tile = model.from_blocks(x[:, :, : 2 * halo + 8], said)[..., 2 * halo : 2 * halo + 16, :]
    torch.testing.assert_close(tile, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [SMALL, ASKING])
def test_a_batch_equals_its_samples(config):
    model = randomised(config)
    x = torch.rand(3, CHANNELS, 24, 16)
    with torch.inference_mode():
        together, alone = model(x), torch.cat([model(sample[None]) for sample in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [SMALL, ASKING])
def test_gradients_reach_every_parameter(config):
    model = randomised(config).train()
    model(torch.rand(1, CHANNELS, 16, 16)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_the_config_as_plain_values_rebuilds_it():
    plain = json.loads(json.dumps(StreamGenerator(ASKING).config_dict()))
    assert plain == {"widths": [4, 6, 8], "blocks": [1, 0, 1, 1, 3], "context": True, "recurrent": True}
    assert StreamGenerator.from_config(plain).config == ASKING


def test_a_config_from_before_there_was_a_context_or_recurrence_has_none():
    plain = {"widths": [4, 6, 8], "blocks": [1, 0, 1, 1, 1]}
    assert StreamGenerator.from_config(plain).config == SMALL


def test_an_unknown_profile_is_named():
    with pytest.raises(ValueError, match="no profile 'huge'; there are tiny, realtime, quality"):
        StreamGenerator.from_profile("huge")


@pytest.mark.parametrize("widths", [(4, 4), (0, 4, 4), (4, -4, 4), (4, 4, 1025)])
def test_widths_out_of_range(widths):
    with pytest.raises(ValueError, match="it must be three numbers from 1 to 1024"):
        StreamConfig(widths, (0, 0, 0, 0, 0))


@pytest.mark.parametrize("name", ["context", "recurrent"])
def test_a_setting_that_is_no_yes_or_no(name):
    with pytest.raises(ValueError, match=f"{name} is 2; it must be true or false"):
        StreamConfig((4, 4, 4), (0, 0, 0, 0, 0), **{name: 2})


@pytest.mark.parametrize("blocks", [(0, 0), (0, 0, 0, 0, -1), (10**9, 0, 0, 0, 0)])
def test_blocks_out_of_range(blocks):
    with pytest.raises(ValueError, match="it must be five numbers from 0 to 64"):
        StreamConfig((4, 4, 4), blocks)
