"""Weight files: what was written comes back bit for bit, and nothing else comes in."""
import hashlib
import json
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from streamderain.core import checkpoint
from streamderain.core.checkpoint import CheckpointError, load_generator, load_tensors, save_generator, save_tensors
from streamderain.core.generators import ResidualGenerator, ResnetGenerator
from streamderain.core.multiscale import RecursiveMultiScaleNet
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import StreamConfig, StreamGenerator

CONFIG = StreamConfig(widths=(3, 4, 5), blocks=(1, 0, 0, 1, 0))
CARD = {"method": "stream", "steps": 12, "score": 31.5, "note": "ä\n"}


def network():
    torch.manual_seed(0)
    model = StreamGenerator(CONFIG)
    torch.nn.init.normal_(model.tail.weight)
    return model


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.safetensors"
    save_generator(path, network(), profile="tiny", card=CARD)
    return path


def metadata(**changes):
    """Metadata of a good file with other values; None leaves the key out."""
    values = {"format": 1, "family": "stream", "profile": "tiny", "config": network().config_dict(), "card": {}}
    return {name: json.dumps(value) for name, value in (values | changes).items() if value is not None}


def bits(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).tolist()


def refused(path, reason):
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_generator(path)
    assert str(path) in str(caught.value)


# --- round trips ---
def test_generator_comes_back_bit_for_bit(good):
    model, found = load_generator(good)
    assert model.config == CONFIG
    assert not model.training
    assert (found["profile"], found["card"], found["format"]) == ("tiny", CARD, 1)
    expected = network().state_dict()
    assert list(model.state_dict()) == list(expected)
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[name])
    seen = torch.rand(1, 12, 8, 8)
    with torch.inference_mode():
        assert torch.equal(model(seen), network()(seen))


def test_weights_from_before_there_was_a_doubt_say_what_they_said(tmp_path):
    path, whole = tmp_path / "older.safetensors", network()
    state = whole.state_dict()
    state["head.weight"], state["tail.weight"] = state["head.weight"][:, :44], state["tail.weight"][:12]
    state["tail.bias"] = state["tail.bias"][:12]
    kind = {"format": 1, "family": "stream", "profile": "tiny", "card": {}}
    save_tensors(path, state, {**kind, "config": whole.config_dict()})
    model, _ = load_generator(path)
    seen = torch.rand(1, 12, 8, 8)
    unheard = torch.cat([seen[:, :11], torch.zeros(1, 1, 8, 8)], 1)
    with torch.inference_mode():
        torch.testing.assert_close(model(seen)[:, :3], whole(unheard)[:, :3])
        assert not model(seen)[:, 3].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_come_back_as_float(tmp_path, dtype):
    path = tmp_path / "half.safetensors"
    save_generator(path, network().to(dtype), profile="tiny", card={})
    model, _ = load_generator(path)
    for name, value in network().state_dict().items():
        assert torch.equal(model.state_dict()[name], value.to(dtype).float())


def test_weights_are_halved_when_asked(tmp_path):
    whole, halved = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_generator(whole, network(), profile="tiny", card=CARD)
    save_generator(halved, network(), profile="tiny", card=CARD, half=True)
    assert all(tensor.dtype == torch.float16 for tensor in load_tensors(halved)[0].values())
    found, metadata = load_generator(halved)
    assert metadata["card"] == CARD
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, network().state_dict()[name].half().float())


def test_tensors_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "state.safetensors"
    tensors = {
        "a": torch.randn(3, 4).t(),  # not contiguous
        "b": torch.tensor(7),
        "c": torch.zeros(0, 2),
        "d": torch.tensor([float("nan"), -0.0]).to(torch.bfloat16),
    }
    save_tensors(path, tensors, {"step": 5, "best": None})
    found, values = load_tensors(path)
    assert values == {"step": 5, "best": None}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert bits(found[name]) == bits(tensor)


def test_digest_is_sha256_of_the_file(good):
    assert checkpoint.digest(good) == hashlib.sha256(good.read_bytes()).hexdigest()


# --- published networks ---
def published(family="residual"):
    torch.manual_seed(0)
    make = {
        "residual": lambda: ResidualGenerator(4, 1),
        "resnet": lambda: ResnetGenerator(2, 1),
        "multiscale": lambda: RecursiveMultiScaleNet(2, (2, 2, 2, 2, 2), (1, 2)),
    }
    return SingleFrameDerainer(make[family](), low=-1, output="background")


@pytest.mark.parametrize("family", ["residual", "resnet", "multiscale"])
def test_a_published_network_comes_back_bit_for_bit(tmp_path, family):
    path, model = tmp_path / "published.safetensors", published(family)
    model(torch.rand(2, 3, 32, 32))  # moves the statistics of a batch norm
    save_generator(path, model.eval(), profile="nlcl", card=CARD)
    found, values = load_generator(path)
    assert (values["family"], values["profile"], values["card"]) == (family, "nlcl", CARD)
    assert isinstance(found, SingleFrameDerainer) and found.config_dict() == model.config_dict()
    assert not any(module.training for module in found.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value) and found.state_dict()[name].dtype == value.dtype
    seen = torch.rand(1, 3, 21, 30)
    with torch.inference_mode():
        assert torch.equal(found(seen), model(seen))


def test_loading_draws_no_random_numbers(tmp_path):
    path = tmp_path / "published.safetensors"
    save_generator(path, published(), profile="nlcl", card={})
    before = torch.random.get_rng_state()
    load_generator(path)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("change, reason", [
    ({"network.layers.0.bias": None}, "lacks the tensor network.layers.0.bias"),
    ({"layers.0.bias": torch.zeros(4)}, "has the unexpected tensor layers.0.bias"),
    ({"network.layers.0.bias": torch.zeros(4, dtype=torch.int64)}, "bias is torch.int64 .*not float of"),
])  # fmt: skip
def test_tensors_that_do_not_fit_a_published_network(tmp_path, change, reason):
    path, model = tmp_path / "changed.safetensors", published()
    tensors = {name: value for name, value in (model.state_dict() | change).items() if value is not None}
    save_file(tensors, path, metadata(family="residual", config=model.config_dict()))
    refused(path, reason)


@pytest.mark.parametrize("count", [torch.tensor(3.0), torch.tensor(3, dtype=torch.int32), torch.tensor([3])])
def test_a_whole_number_stays_one(tmp_path, count):
    path, model = tmp_path / "counts.safetensors", published("multiscale")
    name = "network.decode1.1.num_batches_tracked"
    assert name in model.state_dict()
    save_file(model.state_dict() | {name: count}, path, metadata(family="multiscale", config=model.config_dict()))
    refused(path, rf"{name} is .*, not torch.int64 of \(\)")


@pytest.mark.parametrize("family, config", [
    ("residual", {}),
    ("residual", [1]),
    ("residual", "network"),
    ("residual", {"network": {}, "low": -1}),
    ("residual", {"network": {}, "low": 0.5, "output": "rain"}),
    ("residual", {"network": {}, "low": -1, "output": "both"}),
    ("residual", {"network": {}, "low": -1, "output": "rain", "more": 1}),
    ("residual", {"network": [4, 1], "low": -1, "output": "rain"}),
    ("residual", {"network": {"more": 1}, "low": -1, "output": "rain"}),
    ("residual", {"network": {"channels": 10**9}, "low": -1, "output": "rain"}),
    ("residual", {"network": {"num_blocks": 10**9}, "low": -1, "output": "rain"}),
    ("residual", {"network": {"channels": 3.5}, "low": -1, "output": "rain"}),
    ("residual", {"network": {"channels": "4"}, "low": -1, "output": "rain"}),
    ("resnet", {"network": {"ngf": 10**9}, "low": -1, "output": "rain"}),
    ("resnet", {"network": {"num_blocks": -1}, "low": -1, "output": "rain"}),
    ("multiscale", {"network": {"stages": 10**9}, "low": 0, "output": "rain"}),
    ("multiscale", {"network": {"widths": [10**9] * 5}, "low": 0, "output": "rain"}),
    ("multiscale", {"network": {"widths": 8}, "low": 0, "output": "rain"}),
    ("multiscale", {"network": {"dilations": [1] * 10**4}, "low": 0, "output": "rain"}),
])  # fmt: skip
def test_config_that_builds_no_published_network(tmp_path, family, config):
    path = tmp_path / "config.safetensors"
    save_file(published().state_dict(), path, metadata(family=family, config=config))
    refused(path, "has a config that builds no network")


@pytest.mark.parametrize("network", [{"channels": 1024, "num_blocks": 64}, {"channels": 512}])
def test_a_network_larger_than_its_file_is_never_built(tmp_path, monkeypatch, network):
    path = tmp_path / "large.safetensors"
    config = {"network": network, "low": -1, "output": "rain"}
    save_file(published().state_dict(), path, metadata(family="residual", config=config))
    monkeypatch.setattr(torch.random, "fork_rng", None)  # stands before memory is taken
    refused(path, r"network.layers.0.weight is .*, not float of")


# --- files that are no weights ---
def test_missing_file_and_directory(tmp_path):
    refused(tmp_path / "none.safetensors", "is not a file; give a .safetensors file")
    refused(tmp_path, "is not a file; give a .safetensors file")


def test_a_name_that_no_disk_takes(tmp_path):
    refused(tmp_path / ("a" * 300), "is not a readable safetensors file of ours")


@pytest.mark.parametrize("length", [0, 3, 8, 40, 0.5, -1])
def test_truncated_file(good, length):
    whole = good.read_bytes()
    good.write_bytes(whole[: int(length * len(whole)) if length == 0.5 else length])
    refused(good, "is not a readable safetensors file of ours")


class Bomb:
    """Unpickled, it leaves a marker."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("write", [lambda bomb, path: path.write_bytes(pickle.dumps(bomb)), torch.save])
def test_pickle_never_runs(tmp_path, write):
    marker, path = tmp_path / "marker", tmp_path / "bomb.safetensors"
    write(Bomb(marker), path)
    refused(path, "is not a readable safetensors file of ours")
    assert not marker.exists()
    assert b"marker" in path.read_bytes()


@pytest.mark.parametrize("size", [2**62, 2**32, 99_000_000])
def test_header_of_absurd_size(tmp_path, size):
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b'{"a": 1}')
    refused(path, "is not a readable safetensors file of ours")


@pytest.mark.parametrize("header", [b"\xff\xfe\xff\xfe", b"[1, 2]  ", b'{"a": 1}'])
def test_header_that_is_none(tmp_path, header):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(path, "is not a readable safetensors file of ours")


def test_file_beyond_the_cap(good, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_BYTES", good.stat().st_size - 1)
    refused(good, "is larger than")
    monkeypatch.setattr(checkpoint, "MAX_BYTES", good.stat().st_size)
    load_generator(good)


def test_too_many_tensors(good, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_TENSORS", 3)
    refused(good, r"holds \d+ tensors; that is no derainer")


# --- tensors that do not fit ---
@pytest.mark.parametrize(
    "change, reason",
    [
        ({"head.weight": None}, "lacks the tensor head.weight"),
        ({"extra.weight": torch.zeros(2)}, "has the unexpected tensor extra.weight"),
        ({"tail.bias": torch.zeros(11)}, r"tail.bias is torch.float32 \(11,\), not float of \(16,\)"),
        ({"tail.bias": torch.zeros(16, dtype=torch.int32)}, "tail.bias is torch.int32"),
        ({"tail.bias": torch.zeros(16).to(torch.float8_e4m3fn)}, "tail.bias is torch.float8"),
        ({"tail.bias": torch.full((16,), float("nan"))}, "tail.bias holds NaN or infinity"),
        ({"tail.bias": torch.full((16,), -float("inf"))}, "tail.bias holds NaN or infinity"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, change, reason):
    path = tmp_path / "changed.safetensors"
    tensors = {name: value for name, value in (network().state_dict() | change).items() if value is not None}
    save_file(tensors, path, metadata())
    refused(path, reason)


# --- metadata that is not ours ---
@pytest.mark.parametrize(
    "change", [{"format": 2}, {"format": None}, {"family": "nlcl"}, {"family": ["stream"]}, {"profile": None}]
)
def test_another_format_or_family(tmp_path, change):
    path = tmp_path / "other.safetensors"
    save_file(network().state_dict(), path, metadata(**change))
    refused(path, "is not a generator of format 1")


def test_no_metadata_at_all(tmp_path):
    path = tmp_path / "bare.safetensors"
    save_file(network().state_dict(), path)
    refused(path, "is not a generator of format 1")


@pytest.mark.parametrize("text", ["no json", "[" * 100_000, "1" * 6000])
def test_metadata_that_is_no_json(tmp_path, text):
    path = tmp_path / "text.safetensors"
    save_file(network().state_dict(), path, {**metadata(), "card": text})
    refused(path, "is not a readable safetensors file of ours")


@pytest.mark.parametrize(
    "config",
    [
        [3, 4, 5],
        "widths",
        {},
        {"widths": [3, 4, 5]},
        {"widths": [3, 4], "blocks": [1, 0, 0, 1, 0]},
        {"widths": 3, "blocks": 1},
        {"widths": "345", "blocks": "10010"},
        {"widths": [3.5, 4, 5], "blocks": [1, 0, 0, 1, 0]},
        {"widths": [float("inf"), 4, 5], "blocks": [1, 0, 0, 1, 0]},
        {"widths": [-3, 4, 5], "blocks": [1, 0, 0, 1, 0]},
        {"widths": [3, 4, 5], "blocks": [10**9, 0, 0, 1, 0]},
        {"widths": [3, 4, 5], "blocks": [1, 0, 0, 1, 0], "more": [1]},
    ],
)
def test_config_that_builds_no_network(tmp_path, config):
    path = tmp_path / "config.safetensors"
    save_file(network().state_dict(), path, metadata(config=config))
    refused(path, "has a config that builds no network")


# --- writing ---
@pytest.mark.parametrize("step", ["save_file", "os.fsync", "os.replace"])
def test_a_failed_write_leaves_the_old_file(good, monkeypatch, step):
    def fail(*_):
        raise OSError(28, "No space left on device")

    before = good.read_bytes()
    monkeypatch.setattr(f"streamderain.core.checkpoint.{step}", fail)
    with pytest.raises(OSError, match="No space left"):
        save_tensors(good, {"a": torch.zeros(2)}, {})
    assert good.read_bytes() == before
    load_generator(good)


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match=r"w\.safetensors could not be written .*No such file"):
        save_tensors(tmp_path / "none" / "w.safetensors", {"a": torch.zeros(2)}, {})


def test_a_write_replaces_the_old_file_and_leaves_no_other(good):
    save_tensors(good, {"a": torch.ones(2)}, {"x": 1})
    assert load_tensors(good)[1] == {"x": 1}
    assert list(good.parent.iterdir()) == [good]
