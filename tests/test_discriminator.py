"""The PatchGAN: its size, its taps and how it starts."""
import pytest
import torch
from torch import nn

from streamderain.core.blur import BlurPool
from streamderain.core.discriminator import PatchDiscriminator

TAPS = (0, 3, 7, 11)


@pytest.fixture(scope="module")
def published():
    with torch.device("meta"):  # shapes and counts only
        return PatchDiscriminator()


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_parameters_are_those_of_the_release(published):
    assert sum(p.numel() for p in published.parameters()) == 2_764_737


def test_taps_and_logits_of_a_crop_have_the_published_shapes(published):
    crop = torch.empty(1, 3, 256, 256, device="meta")
    taps = published.features(crop, (*TAPS, published.logits_layer))
    assert [tap.shape[1] for tap in taps] == [64, 128, 256, 512, 1]
    assert [tap.shape[2:] for tap in taps] == [(side, side) for side in (255, 127, 63, 31, 30)]
    assert published(crop).shape == (1, 1, 30, 30)


def test_channels_are_those_of_the_taps(published):
    assert published.channels(TAPS) == [64, 128, 256, 512]
    assert published.channels([11, 3]) == [128, 512]  # ascending, as the taps come
    assert published.channels([published.logits_layer]) == [1]


@pytest.mark.parametrize("number", [1, 2, 15, -1])
def test_a_tap_that_is_no_convolution_is_named(published, number):
    message = rf"layer {number} is no convolution; those are \[0, 3, 7, 11, 14\]"
    with pytest.raises(ValueError, match=message):
        published.channels([0, number])


def test_unknown_taps_are_named(published):
    with pytest.raises(ValueError, match=r"no layers \[15\]; the network has 0 to 14"):
        published.features(torch.empty(1, 3, 32, 32, device="meta"), [0, 15])


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_the_last_tap_is_the_logits(num_layers, norm, antialias):
    torch.manual_seed(2)
    discriminator = PatchDiscriminator(4, num_layers, antialias, norm)
    x = noise(2, 3, 48, 40)
    with torch.inference_mode():
        first, logits = discriminator.features(x, [0, discriminator.logits_layer])
        assert first.shape[1] == 4
        assert torch.equal(logits, discriminator(x))


def test_without_antialias_convolutions_stride():
    discriminator = PatchDiscriminator(2, antialias=False)
    assert not any(isinstance(module, BlurPool) for module in discriminator.modules())
    strides = [module.stride[0] for module in discriminator.layers if isinstance(module, nn.Conv2d)]
    assert strides == [2, 2, 2, 1, 1]


def test_channels_grow_no_more_than_eightfold():
    discriminator = PatchDiscriminator(2, num_layers=5)
    widths = [module.out_channels for module in discriminator.layers if isinstance(module, nn.Conv2d)]
    assert widths == [2, 4, 8, 16, 16, 16, 1]


def test_norms_stand_after_all_convolutions_but_the_first_and_last():
    kinds = [type(module) for module in PatchDiscriminator(2).layers]
    normed = [n for n, kind in enumerate(kinds) if kind is nn.Conv2d and kinds[n + 1 : n + 2] == [nn.InstanceNorm2d]]
    assert normed == [3, 7, 11]
    assert not any(isinstance(module, nn.InstanceNorm2d) for module in PatchDiscriminator(2, norm="none").modules())


@pytest.mark.parametrize("init", ["xavier", "kaiming"])
def test_weights_start_as_the_word_says(init):
    torch.manual_seed(3)
    discriminator = PatchDiscriminator(16, init=init)
    for module in discriminator.layers:
        if isinstance(module, nn.Conv2d):
            assert not module.bias.any()
            fan_in, fan_out = (channels * 16 for channels in (module.in_channels, module.out_channels))
            std = 0.02 * (2 / (fan_in + fan_out)) ** 0.5 if init == "xavier" else (2 / (1.04 * fan_in)) ** 0.5
            # 768 weights at least: four times the sample's own spread of 2.6%
            assert module.weight.std().item() == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"ndf": 0}, "ndf is 0 and num_layers 3; they must be 1 to 512 and 1 to 6"),
        ({"ndf": 513}, "ndf is 513"),
        ({"num_layers": 0}, "num_layers 0"),
        ({"num_layers": 7}, "num_layers 7"),
        ({"init": "zeros"}, "init is 'zeros'; it must be xavier or kaiming"),
        ({"norm": "batch"}, "norm is 'batch'; it must be instance or none"),
    ],
)
def test_settings_that_build_no_network_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        PatchDiscriminator(**settings)
