"""The network in int8: its kernels against plain twins, and the whole against the float network."""
import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import naive
import numpy as np
import pytest
import torch
from engine_fakes import stream
from numpy.testing import assert_allclose, assert_array_equal
from test_companions import picture, random_field

from streamderain import weights
from streamderain.core import colour, int8, kernels_int8
from streamderain.core.checkpoint import CheckpointError, load_generator, save_generator
from streamderain.core.companions import Companion, network_blocks, network_codes
from streamderain.core.matching import SearchSettings, make_guide, search
from streamderain.core.stream import StreamConfig, StreamGenerator
from streamderain.video import open_video

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "rain.mp4"

native = pytest.mark.skipif(not int8.cpu_has_int8(), reason="this processor has no instructions for int8")


def bfloat16(values):
    """float32 values that bfloat16 can hold, and their bits."""
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(torch.bfloat16)
    return tensor.float().numpy(), tensor.view(torch.uint16).numpy()


@pytest.mark.parametrize("step, zero", [(0.01, 0), (0.03, 77), (0.5, 255)])
@pytest.mark.parametrize("count", [1, 255, (1 << 14) + 3])
def test_quantise_matches_naive(count, step, zero):
    values, bits = bfloat16(np.random.default_rng(count).normal(0, 2, count))
    out = np.empty(count, np.uint8)
    kernels_int8.quantise(bits, np.float32(1 / step), zero, out)
    # float32 against float64: a value on the border of two codes may fall to either side
    assert np.abs(out.astype(int) - naive.quantised(values, step, zero)).max() <= 1
    assert (out != naive.quantised(values, step, zero)).mean() < 0.01


@pytest.mark.parametrize("count", [1, 300, (1 << 14) + 3])
def test_add_matches_naive(count):
    rng = np.random.default_rng(count)
    (change, change_bits), (x, bits) = (bfloat16(rng.normal(size=count)) for _ in range(2))
    codes = np.empty(count, np.uint8)
    kernels_int8.add(change_bits, bits, np.float32(20), 100, codes)
    assert_array_equal(bits, bfloat16(x + change)[1])
    assert np.abs(codes.astype(int) - naive.quantised(x.astype(float) + change, 0.05, 100)).max() <= 1
    assert_array_equal(change_bits, bfloat16(change)[1])


@pytest.mark.parametrize("count, channels", [(1, 1), (35, 8), (300, 33)])
def test_squeeze_matches_naive_and_adds_to_what_is_there(count, channels):
    values, bits = bfloat16(np.random.default_rng(count).normal(size=(count, channels)))
    sums = np.ones((2, channels))
    kernels_int8.squeeze(bits, sums)
    expected = naive.squeezed(values.T.reshape(1, channels, 1, count)).reshape(2, channels) * count
    assert_allclose(sums - 1, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1, 2), (3, 5, 4), (2, 7, 16)])
def test_add_enlarged_matches_naive(size):
    height, width, channels = size
    rng = np.random.default_rng(channels)
    small, small_bits = bfloat16(rng.normal(size=(height, width, 2, 2, channels)))
    skip, skip_bits = bfloat16(rng.normal(size=(2 * height, 2 * width, channels)))
    codes = np.empty((2 * height, 2 * width * channels), np.uint8)
    words, line = small_bits.view(np.uint32).reshape(height, width, 2, channels), skip_bits.reshape(2 * height, -1)
    kernels_int8.add_enlarged(words, line, np.float32(20), 100, codes)
    expected, expected_bits = bfloat16(naive.enlarged_sum(small, skip))
    assert_array_equal(line, expected_bits.reshape(line.shape))
    unrounded = naive.quantised(naive.enlarged_sum(small, skip), 0.05, 100).reshape(codes.shape)
    assert np.abs(codes.astype(int) - unrounded).max() <= 1
    assert_allclose((codes.astype(float) - 100) * 0.05, expected.reshape(codes.shape), atol=0.05)


@pytest.mark.parametrize("size", [(8, 8), (7, 6), (5, 1)])
@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("channels", [3, 4])
def test_unblock_is_a_cropped_pixel_shuffle(channels, first, size):
    _, bits = bfloat16(np.random.default_rng(0).normal(size=(4, 4, 4 * channels)))
    out = np.full((channels, *size), 7, np.float32)
    kernels_int8.unblock(bits, first, out)
    blocks = torch.from_numpy(bits).view(torch.bfloat16).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.pixel_shuffle(blocks, 2)[0, :, : size[0] - first, : size[1]].numpy()
    assert_array_equal(out[:, first:], expected)
    assert (out[:, :first] == 7).all()


@pytest.mark.parametrize("size", [(3, 5), (9, 14), (16, 300)])
@pytest.mark.parametrize("second", [True, False])
def test_codes_say_what_the_blocks_say(size, second):
    rgb, reference, other = (picture(seed, size) for seed in range(3))
    first = Companion(reference, random_field(1, size, 9), picture(3, size)[0])
    slots = first, Companion(other, random_field(2, size, 9)) if second else None
    form = int8.input_form()
    codes = network_codes(rgb, slots, form).float().reshape(12, 4, -(-size[0] // 8) * 4 + 2, -1)
    values = network_blocks(rgb, slots).reshape(12, 4, *(extent - 2 for extent in codes.shape[2:]))
    inside = codes[..., 1:-1, 1:-1]
    assert torch.equal(inside[:3], (values[:3] * 255).round())
    for first in (3, 7):
        difference = (values[first : first + 3] * 255 / int8.DIFFERENCE_STEP).clamp(-128, 127)
        assert (inside[first : first + 3] - 128 - difference).abs().max() <= 0.501
        assert (inside[first + 3] - values[first + 3] * 255).abs().max() <= 0.501
    assert torch.equal(inside[11], (values[11] * 255).round())
    edge = torch.from_numpy(form.edge).reshape(12, 4, 1)
    for side in (codes[..., 0, :], codes[..., -1, :], codes[..., 0], codes[..., -1]):
        assert torch.equal(side, edge.expand_as(side).float())
    assert torch.equal(edge[:3], torch.zeros_like(edge[:3])) and (edge[3] == 128).all() and not edge[6].any()


def seen(size=(48, 64), seed=0):
    """A picture with soft structure under streaks, and two neighbours of it."""
    rng = np.random.default_rng(seed)
    base = np.add.outer(np.linspace(40, 160, size[0]), np.linspace(-30, 30, size[1]))
    base[:, size[1] // 2 :] += 25
    frames = []
    for _ in range(3):
        rain = np.zeros(size)
        for x in rng.integers(0, size[1], 6):
            top = rng.integers(0, size[0] - 12)
            rain[top : top + 12, x] += 60
        frames.append(np.clip(np.stack([base, base + 5, base - 5]) + rain, 0, 255).astype(np.uint8))
    still = random_field(0, size, 9)
    still.keys[:] = 9 * 19 + 9  # no motion, no cost
    return frames[1], (Companion(frames[0], still), Companion(frames[2], still))


def both(network, rgb, slots):
    """What the float network and the int8 one say of a picture, (4, H, W) each."""
    expected = network.from_blocks(network_blocks(rgb, slots)[None])[0].detach().numpy()
    made = int8.Int8Generator(network, network.ranges)
    return expected, made.rain(network_codes(rgb, slots, int8.input_form())[None], *rgb.shape[1:])


@native
@pytest.mark.parametrize("profile", ["tiny", "realtime"])
def test_int8_differs_from_float_by_a_fraction_of_a_level(profile):
    network, _ = load_generator(weights.find(profile, "cpu"))
    rgb, slots = seen()
    expected, rain = both(network, rgb, slots)
    assert np.abs(expected).max() * 255 > 20  # there is rain to find
    error = np.abs(rain[:3] - expected[:3]) * 255
    assert error.mean() < 0.4
    border = np.concatenate([error[:, :2].ravel(), error[:, -2:].ravel(), error[:, :, :2].ravel()])
    assert border.mean() < 0.8  # the edge says what padding with zeros says
    assert_array_equal(rain, both(network, rgb, slots)[1])


@native
@pytest.mark.parametrize("profile", ["tiny", "realtime", "quality"])
def test_its_doubt_is_that_of_float_before_a_plain_ground(profile):
    network, _ = load_generator(weights.find(profile, "cpu"))
    rgb, slots = seen()
    expected, rain = both(network, rgb, slots)
    assert np.abs(rain[3] - expected[3]).mean() < 0.01  # of a doubt of 0 to 1


@native
@pytest.mark.parametrize("profile", ["tiny", "realtime", "quality"])
def test_its_doubt_is_that_of_float_in_a_street(profile):
    network, _ = load_generator(weights.find(profile, "cpu"))
    frames = [colour.to_rgb(f.planes, f.format)[:, 96:288, 128:384] for f in islice(open_video(SAMPLE), 3)]
    before, rgb, after = (np.ascontiguousarray(frame) for frame in frames)
    guide, *others = (make_guide(green) for green in (rgb[1], before[1], after[1]))
    fields = [search(guide, other, SearchSettings()) for other in others]
    slots = (Companion(before, fields[0]), Companion(after, fields[1]))
    expected, rain = both(network, rgb, slots)
    assert expected[3].max() > 0.1  # something is doubtful
    assert np.abs(rain[3] - expected[3]).mean() < 0.01  # of a doubt of 0 to 1
    assert np.abs(rain[:3] - expected[:3]).mean() * 255 < 0.4


@pytest.fixture
def one_thread():
    """With several, oneDNN cuts its work otherwise for another height, and may round a last bit otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@native
@pytest.mark.parametrize("profile, height", [("tiny", 411), ("realtime", 480)])
def test_rows_are_the_same_as_those_of_the_whole(profile, height, one_thread):
    network, _ = load_generator(weights.find(profile, "cpu"))
    made, codes = int8.Int8Generator(network, network.ranges), codes_of((height, 40))
    whole = made.rain(codes, height, 40)
    cut = np.full((4, height, 40), np.nan, np.float32)
    parts = [(200, 208), (0, 200), (208, height)]
    given, all_there = [], threading.Barrier(len(parts))

    def meet(part):
        given.append(part)
        all_there.wait()
        return torch.stack(given).sum(0)

    with ThreadPoolExecutor(len(parts), initializer=torch.set_num_threads, initargs=(1,)) as threads:
        for done in [threads.submit(made.rows, codes, top, bottom, cut, meet) for top, bottom in parts]:
            done.result()
    assert whole.any()
    assert_array_equal(cut, whole)


@native
@pytest.mark.parametrize("middle", [1, 2, 4])
def test_a_context_says_the_same_in_int8(middle):
    network = stream(widths=(8, 8, 16), blocks=(0, 1, 1, 1, middle), context=True)
    network.context.say.weight.data *= 10  # loud beside the rounding
    rgb, slots = seen()
    blocks = network_blocks(rgb, slots)[None]
    with torch.inference_mode():
        expected = network.from_blocks(blocks)[0].numpy()
        without = network.from_blocks(blocks, said=torch.zeros(1, 16, 1, 1))[0].numpy()
    network.ranges = int8.calibrate(network, [blocks])
    made = int8.Int8Generator(network, network.ranges)
    rain = made.rain(network_codes(rgb, slots, int8.input_form())[None], *rgb.shape[1:])
    assert np.abs(rain - expected).mean() < 0.3 * np.abs(without - expected).mean()


def codes_of(size):
    """What the int8 network sees of the picture that `seen` draws."""
    rgb, slots = seen(size)
    return network_codes(rgb, slots, int8.input_form())[None]


@native
def test_int8_leaves_the_network_as_it_was():
    network = StreamGenerator.from_profile("tiny").eval()
    before = copy.deepcopy(network.state_dict())
    rgb, slots = seen()
    ranges = int8.calibrate(network, [network_blocks(rgb, slots)[None]])
    int8.Int8Generator(network, ranges)
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])


def test_calibration_sees_every_convolution_and_keeps_zero_inside():
    network = StreamGenerator.from_profile("tiny").eval()
    rgb, slots = seen()
    blocks = network_blocks(rgb, slots)[None]
    ranges = int8.calibrate(network, [blocks])
    assert ranges.keys() == {n for n, layer in network.named_modules() if isinstance(layer, torch.nn.Conv2d)}
    assert all(low <= 0 <= high for low, high in ranges.values())
    assert ranges["head"] == (blocks.min().item(), blocks.max().item())
    assert not any(layer._forward_pre_hooks for layer in network.modules())


@pytest.mark.parametrize("low, high", [(0.0, 2.0), (-1.0, 3.0), (-4.0, 0.0), (0.0, 0.0)])
def test_a_scale_reaches_both_ends_and_has_zero_for_a_code(low, high):
    scale = int8.Scale.of(low, high)
    assert 0 <= scale.zero <= 255
    assert scale.step * (255 - scale.zero) == pytest.approx(high, abs=max(scale.step, 1e-5))
    assert -scale.step * scale.zero == pytest.approx(low, abs=max(scale.step, 1e-5))


def test_ranges_lose_their_ends_but_not_in_the_last_blocks():
    network = StreamGenerator(StreamConfig(widths=(4, 4, 4), blocks=(0, 2, 1, 1, 1)))
    names = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Conv2d)]
    scales = int8.scales_of(network, dict.fromkeys(names, (-1.0, 2.0)))
    shares = {name: scale.step * 255 / 3 for name, scale in scales.items()}
    last = {"first": 1.0, "second": 1.2}
    kept = {name: last[name.rsplit(".", 1)[1]] if name.startswith("decode2") else 0.8 for name in names}
    assert shares == pytest.approx(kept)


def test_ranges_travel_with_the_weights(tmp_path):
    network = StreamGenerator.from_profile("tiny").eval()
    rgb, slots = seen()
    network.ranges = int8.calibrate(network, [network_blocks(rgb, slots)[None]])
    save_generator(tmp_path / "a.safetensors", network, profile="tiny", card={})
    assert load_generator(tmp_path / "a.safetensors")[0].ranges == network.ranges


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda ranges: ranges.pop("tail"), "do not fit"),
        (lambda ranges: ranges.update(tail=(1.0, 2.0)), "do not fit"),
        (lambda ranges: ranges.update(tail=(0.0, float("inf"))), "do not fit"),
        (lambda ranges: ranges.update(tail="wide"), "that are none"),
    ],
)
def test_broken_ranges_are_refused(tmp_path, spoil, words):
    network = StreamGenerator.from_profile("tiny").eval()
    names = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Conv2d)]
    network.ranges = dict.fromkeys(names, (-1.0, 1.0))
    spoil(network.ranges)
    save_generator(tmp_path / "a.safetensors", network, profile="tiny", card={})
    with pytest.raises(CheckpointError, match=words):
        load_generator(tmp_path / "a.safetensors")


def test_a_network_without_blocks_does_not_suit():
    assert int8.suits(StreamGenerator.from_profile("tiny"))
    assert not int8.suits(StreamGenerator(StreamConfig(widths=(16, 32, 32), blocks=(1, 1, 1, 0, 1))))
