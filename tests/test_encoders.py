"""The frozen encoders: their numbers and arithmetic against slow twins, and which weight files they take."""
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from streamderain.core import encoder_files, encoders
from streamderain.core.checkpoint import CheckpointError
from streamderain.core.companions import network_input
from streamderain.core.encoder_files import load_clip, load_vgg
from streamderain.core.encoders import CLIPImageEncoder, FrozenEncoder, StreamEncoder, VGGEncoder, relu_layers
from streamderain.core.stream import StreamConfig, StreamGenerator

TinyCLIP = partial(CLIPImageEncoder, image_size=8, patch=4, width=12, layers=2, heads=3, dim=5)
SMALL = StreamConfig(widths=(4, 6, 8), blocks=(1, 0, 1, 1, 1))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def slim(monkeypatch):
    """VGG of few channels and a tiny CLIP, also where files are loaded."""
    monkeypatch.setattr(encoders, "WIDTHS", (2, 3, 4, 5, 6))
    monkeypatch.setattr(encoder_files, "CLIPImageEncoder", TinyCLIP)


def randomised(model, seed=0):
    """The same module with no parameter at a special value."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def generator():
    return randomised(StreamGenerator(SMALL)).eval()


def picture(*size, batch=2):
    torch.manual_seed(1)
    return torch.rand(batch, 3, *size)


# --- VGG ---
@pytest.mark.parametrize("depth, count, modules", [(19, 20_024_384, 37), (16, 14_714_688, 31)])
def test_vgg_is_as_large_as_published(depth, count, modules):
    with torch.device("meta"):
        model = VGGEncoder(depth)
    assert sum(p.numel() for p in model.parameters()) == count
    assert len(model.layers) == modules


def test_weights_have_torchvisions_names():
    with torch.device("meta"):
        names = list(VGGEncoder(16).layers.state_dict(prefix="features."))
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]  # as in torchvision's vgg16
    assert names == [f"features.{n}.{kind}" for n in convolutions for kind in ("weight", "bias")]


@pytest.mark.parametrize(
    "depth, names, numbers",
    [
        (19, ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), (1, 6, 11, 20, 29)),
        (19, ("relu5_4", "relu3_4"), (35, 17)),
        (16, ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"), (3, 8, 15, 22, 29)),
        (16, (), ()),
    ],
)
def test_named_layers_have_torchvisions_numbers(depth, names, numbers):
    assert relu_layers(depth, names) == numbers
    with torch.device("meta"):
        model = VGGEncoder(depth)
    assert all(isinstance(model.layers[number], nn.ReLU) for number in numbers)


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match=r"no layers \['relu3_4', 'pool1'\]; VGG-16 has relu1_1, relu1_2, relu2_1"):
        relu_layers(16, ("relu1_1", "relu3_4", "pool1"))


@pytest.mark.parametrize("call", [VGGEncoder, partial(relu_layers, names=())])
def test_other_depths_are_refused(call):
    with pytest.raises(ValueError, match="depth is 18; it must be 16 or 19"):
        call(18)


@pytest.mark.parametrize(
    "depth, shapes",
    [
        (19, {0: (2, 33, 47), 1: (2, 33, 47), 4: (2, 16, 23), 6: (3, 16, 23), 11: (4, 8, 11), 18: (4, 4, 5),
              20: (5, 4, 5), 29: (6, 2, 2), 36: (6, 1, 1)}),
        (16, {3: (2, 33, 47), 8: (3, 16, 23), 15: (4, 8, 11), 16: (4, 4, 5), 30: (6, 1, 1)}),
    ],
)  # fmt: skip
def test_taps_have_the_shapes_of_their_stages(slim, depth, shapes):
    model = VGGEncoder(depth)
    taps = model.features(picture(33, 47), shapes)
    assert [tap.shape for tap in taps] == [(2, *shape) for shape in shapes.values()]
    assert torch.equal(taps[-1], model(picture(33, 47)))


def test_vgg_equals_convolutions_by_hand(slim):
    model, x = randomised(VGGEncoder(19)), picture(12, 9)
    taps = model.features(x, [6, 0, 1, 3, 4])
    layers = model.layers
    y = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    first = functional.conv2d(y, layers[0].weight, layers[0].bias, padding=1)
    second = functional.conv2d(first.clamp(min=0), layers[2].weight, layers[2].bias, padding=1).clamp(min=0)
    pooled = functional.max_pool2d(second, 2)
    third = functional.conv2d(pooled, layers[5].weight, layers[5].bias, padding=1).clamp(min=0)
    torch.testing.assert_close(taps, [first, first.clamp(min=0), second, pooled, third])
    assert (taps[0] < 0).any()  # the ReLU after it did not work in place


def test_vgg_runs_no_further_than_the_last_tap(slim):
    model, reached = VGGEncoder(16), []
    for number, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda *_, n=number: reached.append(n))
    model.features(picture(8, 8), (1, 3))
    assert reached == [0, 1, 2, 3]


def test_raw_pictures_are_not_normalised(slim):
    native, raw = randomised(VGGEncoder(16)), randomised(VGGEncoder(16, native=False))
    mean, std = torch.tensor(encoders.IMAGENET_MEAN).view(3, 1, 1), torch.tensor(encoders.IMAGENET_STD).view(3, 1, 1)
    x = picture(8, 8)
    torch.testing.assert_close(raw.features((x - mean) / std, (3,)), native.features(x, (3,)))
    assert not torch.allclose(raw.features(x, (3,))[0], native.features(x, (3,))[0])


# --- CLIP ---
def naive_clip(weights, x, heads):
    """The image tower with every attention weight written out; x (B, 3, S, S) normalised."""

    def norm(name, y):
        return functional.layer_norm(y, y.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(name, y):
        return y @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    kernel = weights["conv1.weight"]
    tokens = functional.conv2d(x, kernel, stride=kernel.shape[-1]).flatten(2).permute(0, 2, 1)
    tokens = torch.cat((weights["class_embedding"].repeat(len(x), 1, 1), tokens), 1) + weights["positional_embedding"]
    tokens = norm("ln_pre", tokens)
    size = tokens.shape[-1] // heads
    block = 0
    while f"transformer.resblocks.{block}.ln_1.weight" in weights:
        name = f"transformer.resblocks.{block}"
        y = norm(f"{name}.ln_1", tokens)
        query, key, value = (
            y @ weights[f"{name}.attn.in_proj_weight"].T + weights[f"{name}.attn.in_proj_bias"]
        ).chunk(3, -1)
        mixed = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            logits = query[..., part] @ key[..., part].transpose(1, 2) / size**0.5
            mixed.append(logits.softmax(-1) @ value[..., part])
        tokens = tokens + linear(f"{name}.attn.out_proj", torch.cat(mixed, -1))
        hidden = linear(f"{name}.mlp.c_fc", norm(f"{name}.ln_2", tokens))
        tokens = tokens + linear(f"{name}.mlp.c_proj", hidden / (1 + (-1.702 * hidden).exp()))
        block += 1
    return norm("ln_post", tokens)[:, 0] @ weights["proj"]


def clip_normalised(x):
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def test_clip_is_as_large_as_published():
    with torch.device("meta"):
        model = CLIPImageEncoder()
    assert sum(p.numel() for p in model.parameters()) == 87_849_216
    assert len(model.transformer.resblocks) == 12


def test_clip_weights_have_openais_names_and_shapes():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in CLIPImageEncoder().state_dict(prefix="visual.").items()}
    block = "visual.transformer.resblocks.11."
    assert len(shapes) == 8 + 12 * 12
    assert shapes["visual.class_embedding"] == (768,)
    assert shapes["visual.positional_embedding"] == (50, 768)
    assert shapes["visual.proj"] == (768, 512)
    assert shapes["visual.conv1.weight"] == (768, 3, 32, 32)
    assert shapes["visual.ln_pre.bias"] == shapes["visual.ln_post.weight"] == (768,)
    assert {name.removeprefix(block): shape for name, shape in shapes.items() if name.startswith(block)} == {
        "ln_1.weight": (768,), "ln_1.bias": (768,), "ln_2.weight": (768,), "ln_2.bias": (768,),
        "attn.in_proj_weight": (2304, 768), "attn.in_proj_bias": (2304,),
        "attn.out_proj.weight": (768, 768), "attn.out_proj.bias": (768,),
        "mlp.c_fc.weight": (3072, 768), "mlp.c_fc.bias": (3072,),
        "mlp.c_proj.weight": (768, 3072), "mlp.c_proj.bias": (768,),
    }  # fmt: skip


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("grad", [True, False])  # without gradients torch may take another path through attention
def test_clip_equals_its_naive_twin(native, grad):
    model, x = randomised(TinyCLIP(native=native)), picture(8, 8)
    expected = naive_clip(model.state_dict(), clip_normalised(x) if native else x, heads=3)
    with torch.set_grad_enabled(grad):
        embedding = model(x.requires_grad_(grad))
    assert embedding.shape == (2, 5)
    torch.testing.assert_close(embedding, expected)


def test_clip_squeezes_any_size_into_its_square():
    model = randomised(TinyCLIP())
    x = picture(13, 31)
    square = functional.interpolate(x, (8, 8), mode="bicubic", antialias=True)
    torch.testing.assert_close(model(x), model(square))


def test_clip_offers_its_embedding_as_layer_0():
    model, x = randomised(TinyCLIP()), picture(9, 8)
    (embedding,) = model.features(x, (0,))
    assert torch.equal(embedding, model(x))
    assert model.features(x, ()) == []


@pytest.mark.parametrize("changes", [{"image_size": 9}, {"heads": 5}])
def test_clip_sizes_that_do_not_divide_are_refused(changes):
    with pytest.raises(ValueError, match="must be a multiple of"):
        TinyCLIP(**changes)


# --- the stream generator's encoder ---
@pytest.mark.parametrize("size", [(16, 24), (13, 5), (1, 1)])
def test_stream_taps_are_those_of_the_generator_without_companions(size):
    rgb = np.random.default_rng(0).integers(0, 256, (3, *size), np.uint8)
    model, expected = generator(), []
    for part in (model.encode2, model.encode4, model.middle[-1]):
        part.register_forward_hook(lambda _module, _inputs, output: expected.append(output))
    seen = network_input(rgb, (None, None))[None]
    model(seen)
    x = seen[:, :3]
    taps = StreamEncoder(generator()).features(x, (0, 1, 2))
    assert len(taps) == len(expected) == 3
    for tap, other in zip(taps, expected, strict=True):
        torch.testing.assert_close(tap, other)


def test_stream_encoder_leaves_the_generator_alone():
    model = generator().train()
    encoder = StreamEncoder(model)
    before = encoder(picture(8, 8))
    assert model.training and all(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        model.head.weight.add_(1)
    assert torch.equal(encoder(picture(8, 8)), before)


# --- what all have in common ---
@pytest.fixture(params=["vgg", "clip", "stream"])
def encoder(request, slim):
    made = {"vgg": lambda: VGGEncoder(16), "clip": TinyCLIP, "stream": lambda: StreamEncoder(generator())}
    return randomised(made[request.param]())


def test_encoders_are_frozen_for_good(encoder):
    assert isinstance(encoder, FrozenEncoder)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.train() is encoder
    nn.Sequential(encoder).train()
    assert not any(module.training for module in encoder.modules())


def test_gradients_reach_the_picture(encoder):
    x = picture(32, 32).requires_grad_()
    encoder.features(x, (0,))[0].square().mean().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).float().mean() > 0.9
    assert all(p.grad is None for p in encoder.parameters())


def test_constants_stay_out_of_the_weights(encoder):
    assert sorted(encoder.state_dict()) == sorted(name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize("layers", [(99,), (0, -1)])
def test_unknown_layers_are_named(encoder, layers):
    with pytest.raises(ValueError, match=rf"no layers \[{layers[-1]}\]; .* has 0"):
        encoder.features(picture(32, 32), layers)


# --- files ---
def vgg_tensors(depth=16, dtype=torch.float32):
    """What torchvision saves: the convolutions, and a classifier that is none of our business."""
    tensors = randomised(VGGEncoder(depth)).layers.state_dict(prefix="features.")
    return {name: value.to(dtype) for name, value in tensors.items()} | {"classifier.0.weight": torch.ones(2, 2)}


def clip_tensors(dtype=torch.float32):
    """What OpenAI's model holds: the image tower, and the text tower beside it."""
    tensors = {name: value.to(dtype) for name, value in randomised(TinyCLIP()).state_dict(prefix="visual.").items()}
    others = {"logit_scale": torch.tensor(4.6), "transformer.resblocks.0.ln_1.weight": torch.ones(3)}
    return tensors | others | {"input_resolution": torch.tensor(224), "token_embedding.weight": torch.ones(4, 3)}


@pytest.fixture(params=["vgg", "clip"])
def kind(request, slim, tmp_path):
    """A good file's tensors, its loader, and where to write it."""
    kinds = {"vgg": (vgg_tensors, partial(load_vgg, depth=16)), "clip": (clip_tensors, load_clip)}
    tensors, load = kinds[request.param]
    return tensors, load, tmp_path / "weights.safetensors"


def refused(load, path, reason):
    with pytest.raises(CheckpointError, match=reason) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert "; give torchvision's vgg16" in message or "; give OpenAI's CLIP ViT-B/32" in message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_come_in_under_their_owners_names(kind, dtype):
    tensors, load, path = kind
    save_file(tensors(dtype=dtype), path, {"format": "pt", "note": "{not json"})
    model = load(path)
    prefix, part = ("features.", model.layers) if isinstance(model, VGGEncoder) else ("visual.", model)
    for name, value in part.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, tensors(dtype=dtype)[prefix + name].float())
    assert not model.training and not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("native", [True, False])
def test_loaders_pass_on_the_normalisation(kind, native):
    tensors, load, path = kind
    save_file(tensors(), path)
    assert isinstance(load(path, native=native).normalise, encoders.Normalise) == native


def test_a_whole_vgg16_in_half_precision(tmp_path):
    path = tmp_path / "vgg16.safetensors"
    expected = VGGEncoder(16).layers
    save_file({name: value.half() for name, value in expected.state_dict(prefix="features.").items()}, path)
    loaded = load_vgg(path, 16).layers
    assert torch.equal(loaded[28].weight, expected[28].weight.half().float())
    refused_19 = r"lacks the tensor features.16.weight of \(256, 256, 3, 3\); give torchvision's vgg19"
    with pytest.raises(CheckpointError, match=refused_19):
        load_vgg(path, 19)


def test_the_first_missing_tensor_is_named(kind):
    tensors, load, path = kind
    some = [name for name in tensors() if name.startswith(("features.", "visual."))]
    save_file({name: value for name, value in tensors().items() if name not in some[3:5]}, path)
    refused(load, path, rf"lacks the tensor {some[3]} of \(")


def test_misshapen_tensors_are_named_with_both_shapes(kind):
    tensors, load, path = kind
    name = next(name for name in tensors() if name.startswith(("features.5.weight", "visual.conv1.weight")))
    shape = tuple(tensors()[name].shape)
    save_file(tensors() | {name: torch.zeros(2, *shape[1:])}, path)
    given, wanted = (str(s).strip("()") for s in ((2, *shape[1:]), shape))
    refused(load, path, rf"has {name} as F32 of \({given}\), not float of \({wanted}\)")


@pytest.mark.parametrize("dtype, name", [(torch.int64, "I64"), (torch.float64, "F64")])
def test_other_dtypes_are_refused(kind, dtype, name):
    tensors, load, path = kind
    save_file(tensors(dtype=dtype), path)
    refused(load, path, rf"as {name} of \(")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(kind, value):
    tensors, load, path = kind
    broken = tensors()
    name = [name for name in broken if name.startswith(("features.", "visual."))][1]
    broken[name].flatten()[-1] = value
    save_file(broken, path)
    refused(load, path, f"holds NaN or infinity in {name}; ")


def test_what_is_no_such_file_is_refused(kind):
    tensors, load, path = kind
    refused(load, path, "is not a file")
    refused(load, path.parent, "is not a file")
    path.write_bytes(pickle.dumps({name: value.numpy() for name, value in tensors().items()}))
    refused(load, path, "is not a readable safetensors file")
    path.write_bytes(b"")
    refused(load, path, "is not a readable safetensors file")
    save_file(tensors(), path)
    for size in (4, 100, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:size])
        refused(load, path, "is not a readable safetensors file")
        save_file(tensors(), path)
