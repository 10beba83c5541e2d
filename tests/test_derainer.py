"""One frame in, one frame out: what stays the same, what the past may change, and what is refused."""
import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import copy as shallow
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from streamderain import Derainer, Frame, derainer, engine, stages, weights
from streamderain.core import matching
from streamderain.core.checkpoint import load_generator, save_generator
from streamderain.core.colour import PixelFormat
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer, frame_input
from streamderain.core.stream import StreamConfig, StreamGenerator
from streamderain.errors import DerainError
from streamderain.scaling import lightened

SIZE = (36, 52)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_model(path, tail, recurrent=False):
    """Save a very small network whose rain is about as strong as `tail`."""
    torch.manual_seed(1)
    model = StreamGenerator(StreamConfig(widths=(6, 6, 6), blocks=(0, 0, 0, 0, 0), recurrent=recurrent))
    torch.nn.init.normal_(model.tail.weight, std=tail)
    save_generator(path, model, profile="tiny", card={})
    return path


@pytest.fixture(autouse=True)
def narrow_window(monkeypatch):
    """Half of these small pictures is window enough."""
    monkeypatch.setattr(stages, "SEARCH", replace(stages.SEARCH, radius=8))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "some.safetensors", 0.1)


@pytest.fixture(scope="module")
def zero(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "zero.safetensors", 0.0)


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "recurrent.safetensors", 0.1, recurrent=True)


def scene(seed, count=4, size=SIZE):
    """Frames (H, W, 3) uint8 of a camera that moves over one texture."""
    H, W = size
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (H // 4 + 5, W // 4 + 5, 3))
    texture = np.kron(coarse, np.ones((4, 4, 1)))
    texture += rng.integers(-8, 8, texture.shape)
    texture = np.clip(texture, 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(texture[t : t + H, 2 * t : 2 * t + W]) for t in range(count)]


def run(model, frames, *, ahead=False, **options):
    """Derain frames with a fresh Derainer, looking one ahead or not."""
    fresh = Derainer(model=model, device="cpu", **options)
    following = [*frames[1:], None] if ahead else [None] * len(frames)
    return [fresh(frame, after) for frame, after in zip(frames, following, strict=True)]


def as_frame(array, **options):
    planes = tuple(np.ascontiguousarray(array[..., channel]) for channel in range(3))
    return Frame(planes, PixelFormat(family="rgb", full_range=True), **options)


def planes_of(pixel_format, seed=0):
    """Noise in every code that the format can hold."""
    rng = np.random.default_rng(seed)
    H, W = SIZE
    x, y = pixel_format.subsampling
    chroma = (-(-H >> y), -(-W >> x))
    shapes = {"yuv": [SIZE, chroma, chroma], "rgb": [SIZE] * 3, "grey": [SIZE]}[pixel_format.family]
    dtype = np.uint8 if pixel_format.bit_depth == 8 else np.uint16
    return tuple(rng.integers(0, 1 << pixel_format.bit_depth, shape, dtype=dtype) for shape in shapes)


FORMATS = [
    PixelFormat("yuv", 8, (1, 1)),
    PixelFormat("yuv", 10, (1, 1)),
    PixelFormat("yuv", 12, (1, 0), "bt2020", transfer="pq"),
    PixelFormat("grey", 8),
    PixelFormat("grey", 10, full_range=True),
    PixelFormat("rgb", 8, full_range=True),
]


# --- do no harm ---
@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f"{f.family}{f.bit_depth}{f.transfer}")
def test_without_rain_every_plane_is_the_input(zero, pixel_format):
    frames = [Frame(planes_of(pixel_format, seed), pixel_format) for seed in range(3)]
    for frame, out in zip(frames, run(zero, frames, ahead=True), strict=True):
        for given, found in zip(frame.planes, out.planes, strict=True):
            assert found.dtype == given.dtype
            assert_array_equal(found, given)


@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f"{f.family}{f.bit_depth}{f.transfer}")
def test_rain_changes_the_picture_and_never_the_input(model, pixel_format):
    planes = planes_of(pixel_format)
    copies = [plane.copy() for plane in planes]
    (out,) = run(model, [Frame(planes, pixel_format)])
    assert (out.planes[0] != planes[0]).any()
    assert [plane.shape for plane in out.planes] == [plane.shape for plane in planes]
    for now, before in zip(planes, copies, strict=True):
        assert_array_equal(now, before)


def test_a_frame_keeps_all_but_its_pixels(model):
    alpha = np.full(SIZE, 9, np.uint8)
    frame = as_frame(
        scene(0)[0], pts=77, time_base=Fraction(1, 90_000), duration=3003, alpha=alpha, rotation=180, side={"x": 1}
    )
    (out,) = run(model, [frame])
    assert replace(out, planes=frame.planes) == frame
    assert out.alpha is alpha


# --- arrays ---
def test_arrays_come_back_as_arrays(model):
    arrays = scene(1)
    copies = [array.copy() for array in arrays]
    outs = run(model, arrays, ahead=True)
    frames = run(model, [as_frame(array) for array in arrays], ahead=True)
    for array, copy, out, frame in zip(arrays, copies, outs, frames, strict=True):
        assert (out.dtype, out.shape) == (np.uint8, array.shape)
        assert_array_equal(array, copy)
        assert (out != array).any()
        assert_array_equal(out, np.stack(frame.planes, axis=-1))


SHAPES = [(8, 8), (8, 8, 4), (3, 8, 8), (0, 8, 3), (8, 0, 3)]
WRONG = [np.zeros((8, 8, 3)), *(np.zeros(shape, np.uint8) for shape in SHAPES)]


@pytest.mark.parametrize("array", WRONG)
def test_other_arrays_are_refused(zero, array):
    with pytest.raises(ValueError, match=r"it must be uint8 \(H, W, 3\) RGB"):
        Derainer(model=zero, device="cpu")(array)
    with pytest.raises(ValueError, match=r"it must be uint8 \(H, W, 3\) RGB"):
        Derainer(model=zero, device="cpu")(np.zeros((8, 8, 3), np.uint8), array)


@pytest.mark.parametrize("picture", ["dry.png", [[[0, 0, 0]]], torch.zeros(8, 8, 3, dtype=torch.uint8)])
def test_what_is_no_picture_is_refused(zero, picture):
    with pytest.raises(ValueError, match=r"is no picture; give a Frame or a uint8 array \(H, W, 3\) RGB"):
        Derainer(model=zero, device="cpu")(picture)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (17, 66)])
def test_any_size_works(model, size):
    arrays = scene(2, size=size)
    for array, out in zip(arrays, run(model, arrays, ahead=True), strict=True):
        assert out.shape == array.shape


# --- the past ---
def test_same_input_same_bits(model):
    arrays = scene(3, count=6)
    for first, second in zip(run(model, arrays, ahead=True), run(model, arrays, ahead=True), strict=True):
        assert_array_equal(first, second)


def test_the_past_and_the_following_frame_are_used(model):
    arrays = scene(4)
    alone = run(model, arrays[1:2])[0]
    with_past = run(model, arrays[:2])[1]
    with_next = run(model, arrays[1:3], ahead=True)[0]
    with_both = run(model, arrays[:3], ahead=True)[1]
    outs = alone, with_past, with_next, with_both
    for n, one in enumerate(outs):
        assert all((one != other).any() for other in outs[n + 1 :])


def test_reset_forgets_everything(model):
    one, other = scene(5), scene(5)  # equal scenes: without a reset the past would be used
    used = Derainer(model=model, device="cpu")
    for array, after in zip(one, [*one[1:], other[0]], strict=True):
        used(array, after)
    used.reset()
    for number, expected in enumerate(run(model, other)):
        assert_array_equal(used(other[number]), expected)
    assert used.frames == 8


@pytest.mark.parametrize("wrap", [lambda array: array, as_frame])
def test_each_view_is_made_once(model, monkeypatch, wrap):
    made = []
    make_guide = matching.make_guide

    def counted(luma):
        made.append(luma)
        return make_guide(luma)

    monkeypatch.setattr(matching, "make_guide", counted)
    run(model, [wrap(array) for array in scene(6)], ahead=True)
    assert len(made) == 4


def test_looking_ahead_at_another_frame_than_the_next_is_harmless(model):
    arrays, strangers = scene(7), scene(7)
    used = Derainer(model=model, device="cpu")
    found = [used(array, strangers[number + 1]) for number, array in enumerate(arrays[:3])]
    for out, expected in zip(found, run(model, arrays, ahead=True), strict=False):
        assert_array_equal(out, expected)  # equal pixels in another array: viewed again, same answer


def test_another_size_begins_anew(model):
    small, large = scene(8), scene(8, size=(40, 60))
    outs = run(model, small[:2] + large[:2])
    for found, expected in zip(outs[2:], run(model, large[:2]), strict=True):
        assert_array_equal(found, expected)


def test_a_following_frame_of_another_size_or_turn_is_not_looked_at(model):
    frames = [as_frame(array) for array in scene(9)]
    expected = run(model, frames[:1])[0]
    for after in (as_frame(scene(9, size=(40, 60))[0]), replace(frames[1], rotation=90)):
        found = Derainer(model=model, device="cpu")(frames[0], after)
        assert_array_equal(found.planes[0], expected.planes[0])


def test_a_turn_in_the_middle_begins_anew(model):
    frames = [as_frame(array) for array in scene(10)]
    turned = replace(frames[2], rotation=90)
    found, expected = run(model, [*frames[:2], turned])[2], run(model, [turned])[0]
    assert_array_equal(found.planes[0], expected.planes[0])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rain_is_looked_for_in_the_upright_picture(model, turns):
    upright = [as_frame(array) for array in scene(11)]
    lying = [as_frame(np.rot90(np.stack(frame.planes, -1), -turns), rotation=90 * turns) for frame in upright]
    for expected, found in zip(run(model, upright, ahead=True), run(model, lying, ahead=True), strict=True):
        for one, other in zip(expected.planes, found.planes, strict=True):
            assert_array_equal(np.rot90(other, turns), one)


# --- damage and cuts ---
def damaged(array):
    broken = array.copy()
    broken[8:12] = 127  # little enough to be the same scene
    return as_frame(broken, corrupt=True)


@pytest.mark.parametrize("ruin", [damaged, lambda array: replace(as_frame(scene(99)[0]), corrupt=True)])
def test_a_corrupt_frame_leaves_no_trace(model, ruin):
    frames = [as_frame(array) for array in scene(12)]
    with_it = run(model, [*frames[:2], ruin(scene(12)[2]), frames[3]])
    without = run(model, [*frames[:2], frames[3]])
    for found, expected in zip([*with_it[:2], with_it[3]], without, strict=True):
        for one, other in zip(found.planes, expected.planes, strict=True):
            assert_array_equal(one, other)
    assert with_it[2].corrupt


def test_a_corrupt_frame_is_never_a_companion(model):
    frames = [as_frame(array) for array in scene(13)]
    used = Derainer(model=model, device="cpu")
    used(frames[0])
    kept = used.past.view
    used(damaged(scene(13)[1]), frames[2])
    assert kept is not None and used.past.view is kept
    found = Derainer(model=model, device="cpu")(frames[0], damaged(scene(13)[1]))
    assert_array_equal(found.planes[0], run(model, frames[:1])[0].planes[0])


@pytest.mark.parametrize("ahead", [False, True])
def test_after_a_cut_the_frame_is_derained_as_the_first_of_its_scene(model, ahead):
    before, after = scene(14, count=5), scene(1400)
    found = run(model, before + after, ahead=ahead)
    assert_array_equal(found[5], run(model, after, ahead=ahead)[0])


def test_nothing_from_before_a_flash_is_used(model):
    before, flash, after = scene(18, count=5), scene(1800, count=1), scene(18, count=6)[5:]
    assert_array_equal(run(model, before + flash + after)[6], run(model, after)[0])


def test_before_a_cut_the_next_scene_is_not_used(model):
    before, after = scene(15), scene(1500)
    found = run(model, before + after, ahead=True)[3]
    used = Derainer(model=model, device="cpu")
    for number, array in enumerate(before):
        expected = used(array, before[number + 1] if number < 3 else None)
    assert_array_equal(found, expected)


# --- networks that look at a frame alone ---
def save_alone(path, network, *, low=-1, output="background"):
    save_generator(path, SingleFrameDerainer(network, low=low, output=output), profile="nlcl", card={})
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A published network with random weights: its background has nothing to do with the picture."""
    torch.manual_seed(2)
    return save_alone(tmp_path_factory.mktemp("models") / "alone.safetensors", ResidualGenerator(4, 1))


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """A published network whose background is its input."""
    network = ResidualGenerator(4, 1, skip="add")
    return save_alone(tmp_path_factory.mktemp("models") / "identity.safetensors", network)


@pytest.fixture
def no_search(monkeypatch):
    def called(*_, **__):
        raise AssertionError("a network that looks at a frame alone needs no search")

    for name in ("search", "make_guide"):
        monkeypatch.setattr(matching, name, called)
    monkeypatch.setattr(stages, "network_blocks", called)


@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f"{f.family}{f.bit_depth}{f.transfer}")
@pytest.mark.parametrize("scale", [1, 2])
def test_a_background_like_the_input_changes_no_plane(identity, no_search, pixel_format, scale):
    frames = [Frame(planes_of(pixel_format, seed), pixel_format) for seed in range(2)]
    for frame, out in zip(frames, run(identity, frames, ahead=True, scale=scale), strict=True):
        for given, found in zip(frame.planes, out.planes, strict=True):
            assert_array_equal(found, given)


@pytest.mark.parametrize("low, code", [(-1, 2 * 40 / 255), (0, 40 / 255)])
def test_a_constant_rain_layer_is_taken_off_exactly(tmp_path, no_search, low, code):
    network = ResidualGenerator(2, 0, norm="none")
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(network.layers[-1].bias, code)
    path = save_alone(tmp_path / "forty.safetensors", network, low=low, output="rain")
    array = np.full((*SIZE, 3), 200, np.uint8)
    array[8:24, 8:24] = 20
    assert_array_equal(run(path, [array])[0], np.where(array == 200, 160, 0))
    assert_array_equal(run(path, [array], strength=0.25)[0], array - 10)
    grey = Frame((np.full(SIZE, 200, np.uint8),), PixelFormat("grey", 8, full_range=True))
    assert (run(path, [grey])[0].planes[0] == 160).all()


@pytest.mark.parametrize("rotation", [0, 90])
def test_the_frames_around_it_do_not_matter(alone, no_search, rotation):
    frames = [as_frame(array, rotation=rotation) for array in (*scene(30, count=2), scene(31)[0])]
    for frame, out in zip(frames, run(alone, frames, ahead=True), strict=True):
        assert (out.planes[0] != frame.planes[0]).any()
        assert_array_equal(out.planes[0], run(alone, [frame])[0].planes[0])


def test_the_background_is_what_comes_out(alone):
    array = scene(32)[0]
    network, _ = load_generator(alone)
    with torch.inference_mode():
        code = network.network(2 * frame_input(array.transpose(2, 0, 1))[None] - 1)[0].permute(1, 2, 0)
    background = ((code + 1) / 2).clamp(0, 1) * 255
    assert_allclose(run(alone, [array])[0], background.numpy(), atol=0.51)  # rounded to whole levels


def test_a_smaller_look_at_a_frame_alone(alone):
    few = scene(33, count=1, size=(20, 28))[0]
    big = np.kron(few, np.ones((2, 2, 1), np.uint8))
    expected, found = run(alone, [few])[0].astype(int) - few, run(alone, [big], scale=2)[0].astype(int) - big
    brighter = expected > 8  # how much darker a pixel may become is limited
    assert found.shape == big.shape and brighter.any()
    inner = found.reshape(20, 2, 28, 2, 3).mean((1, 3))
    assert np.corrcoef(inner[brighter], expected[brighter])[0, 1] > 0.9


def test_a_network_alone_remembers_nothing_and_says_what_it_is(alone, monkeypatch):
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: True)
    used = Derainer(model=alone, device="cpu")
    used(scene(34)[0], scene(34)[1])
    assert (used.profile, used.precision, used.backend, used.frames) == ("nlcl", "fp32", "eager", 1)
    assert used.past == derainer.Past()
    assert [stage for stage, ms in used.stage_ms.items() if ms > 0] == ["view", "network", "subtract"]


# --- strength ---
def test_strength_zero_is_the_identity(model):
    for array, out in zip(scene(16), run(model, scene(16), strength=0), strict=True):
        assert_array_equal(out, array)


def test_strength_scales_what_is_taken_away(model):
    array = (96 + scene(17)[0] // 4).astype(np.uint8)  # the middle of the range, so that nothing saturates
    half, whole = (run(model, [array], strength=s)[0].astype(int) - array for s in (0.05, 0.1))
    assert 4 < np.abs(whole).max() < 90
    assert_allclose(half, whole / 2, atol=0.76)  # each is rounded to whole levels


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan"), float("inf"), "1", None])
def test_strength_out_of_range(zero, strength):
    with pytest.raises(DerainError, match="give a number from 0"):
        Derainer(model=zero, strength=strength)
    used = Derainer(model=zero, device="cpu")
    with pytest.raises(DerainError, match="give a number from 0"):
        used.strength = strength
    assert used.strength == 1


@pytest.mark.parametrize("scale", [0, -1, 1.5, "2", None])
def test_scale_out_of_range(zero, scale):
    with pytest.raises(DerainError, match="give a whole number of 1 or more"):
        Derainer(model=zero, scale=scale)
    used = Derainer(model=zero, device="cpu")
    with pytest.raises(DerainError, match="give a whole number of 1 or more"):
        used.scale = scale
    assert used.scale == 1


# --- what was chosen ---
def test_choices_and_times_are_told(model):
    used = Derainer(model=model, device="cpu")
    assert (used.profile, used.device, used.backend) == ("tiny", "cpu", "eager")
    assert used.precision in ("fp32", "bf16")
    assert used.model == model
    used(scene(18)[0])
    assert used.frames == 1
    assert list(used.stage_ms) == ["view", "search", "companions", "network", "subtract"]
    assert all(ms > 0 for ms in used.stage_ms.values())


def test_a_model_that_cannot_be_used_is_the_users_trouble(tmp_path):
    with pytest.raises(DerainError, match=r"none\.safetensors is not a file"):
        Derainer(model=tmp_path / "none.safetensors")
    with pytest.raises(DerainError, match=r"\. is not a file"):  # an unset variable names no profile either
        Derainer(model="")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    with pytest.raises(DerainError, match=r"bad\.safetensors is not a readable"):
        Derainer(model=bad)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:-1", "cuda:²", "cpu:0", "cpu:3", "CPU", ""])
def test_unknown_device(model, device):
    with pytest.raises(DerainError, match=f"device '{device}' is unknown; give auto, cpu, cuda or cuda:N"):
        Derainer(model=model, device=device)


@pytest.mark.parametrize("copied", [shallow, deepcopy, pickle.dumps])
def test_a_derainer_is_not_copied(zero, copied):
    with pytest.raises(TypeError, match="make one in each process instead"):
        copied(Derainer(model=zero, device="cpu"))


def test_a_device_that_is_no_text(model):
    with pytest.raises(DerainError, match="device 'None' is unknown; give auto, cpu, cuda or cuda:N"):
        Derainer(device=None)
    assert Derainer(model=model, device=torch.device("cpu")).device == "cpu"


@pytest.mark.parametrize("device, count", [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_here(model, monkeypatch, device, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(DerainError, match=f"device {device} is not here .*use --device cpu"):
        Derainer(model=model, device=device)


def test_unknown_profile():
    with pytest.raises(DerainError, match="profile 'huge' is unknown; give tiny, realtime, quality or auto"):
        Derainer(profile="huge", device="cpu")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    for profile in ("tiny", "realtime"):
        make_model(tmp_path / f"{profile}.safetensors", 0.0)
    return tmp_path


def test_quality_says_that_its_weights_do_not_exist(shelf):
    with pytest.raises(DerainError, match="the weights of profile quality do not exist yet") as caught:
        Derainer(profile="quality", device="cpu")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "profile, device, gpu, expected",
    [
        ("auto", "cpu", True, "tiny"),
        ("auto", "auto", False, "tiny"),
        ("auto", "auto", True, "realtime"),
        ("auto", "cuda:1", False, "realtime"),
        ("realtime", "cpu", False, "realtime"),
        ("tiny", "cuda", True, "tiny"),
    ],
)
def test_profile_follows_the_device(shelf, monkeypatch, profile, device, gpu, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert weights.find(profile, device) == shelf / f"{expected}.safetensors"


# --- the engine ---
@pytest.mark.parametrize("bf16, precision, dtype", [(False, "fp32", torch.float32), (True, "bf16", torch.bfloat16)])
def test_engine_runs_the_network_in_the_processors_precision(monkeypatch, bf16, precision, dtype):
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: bf16)
    torch.manual_seed(0)
    network = StreamGenerator(StreamConfig(widths=(6, 6, 6), blocks=(0, 0, 0, 0, 0))).eval()
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    seen = torch.rand(12, 13, 21)
    with torch.inference_mode():
        expected = network(seen[None])[0].numpy()
    made = engine.Engine(network, "cpu")
    assert (made.device, made.precision, made.input_dtype) == ("cpu", precision, dtype)
    assert made.companions
    padded = torch.nn.functional.pad(seen[None], (0, 3, 0, 3), mode="replicate")
    rain = made.run(torch.nn.functional.pixel_unshuffle(padded, 2)[0].to(dtype), 13, 21)
    assert (rain.dtype, rain.shape) == (np.float32, (4, 13, 21))
    # bfloat16 keeps eight bits: the error of a sum of a few hundred terms of size 0.1
    assert_allclose(rain, expected, atol=3e-2 * np.abs(expected).max() if bf16 else 1e-6)


@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f"{f.family}{f.bit_depth}{f.transfer}")
@pytest.mark.parametrize("scale", [2, 3])
def test_a_smaller_look_still_changes_nothing_without_rain(zero, pixel_format, scale):
    planes = planes_of(pixel_format)
    frame = Frame(planes, pixel_format)
    after = Derainer(model=zero, scale=scale)(frame)
    for before, plane in zip(planes, after.planes, strict=True):
        assert_array_equal(plane, before)


def test_a_smaller_look_takes_off_the_smaller_pictures_rain_enlarged(tmp_path):
    model = make_model(tmp_path / "faint.safetensors", 0.02)  # so that no picture saturates
    few = scene(3, count=3, size=(20, 28))
    many = [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in few]  # shrunk by averaging they are `few` again
    small, large = Derainer(model=model), Derainer(model=model, scale=2)
    for frame, big in zip(few, many, strict=True):
        expected, found = small(frame).astype(int) - frame, large(big).astype(int) - big
        assert found.shape == big.shape and np.abs(expected).max() > 8
        inner = found.reshape(20, 2, 28, 2, 3).mean((1, 3))
        share = np.array([1, 6, 1]) / 8  # what bilinear enlargement leaves in the mean of a 2x2 block
        enlarged = cv2.sepFilter2D(expected.astype(float), -1, share, share, borderType=cv2.BORDER_REPLICATE)
        assert np.median(np.abs(inner - enlarged)) < 0.5 < np.median(np.abs(inner - expected))


def test_another_scale_in_the_middle_begins_anew(model):
    frames = scene(5)
    changed, fresh = Derainer(model=model), Derainer(model=model, scale=2)
    changed(frames[0])
    changed.scale = 2
    assert_array_equal(changed(frames[1]), fresh(frames[1]))


@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f"{f.family}{f.bit_depth}{f.transfer}")
@pytest.mark.parametrize("rotation", [0, 90])
def test_nothing_becomes_darker_than_its_surroundings_were(pixel_format, rotation):
    before = Frame(planes_of(pixel_format), pixel_format, rotation=rotation)
    darker = before.with_planes(tuple(plane // 4 for plane in before.planes))
    found = lightened(before, darker, 2)
    rows = before.planes[0] if rotation == 0 else before.planes[0].T
    padded = np.pad(rows, ((0, 0), (2, 2)), mode="edge").astype(int)
    lowest = np.min([padded[:, k : k + rows.shape[1]] for k in range(5)], axis=0)
    lowest = lowest if rotation == 0 else lowest.T
    assert_array_equal(found.planes[0], np.maximum(darker.planes[0], lowest))
    assert found.planes[0].dtype == before.planes[0].dtype
    assert_array_equal(lightened(before, before, 2).planes[0], before.planes[0])
    if pixel_format.family == "yuv":
        assert_array_equal(found.planes[1], darker.planes[1])


@pytest.mark.parametrize("size", [(13, 21), (1, 1)])
def test_engine_runs_a_published_network_in_single_precision(monkeypatch, size):
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: True)
    torch.manual_seed(0)
    network = SingleFrameDerainer(ResidualGenerator(4, 1), low=-1, output="background").eval()
    seen = torch.rand(3, *size)
    with torch.inference_mode():
        expected = network(seen[None])[0].numpy()
    made = engine.Engine(network, "cpu")
    assert (made.companions, made.precision, made.input_dtype) == (False, "fp32", torch.float32)
    rain = made.run(seen, *size)
    assert (rain.dtype, rain.shape) == (np.float32, (3, *size))
    assert_allclose(rain, expected, atol=1e-5)


# --- a recurrent network sees the frame before as it left it ---
class Watched(Derainer):
    """Keeps the companions that the network was shown."""

    def __init__(self, **options):
        super().__init__(device="cpu", **options)
        self.shown, beside = [], self._stages.beside

        def keep(view, slots):
            self.shown.append([slot and slot[0].rgb.transpose(1, 2, 0) for slot in slots])
            return beside(view, slots)

        self._stages.beside = keep


@pytest.mark.parametrize("ahead", [True, False])
def test_the_frame_before_is_shown_derained_and_the_one_after_or_itself_as_it_came(recurrent, ahead):
    watched, frames = Watched(model=recurrent), scene(3)
    following = [*frames[1:], None] if ahead else [None] * 4
    found = [watched(frame, after) for frame, after in zip(frames, following, strict=True)]
    for t in range(1, 4):
        first, second = watched.shown[t]
        assert_array_equal(first, found[t - 1])
        assert (first != frames[t - 1]).any()
        assert_array_equal(second, frames[t + 1 if ahead and t < 3 else t - 1])


def test_what_is_shown_is_wholly_derained_whatever_the_strength(recurrent):
    whole, half = Watched(model=recurrent), Watched(model=recurrent, strength=0.5)
    for frame in scene(3):
        whole(frame), half(frame)
    for one, other in zip(whole.shown, half.shown, strict=True):
        for picture, twin in zip(one, other, strict=True):
            assert (picture is None) == (twin is None) and (picture is None or np.array_equal(picture, twin))


def test_other_networks_see_the_frame_before_as_it_came(model):
    watched, frames = Watched(model=model), scene(3)
    for frame in frames:
        watched(frame)
    for t in range(1, 4):
        first, second = watched.shown[t]
        assert_array_equal(first, frames[t - 1])
        assert second is None


def test_a_damaged_frame_is_not_shown_to_the_next(recurrent):
    watched, frames = Watched(model=recurrent), [as_frame(array) for array in scene(3)]
    found = [watched(replace(frame, corrupt=t == 1)) for t, frame in enumerate(frames)]
    assert_array_equal(watched.shown[2][0], np.stack(found[0].planes, axis=-1))


def test_after_a_cut_nothing_from_before_is_shown(recurrent):
    watched, frames = Watched(model=recurrent), scene(3)
    stranger = np.random.default_rng(5).integers(0, 256, frames[0].shape, dtype=np.uint8)
    for frame in (*frames[:2], stranger, *frames[:2]):
        watched(frame)
    assert watched.shown[2] == [None, None] and watched.shown[3] == [None, None]
    assert watched.shown[4][0] is not None


def test_a_frame_that_could_not_be_derained_is_shown_as_it_came(recurrent, monkeypatch):
    watched, frames = Watched(model=recurrent), scene(3)
    watched(frames[0])
    rain = watched._stages.rain
    monkeypatch.setattr(watched._stages, "rain", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        watched(frames[1])
    monkeypatch.setattr(watched._stages, "rain", rain)
    watched(frames[2])
    assert_array_equal(watched.shown[2][0], frames[1])


def test_frames_finished_in_threads_wait_for_the_one_before(recurrent):
    frames = scene(3)
    expected = run(recurrent, frames)
    watched = Watched(model=recurrent)
    seen = [watched.look(frame) for frame in frames]
    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(watched.finish, seen))
    for one, other in zip(expected, found, strict=True):
        assert_array_equal(one, np.stack(other.planes, axis=-1))
