"""The published generators: their size, their arithmetic, their taps, and what becomes of a picture's brightness."""
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from streamderain.core.blur import BlurPool, BlurUpsample
from streamderain.core.generators import ResidualGenerator, ResnetGenerator


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return ResidualGenerator().eval()


def picture(*shape, seed=1):
    """Noise, -1..1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def scene():
    """A picture with soft shapes and some grain, dark enough to be lightened by 0.3."""
    draw = torch.Generator().manual_seed(2)
    shapes = functional.interpolate(torch.rand(1, 3, 8, 8, generator=draw), size=(64, 64), mode="bilinear")
    return 1.2 * shapes - 0.8 + 0.05 * torch.randn(1, 3, 64, 64, generator=draw)


def made(norm, padding="zeros"):
    """A generator as it starts, whose convolutions pad in a certain way."""
    torch.manual_seed(0)
    generator = ResidualGenerator(norm=norm).eval()
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = padding
    return generator


# --- NLCL's ---
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
    x = picture(1, 3, 8, 8)
    with torch.inference_mode():
        taps = generator.features(x, (0, 2, 4, 8, 12))
        assert [t.shape[1] for t in taps] == [32] * 5
        torch.testing.assert_close(taps[0], generator.layers[0](x))
        torch.testing.assert_close(taps[1], generator.layers[2](generator.layers[1](taps[0])))


@pytest.mark.parametrize("skip", ["none", "add", "subtract"])
def test_last_tap_is_the_output(skip):
    generator = ResidualGenerator(channels=4, num_blocks=2, skip=skip).eval()
    nn.init.normal_(generator.layers[-1].weight)  # what a skip starts with would hide a difference
    x = picture(1, 3, 8, 8)
    with torch.inference_mode():
        first, last = generator.features(x, [0, 4])
        assert first.shape == (1, 4, 8, 8)
        assert torch.equal(last, generator(x))


def test_taps_run_no_further_than_the_last_one(generator):
    reached = []
    hooks = [layer.register_forward_hook(lambda *_, n=n: reached.append(n)) for n, layer in enumerate(generator.layers)]
    generator.features(torch.zeros(1, 3, 8, 8), [4])
    for hook in hooks:
        hook.remove()
    assert reached == [0, 1, 2, 3, 4]


def test_no_taps_are_no_work(generator):
    assert generator.features(torch.zeros(1, 3, 8, 8), ()) == []


@pytest.mark.parametrize("layers", [[19], [-1, 0]])
def test_unknown_taps_are_named(generator, layers):
    with pytest.raises(ValueError, match="the network has 0 to 18"):
        generator.features(torch.zeros(1, 3, 8, 8), layers)


def test_norm_couples_distant_pixels(generator):
    x = torch.zeros(1, 3, 96, 96)
    y = x.clone()
    y[..., 0, 0] = 1
    with torch.inference_mode():
        # 36 convolutions of 3x3 reach 36 pixels; only the statistics reach the far corner
        assert not torch.equal(generator(x)[..., -1, -1], generator(y)[..., -1, -1])


def test_without_norm_distant_pixels_are_apart():
    generator = ResidualGenerator(channels=4, num_blocks=1, norm="none").eval()
    x = torch.zeros(1, 3, 16, 16)
    y = x.clone()
    y[..., 0, 0] = 1
    with torch.inference_mode():
        changed = (generator(x) != generator(y)).any(1)[0]
    assert changed[:7, :7].any()
    assert not changed[7:].any()  # six convolutions of 3x3 reach 6 pixels
    assert not changed[:, 7:].any()


def test_without_norm_there_are_no_norms_and_as_many_parameters():
    generator = ResidualGenerator(norm="none")
    assert not any(isinstance(module, nn.InstanceNorm2d) for module in generator.modules())
    assert sum(p.numel() for p in generator.parameters()) == 316_195


@pytest.mark.parametrize("skip", ["add", "subtract"])
def test_a_skip_starts_as_the_identity(skip):
    x = picture(2, 3, 8, 9)
    with torch.inference_mode():
        assert torch.equal(ResidualGenerator(channels=4, num_blocks=1, skip=skip)(x), x)


def test_a_skip_is_added_to_the_output_alone():
    torch.manual_seed(3)
    plain = ResidualGenerator(channels=4, num_blocks=1)
    skipping = ResidualGenerator(channels=4, num_blocks=1, skip="add")
    skipping.load_state_dict(plain.state_dict())
    x = picture(1, 3, 8, 8)
    with torch.inference_mode():
        for number in range(3):
            assert torch.equal(skipping.features(x, [number])[0], plain.features(x, [number])[0])
        assert torch.equal(skipping(x), plain(x) + x)


def test_gradients_reach_every_parameter():
    generator = ResidualGenerator(channels=4, num_blocks=1)
    generator(torch.rand(1, 3, 8, 8)).square().mean().backward()
    assert all(p.grad is not None for p in generator.parameters())


@pytest.mark.parametrize(
    "network",
    [
        ResidualGenerator(channels=3, num_blocks=1, norm="none", skip="add"),
        ResidualGenerator(channels=4, num_blocks=0),
        ResnetGenerator(ngf=2, num_blocks=1, antialias=False, out_activation=None),
        ResnetGenerator(ngf=3, num_blocks=0),
    ],
    ids=["nlcl", "nlcl-shallow", "cclgan-strided", "cclgan-shallow"],
)
def test_settings_rebuild_the_network(network):
    again = type(network)(**json.loads(json.dumps(network.settings)))
    again.load_state_dict(network.state_dict())
    x = picture(1, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(again(x), network(x))


@pytest.mark.parametrize(
    "build, settings, problem",
    [
        (ResidualGenerator, {"channels": 0}, "widest layer has 0 channels; it must be 1 to 1024"),
        (ResidualGenerator, {"channels": 1025}, "widest layer has 1025 channels"),
        (ResidualGenerator, {"channels": 4.0}, "widest layer has 4.0 channels"),
        (ResidualGenerator, {"num_blocks": -1}, "num_blocks is -1; it must be 0 to 64"),
        (ResidualGenerator, {"num_blocks": 65}, "num_blocks is 65"),
        (ResidualGenerator, {"norm": "batch"}, "norm is 'batch'; it must be instance or none"),
        (ResnetGenerator, {"ngf": 0}, "widest layer has 0 channels"),
        (ResnetGenerator, {"ngf": 257}, "widest layer has 1028 channels"),
        (ResnetGenerator, {"num_blocks": 65}, "num_blocks is 65"),
        (ResnetGenerator, {"out_activation": "sigmoid"}, "out_activation is 'sigmoid'; it must be tanh or None"),
    ],
)
def test_settings_that_build_no_network_are_refused(build, settings, problem):
    with pytest.raises(ValueError, match=problem):
        build(**settings)


# --- brightness: what an instance norm before the last convolutions leaves of it ---
def test_lightening_the_picture_changes_nothing_of_the_published_output():
    # over repeated borders a constant stays one through every convolution, and the next norm takes it away
    generator, x = made("instance", "replicate"), scene()
    with torch.inference_mode():
        torch.testing.assert_close(generator(x + 0.3), generator(x), rtol=0, atol=1e-4)  # float32 over 36 layers


def test_without_norm_the_output_follows_the_picture():
    generator, x = made("none", "replicate"), scene()
    with torch.inference_mode():
        moved = (generator(x + 0.3) - generator(x)).mean((0, 2, 3)).abs()
    assert moved.max() > 0.01


@pytest.mark.parametrize("change", [lambda x: x + 0.3, lambda x: 0.5 * x], ids=["lighter", "half"])
def test_the_release_loses_brightness_and_contrast(generator, change):
    x = scene()
    with torch.inference_mode():
        before, after = generator(x), generator(change(x))
    moved = (change(x).mean((0, 2, 3)) - x.mean((0, 2, 3))).abs()
    assert moved.min() > 0.05
    # not exact with its zero padding, in which a constant ends at the border
    assert (after.mean((0, 2, 3)) - before.mean((0, 2, 3))).abs().max() < 0.01
    assert (after.std((0, 2, 3)) / before.std((0, 2, 3))).sub(1).abs().max() < 0.05


def test_without_blocks_between_the_release_ignores_gain_and_offset():
    torch.manual_seed(4)
    generator = ResidualGenerator(channels=8, num_blocks=0)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "replicate"
        if isinstance(module, nn.InstanceNorm2d):
            module.eps = 1e-12  # else a small variance is not wholly divided out
    x = scene()
    with torch.inference_mode():
        torch.testing.assert_close(generator(0.25 * x - 0.4), generator(x), rtol=0, atol=1e-4)


# --- CCLGAN's ---
@pytest.fixture(scope="module")
def translator():
    with torch.device("meta"):  # shapes and counts only
        return ResnetGenerator()


def test_translator_has_the_parameters_of_the_release(translator):
    assert sum(p.numel() for p in translator.parameters()) == 11_378_179


def test_translator_taps_have_the_published_shapes(translator):
    x = torch.empty(2, 3, 256, 128, device="meta")
    shapes = [tap.shape for tap in translator.features(x, (4, 8, 12, 20, 31))]
    assert shapes == [(2, 128, 256, 128), (2, 256, 128, 64), (2, 256, 64, 32), (2, 256, 64, 32), (2, 3, 256, 128)]


def test_translator_has_32_modules_and_names_unknown_taps(translator):
    assert len(translator.layers) == 32
    with pytest.raises(ValueError, match=r"no layers \[32\]; the network has 0 to 31"):
        translator.features(torch.empty(1, 3, 16, 16, device="meta"), [4, 32])


def test_translator_taps_are_what_convolutions_put_out(translator):
    assert all(isinstance(translator.layers[number], nn.Conv2d) for number in (4, 8))


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (12, 20), (16, 8)])
def test_translator_keeps_multiples_of_four(size, antialias):
    translator = ResnetGenerator(ngf=2, num_blocks=1, antialias=antialias)
    assert translator.multiple == 4
    with torch.inference_mode():
        out = translator(picture(2, 3, *size))
    assert out.shape == (2, 3, *size)
    assert out.abs().max() <= 1


def test_translator_without_antialias_has_no_fixed_filters_and_its_own_doubling():
    blurs = [isinstance(module, BlurPool | BlurUpsample) for module in ResnetGenerator(2, 0).modules()]
    assert sum(blurs) == 4
    strided = list(ResnetGenerator(2, 0, antialias=False).modules())
    assert not any(isinstance(module, BlurPool | BlurUpsample) for module in strided)
    assert [module.stride for module in strided if isinstance(module, nn.ConvTranspose2d)] == [(2, 2), (2, 2)]
    assert sum(isinstance(module, nn.Conv2d) and module.stride == (2, 2) for module in strided) == 2


def test_translator_without_activation_is_open():
    torch.manual_seed(5)
    translator = ResnetGenerator(ngf=2, num_blocks=1)
    for parameter in translator.layers[-2].parameters():
        nn.init.constant_(parameter, 1.0)
    bare = ResnetGenerator(ngf=2, num_blocks=1, out_activation=None)
    bare.load_state_dict(translator.state_dict())
    x = picture(1, 3, 16, 16)
    with torch.inference_mode():
        assert bare(x).abs().max() > 1
        torch.testing.assert_close(translator(x), torch.tanh(bare(x)))


def test_translator_starts_as_cut_does():
    torch.manual_seed(6)
    translator = ResnetGenerator(ngf=16, num_blocks=1)
    for module in translator.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert not module.bias.any()
            fans = (module.in_channels + module.out_channels) * module.kernel_size[0] ** 2
            # 2,352 weights at least: the sample's own spread is then below 1.5%
            assert module.weight.std().item() == pytest.approx(0.02 * (2 / fans) ** 0.5, rel=0.06)


def test_what_is_subtracted_is_grey_and_hardly_ever_negative():
    generator = ResidualGenerator(channels=4, num_blocks=1, skip="subtract")
    nn.init.normal_(generator.layers[-1].weight)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.inference_mode():
        plain = ResidualGenerator(channels=4, num_blocks=1)
        plain.load_state_dict(generator.state_dict())
        layer = plain(x).mean(1, keepdim=True)
        expected = torch.where(layer > 0, layer, 0.05 * layer)
        assert layer.min() < 0 < layer.max()
        torch.testing.assert_close(x - generator(x), expected.expand(-1, 3, -1, -1), atol=1e-6, rtol=0)


def test_an_unknown_skip_is_refused():
    with pytest.raises(ValueError, match="skip is True; it must be none, add or subtract"):
        ResidualGenerator(skip=True)
