"""RDMC's network: its size, its recursion, and which of its paths are in use."""
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from streamderain.core.multiscale import DilatedEncoder, MixedUpsample, RecruitmentPath, RecursiveMultiScaleNet

NONE, SOME, ALL = (0,) * 8, (1, 0, 0, 1, 0, 1, 0, 0), (1,) * 8
MODES = "bilinear", "bicubic"


def small(seed=0, **settings):
    torch.manual_seed(seed)
    network = RecursiveMultiScaleNet(**{"stages": 2, "widths": (2, 4, 4, 4, 4), "dilations": (1, 2)} | settings)
    nn.init.normal_(network.scalars)  # as if trained: with those of the start, paths hardly show
    return network


def noise(*shape, seed=1):
    """A picture, 0..1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def counted(**settings):
    with torch.device("meta"):  # counts only
        network = RecursiveMultiScaleNet(**settings)
    scalars = sum(p.numel() for p in network.architecture())
    return sum(p.numel() for p in network.parameters()) - scalars, scalars


# --- size ---
@pytest.mark.parametrize(
    "settings, parameters",
    [
        ({}, 19_809_990),
        ({"recruitment": "mask", "mask": ALL}, 19_809_990),
        ({"recruitment": "mask", "mask": NONE}, 15_883_731),
        ({"recruitment": "gated"}, 19_809_990 + 8 * 769),
    ],
    ids=["learned", "all", "none", "gated"],
)
def test_parameters_beside_the_ten_scalars(settings, parameters):
    assert counted(**settings) == (parameters, 10)


@pytest.mark.parametrize("settings", [{}, {"recruitment": "gated"}, {"recruitment": "mask", "mask": NONE}])
@pytest.mark.parametrize("size", [(32, 32), (16, 48)])
def test_multiples_of_16_keep_their_shape(size, settings):
    network = small(**settings).eval()
    assert network.multiple == 16
    with torch.inference_mode():
        assert network(noise(2, 3, *size)).shape == (2, 3, *size)


def test_levels_halve():
    levels = DilatedEncoder((2, 3, 4, 5, 6), dilation=3)(noise(2, 6, 32, 48))
    assert [tuple(level.shape) for level in levels] == [
        (2, 2, 32, 48), (2, 3, 16, 24), (2, 4, 8, 12), (2, 5, 4, 6), (2, 6, 2, 3)
    ]  # fmt: skip


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_the_second_convolution_of_a_block_is_dilated_and_bare(dilation):
    for block in DilatedEncoder((2, 2, 2, 2, 2), dilation).blocks:
        first, second = (module for module in block if isinstance(module, nn.Conv2d))
        assert (first.dilation, first.bias is None) == ((1, 1), False)
        assert (second.dilation, second.bias is None) == ((dilation, dilation), True)


@pytest.mark.parametrize(
    "kind, size", [("halve", (4, 6)), ("match", (8, 12)), ("double", (16, 24)), ("level", (8, 12))]
)
def test_paths_end_at_their_size(kind, size):
    assert RecruitmentPath(3, 5, kind)(noise(2, 3, 8, 12)).shape == (2, 5, *size)


# --- recursion ---
def test_one_stage_adds_the_residual():
    network, rainy = small(stages=1).eval(), noise(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network(rainy), rainy + network.residual(torch.cat((rainy, rainy), 1)))


def test_every_stage_adds_to_the_rainy_picture():
    network, rainy = small(stages=3).eval(), noise(1, 3, 16, 32)
    with torch.inference_mode():
        one = rainy + network.residual(torch.cat((rainy, rainy), 1))
        two = rainy + network.residual(torch.cat((rainy, one), 1))
        three = rainy + network.residual(torch.cat((rainy, two), 1))
        assert torch.equal(network(rainy), three)
        network.stages = 2
        assert torch.equal(network(rainy), two)
        assert not torch.equal(two, three)


def test_stages_share_their_weights():
    assert counted(stages=1) == counted(stages=8)


def test_without_statistics_of_its_own_a_batch_is_its_samples():
    network, rainy = small(recruitment="gated").eval(), noise(3, 3, 32, 32)
    with torch.inference_mode():
        together, alone = network(rainy), torch.cat([network(each[None]) for each in rainy])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)  # the order of float32 sums


# --- paths ---
def test_mask_keeps_the_selected_paths_and_their_gradients():
    network = small(recruitment="mask", mask=SOME)
    assert list(network.paths) == ["0", "3", "5"]
    network(noise(2, 3, 32, 32)).square().mean().backward()
    assert (network.scalars.grad != 0).tolist() == [bool(each) for each in SOME]
    assert all(p.grad is not None for p in network.parameters())


def test_without_paths_the_scalars_are_out_of_use():
    network = small(recruitment="mask", mask=NONE)
    network(noise(2, 3, 32, 32)).square().mean().backward()
    assert network.scalars.grad is None
    assert (network.upsample.alpha.grad != 0).all()


@pytest.mark.parametrize("mask", [NONE, SOME, ALL])
def test_a_mask_is_all_paths_with_the_others_at_zero(mask):
    learned = small().eval()
    masked = small(recruitment="mask", mask=mask).eval()
    with torch.no_grad():
        learned.scalars *= torch.tensor(mask)
    missing, unexpected = masked.load_state_dict(learned.state_dict(), strict=False)
    assert missing == []
    assert {key.split(".")[1] for key in unexpected} == {str(n) for n in range(8) if not mask[n]}
    rainy = noise(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(masked(rainy), learned(rainy))


def test_all_scalars_are_trained_and_saved():
    network = small()
    assert {"scalars", "upsample.alpha"} <= network.state_dict().keys()
    network(noise(2, 3, 32, 32)).square().mean().backward()
    scalars = network.architecture()
    assert [each.numel() for each in scalars] == [2, 8]
    assert all((each.grad != 0).all() for each in scalars)
    assert all(p.grad is not None for p in network.parameters())


def test_scalars_start_small():
    torch.manual_seed(2)
    network = RecursiveMultiScaleNet(widths=(2, 2, 2, 2, 2))
    assert all(0 < each.abs().max() < 0.01 for each in network.architecture())


def test_gates_depend_on_the_picture():
    network = small(recruitment="gated").eval()
    seen = []
    network.gate.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.inference_mode():
        network(torch.cat((noise(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))))
    assert seen[0].shape == (2, 8, 1, 1)
    assert (seen[0][0] != seen[0][1]).all()


def test_half_open_gates_are_half_the_scalars():
    learned, gated = small().eval(), small(recruitment="gated").eval()
    gated.load_state_dict(learned.state_dict(), strict=False)
    for parameter in gated.gate.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        learned.scalars *= 0.5
    rainy = noise(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(gated(rainy), learned(rainy))


# --- upsampling ---
def test_upsampling_is_a_convex_mixture():
    upsample, x = MixedUpsample(), noise(1, 2, 6, 7)
    linear, cubic = (functional.interpolate(x, scale_factor=2, mode=m, align_corners=True) for m in MODES)
    assert not torch.allclose(linear, cubic, atol=0.01)
    with torch.inference_mode():
        mixed = upsample(x)
        assert mixed.shape == (1, 2, 12, 14)
        assert (mixed >= torch.minimum(linear, cubic) - 1e-6).all()  # one rounding of float32
        assert (mixed <= torch.maximum(linear, cubic) + 1e-6).all()
        for alpha, expected in (((0, 0), (linear + cubic) / 2), ((99, 0), linear), ((0, 99), cubic)):
            upsample.alpha.copy_(torch.tensor(alpha))
            torch.testing.assert_close(upsample(x), expected)


# --- settings ---
@pytest.mark.parametrize("settings", [{}, {"recruitment": "gated"}, {"recruitment": "mask", "mask": SOME}])
def test_settings_rebuild_the_network(settings):
    network = small(**settings).eval()
    again = RecursiveMultiScaleNet(**json.loads(json.dumps(network.settings))).eval()
    again.load_state_dict(network.state_dict())
    rainy = noise(1, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(again(rainy), network(rainy))


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"stages": 0}, "stages is 0; it must be 1 to 8"),
        ({"stages": 9}, "stages is 9"),
        ({"stages": 1.5}, "must be whole numbers"),
        ({"widths": (2, 2, 2, 2)}, "it must be five even numbers from 2 to 1024"),
        ({"widths": (2, 2, 3, 2, 2)}, "it must be five even numbers"),
        ({"widths": (2, 2, 2, 2, 1026)}, "it must be five even numbers"),
        ({"dilations": ()}, r"dilations is \(\); it must be one to eight numbers from 1 to 16"),
        ({"dilations": (1, 17)}, r"dilations is \(1, 17\)"),
        ({"recruitment": "search"}, "recruitment is 'search'; it must be learned, mask or gated"),
        ({"recruitment": "mask"}, "mask is None; it must be 8 of 0 and 1"),
        ({"recruitment": "mask", "mask": (1, 0)}, r"mask is \(1, 0\)"),
        ({"recruitment": "mask", "mask": (2,) * 8}, "it must be 8 of 0 and 1"),
    ],
)
def test_settings_that_build_no_network_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        RecursiveMultiScaleNet(**settings)
