"""Which backend runs the network: chosen by what is here, tried beside eager, everything else told."""
from __future__ import annotations

import logging
import os
import subprocess
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._inductor.config
from engine_fakes import FakeTensorRT, single, stream
from numpy.testing import assert_allclose

import streamderain
from streamderain import backends, compiled, engine, tensorrt, trial
from streamderain.backends import Choice, choose
from streamderain.cli.common import BACKENDS
from streamderain.engine import Engine
from streamderain.engine_cache import EngineFiles
from streamderain.errors import DerainError
from streamderain.tensorrt import TALL, WIDE
from streamderain.tensorrt_network import TensorRTNetwork

ROOT = Path(streamderain.__file__).parent.parent


# --- the choice ---
@pytest.fixture
def lacks(monkeypatch):
    """What TensorRT and torch.compile lack; both can be set."""
    found = {"tensorrt": None, "compile": None}
    monkeypatch.setattr(tensorrt, "missing", lambda device: found["tensorrt"])
    monkeypatch.setattr(compiled, "missing", lambda device: found["compile"])
    return found


def test_auto_takes_the_fastest_that_a_gpu_has(lacks):
    assert choose("auto", "cuda") == choose("auto", "cuda:1") == Choice("tensorrt", then="compile")
    lacks["compile"] = "no compiler"
    assert choose("auto", "cuda") == Choice("tensorrt", then="eager")
    lacks["compile"] = None
    lacks["tensorrt"] = "it is not installed"
    assert choose("auto", "cuda") == Choice(
        "compile", "it is not installed; the network is compiled by torch.compile"
    )  # fmt: skip
    lacks["compile"] = "no compiler"
    assert choose("auto", "cuda") == Choice("eager", "it is not installed; no compiler; the network runs eagerly")


def test_the_processor_runs_eagerly_unless_asked(lacks):
    assert choose("auto", "cpu") == Choice("eager")
    assert choose("compile", "cpu") == Choice("compile")
    lacks["compile"] = "no compiler; install g++"
    assert choose("compile", "cpu") == Choice("eager", "no compiler; install g++; the network runs eagerly")
    assert choose("auto", "cpu") == Choice("eager")


def test_what_is_asked_for_is_taken_or_refused(lacks):
    assert choose("eager", "cuda") == Choice("eager")
    assert choose("compile", "cuda") == Choice("compile")
    assert choose("tensorrt", "cuda") == Choice("tensorrt")
    lacks["tensorrt"] = "torch_tensorrt is not installed; install it"
    with pytest.raises(DerainError, match="not installed; install it"):
        choose("tensorrt", "cuda")
    with pytest.raises(DerainError, match="needs an NVIDIA GPU, not the CPU; use"):
        choose("tensorrt", "cpu")
    with pytest.raises(DerainError, match="backend 'onnx' is unknown; give auto, eager, compile, tensorrt"):
        choose("onnx", "cpu")


def test_the_command_line_knows_the_same_names():
    assert BACKENDS == backends.NAMES


def test_what_tensorrt_lacks_is_found_without_importing_it(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tensorrt.missing("cuda") == "TensorRT needs an NVIDIA GPU, and torch finds none here; use --backend compile"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: None)
    assert "is not installed" in tensorrt.missing("cuda")
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: object())

    def broken(name):
        print("import error, got error: nothing here")
        raise Exception("import error\nwith details")

    monkeypatch.setattr(tensorrt, "import_module", broken)
    told = "torch_tensorrt cannot be loaded (import error); install one that fits torch"
    assert tensorrt.missing("cuda").startswith(told)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "rtx, capability, fits", [(False, (9, 0), True), (True, (9, 0), False), (True, (8, 9), True), (True, (12, 0), True)]
)
def test_tensorrt_rtx_is_not_taken_on_a_data_centre_gpu(monkeypatch, rtx, capability, fits):
    package = types.SimpleNamespace(ENABLED_FEATURES=types.SimpleNamespace(tensorrt_rtx=rtx))
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: object())
    monkeypatch.setattr(tensorrt, "import_module", lambda name: package)
    for name, answer in (
        ("is_available", True), ("get_device_capability", capability), ("get_device_name", "NVIDIA H200"),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    lack = "TensorRT-RTX is not made for NVIDIA H200; install the extra tensorrt instead, or use --backend compile"
    assert tensorrt.missing("cuda:1") == (None if fits else lack)


def test_a_machine_without_compiler_is_told_what_to_install(monkeypatch):
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        advice = "install g++, or name one that is here in the variable CXX"
        assert compiled.missing("cpu") == f"torch.compile needs a C++ compiler; {advice}"
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    assert "needs Triton" in compiled.missing("cuda")


# --- the trial ---
@pytest.mark.skipif(sys.platform == "win32", reason="CXX is read in another way there")
@pytest.mark.parametrize("cxx", ["", "/dev/null", "/gone/g++"])
def test_a_compiler_that_is_no_program_is_none(cxx):
    code = "from streamderain import compiled; print(compiled.missing('cpu'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "CXX": cxx}, cwd=ROOT, capture_output=True, text=True
    )  # fmt: skip
    assert done.stdout.startswith("torch.compile needs a C++ compiler"), done.stderr


def test_the_drawn_frame_shows_rain_and_companions():
    for model, shape in ((stream(), (48, 64, 96)), (single(), (3, 128, 192))):
        frame = trial.drawn_frame(model)
        assert frame.shape == shape and frame.std() > 0.1
        assert torch.equal(frame, trial.drawn_frame(model))


@pytest.mark.parametrize("wrong, words", [
    (lambda rain: rain[..., :-1], "it makes"),
    (lambda rain: rain * torch.nan, "NaN"),
    (lambda rain: rain.index_fill(2, torch.tensor([3]), torch.inf), "NaN or infinity"),
    (torch.zeros_like, "nothing"),
    (lambda rain: torch.full_like(rain, rain.mean()), "nothing"),
    (lambda rain: rain + 0.3 / 255, "0.3 grey levels off on a drawn frame, 0.30 on average"),
    (lambda rain: rain + 2.5 / 255 * (torch.arange(rain.numel()).view_as(rain) == 7), "2.5 grey levels off"),
])  # fmt: skip
def test_a_wrong_result_is_noticed(wrong, words):
    rain = torch.rand(1, 3, 16, 16)
    assert words in trial.difference(lambda batch: wrong(rain), lambda batch: rain, rain)


def test_rounding_is_not_wrong():
    rain = torch.rand(1, 3, 16, 16)
    assert trial.difference(lambda batch: rain.half(), lambda batch: rain, rain) is None
    assert trial.difference(lambda batch: rain + 0.2 / 255, lambda batch: rain, rain) is None
    flat = torch.zeros_like(rain)
    assert trial.difference(lambda batch: flat, lambda batch: flat, rain) is None  # eager makes nothing of it either


# --- TensorRT, with an engine that is none ---
@pytest.fixture
def model():
    return stream()


@pytest.fixture
def fake(monkeypatch, model):
    return FakeTensorRT(monkeypatch, model.from_blocks)


def network(model, folder, told, digest="d"):
    return TensorRTNetwork(model, engine.entrance(model), "cpu", digest, EngineFiles(folder), told.append)


def test_an_engine_is_built_once_and_then_kept(tmp_path, model, fake):
    told = []
    first = network(model, tmp_path, told)
    assert fake.built == [WIDE]
    assert told[0] == "building the TensorRT engine for frames up to 4096x2176, about a minute"
    assert told[1].startswith("built in 0 s, 0.0 MB, kept as ")
    (path,) = first.kept()
    assert path.parent == tmp_path and str(path) in told[1] and len(told) == 2
    network(model, tmp_path, told)
    assert fake.built == [WIDE] and len(told) == 2 and len(fake.loaded) == 2


def test_other_weights_have_another_engine(tmp_path, model, fake):
    network(model, tmp_path, [])
    network(model, tmp_path, [], digest="e")
    assert fake.built == [WIDE, WIDE] and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["file", "engine"])
def test_a_broken_engine_is_deleted_told_and_built_anew(tmp_path, monkeypatch, model, fake, damage):
    if damage == "engine":
        monkeypatch.setattr(tensorrt, "build", lambda *_: b"machine 7")
        monkeypatch.setattr(tensorrt, "load", lambda *_: model.from_blocks)
    (path,) = network(model, tmp_path, []).kept()
    for name in ("build", "load"):
        monkeypatch.setattr(tensorrt, name, getattr(fake, name))
    fake.loaded.clear()
    if damage == "file":
        path.write_bytes(b"half an eng")
    told = []
    network(model, tmp_path, told)
    assert told[0].startswith(f"the engine {path} cannot be used (it ")
    assert told[0].endswith("; it is deleted and built anew") and len(told) == 3
    network(model, tmp_path, told)
    assert fake.loaded == [b"engine 1.0"] * 2 and len(told) == 3


def test_a_folder_that_cannot_be_written_costs_only_the_next_run(tmp_path, model, fake):
    (tmp_path / "file").write_bytes(b"")
    told = []
    made = network(model, tmp_path / "file", told)
    assert made.kept() == ()
    assert "could not be kept for the next run" in told[1] and "--cache-dir" in told[1]
    batch = torch.rand(1, 48, 64, 96)
    with torch.inference_mode():
        assert torch.equal(made(batch), model.from_blocks(batch))


def test_frames_go_to_the_engine_for_their_size(tmp_path, model, fake):
    told = []
    made = network(model, tmp_path, told)
    fake.factor = 1.001  # told apart by it
    sizes = {(64, 4096): 1.0, (64, 64): 1.0, (2176, 64): 1.0, (2184, 64): 1.001, (56, 64): None}
    with torch.inference_mode():
        for (height, width), factor in sizes.items():
            batch = torch.rand(1, 48, height // 2, width // 2)
            assert_allclose(made(batch).numpy(), model.from_blocks(batch).numpy() * (factor or 1.0), rtol=1e-6)
        made(batch)
    assert fake.built == [WIDE, TALL]
    assert "frames up to 2176x4096" in told[2]
    assert told[4:] == ["no TensorRT engine takes a frame of 64x56; the network runs such frames eagerly"]


def test_a_tall_engine_that_cannot_be_built_leaves_them_to_eager(tmp_path, model, fake):
    told = []
    made = network(model, tmp_path, told)
    fake.error = tensorrt.Unbuildable("no memory")
    batch = torch.rand(1, 48, 1100, 40)
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(made(batch), model.from_blocks(batch))
    assert told[3:] == ["TensorRT for frames up to 2176x4096: no memory; the network runs them eagerly"]


@pytest.mark.parametrize("size", [(70, 91), (65, 64)])
def test_a_published_network_is_padded_outside_of_the_engine(tmp_path, monkeypatch, size):
    published = single()
    FakeTensorRT(monkeypatch, published.from_padded)
    made = network(published, tmp_path, [])
    batch = torch.rand(1, 3, *size)
    with torch.inference_mode():
        assert_allclose(made(batch).numpy(), published(batch).numpy(), atol=1e-6)


# --- the engine ---
@pytest.fixture
def on_gpu(monkeypatch, lacks):
    """A "GPU" that is the CPU: what asks for cuda gets it."""
    monkeypatch.setattr(engine, "resolve_device", lambda device: "cpu")
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(backends, "choose", lambda wanted, device: choose(wanted, "cuda"))
    return lacks


def test_the_engine_runs_what_it_built_and_says_so(tmp_path, model, fake, on_gpu):
    told = []
    made = Engine(model, backend="auto", cache_dir=tmp_path, tell=told.append)
    assert made.backend == "tensorrt" and len(told) == 2
    assert [path.is_file() for path in made.kept] == [True] and made.kept[0].parent == tmp_path / "tensorrt"
    seen = trial.drawn_frame(model)
    expected = model.from_blocks(seen[None])[0].detach().numpy()
    assert_allclose(made.run(seen, 120, 190), expected[:, :120, :190], atol=1e-6)
    rain = made.rain(seen)
    assert rain.dtype == torch.float32 and rain.shape == (4, 128, 192)


@pytest.mark.parametrize("factor, words", [(0.0, "nothing"), (1.5, "grey levels off"), (float("nan"), "NaN")])
def test_an_engine_that_is_wrong_is_deleted_and_not_used(tmp_path, model, fake, on_gpu, factor, words):
    told, fake.factor = [], factor
    made = Engine(model, backend="tensorrt", cache_dir=tmp_path, tell=told.append)
    assert made.backend == "eager" and made.kept == ()
    assert told[-1].startswith("tensorrt cannot run this network: it ") and words in told[-1]
    assert told[-1].endswith("the engine was deleted; it runs eagerly")
    assert not list((tmp_path / "tensorrt").glob("*"))  # what is wrong is never kept, not even for a moment
    seen = trial.drawn_frame(model)
    assert_allclose(made.run(seen, 128, 192), model.from_blocks(seen[None])[0].detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("error", [tensorrt.Unbuildable("no converter"), torch.OutOfMemoryError("no converter")])
def test_what_cannot_be_built_runs_eagerly(tmp_path, model, fake, on_gpu, error):
    on_gpu["compile"] = "no compiler"
    told, fake.error = [], error
    made = Engine(model, cache_dir=tmp_path, tell=told.append)
    assert made.backend == "eager"
    assert told[-1] == "tensorrt cannot run this network: no converter; it runs eagerly"


def test_what_cannot_be_built_is_compiled_where_nobody_asked_for_tensorrt(tmp_path, monkeypatch, model, fake, on_gpu):
    monkeypatch.setattr(compiled, "compiled", lambda network, device: network)
    told, fake.error = [], tensorrt.Unbuildable("no converter")
    assert Engine(model, cache_dir=tmp_path, tell=told.append).backend == "compile"
    assert told[1] == "tensorrt cannot run this network: no converter; it is compiled by torch.compile"
    assert Engine(model, backend="tensorrt", cache_dir=tmp_path, tell=told.append).backend == "eager"


def test_without_anybody_to_tell_it_is_logged(tmp_path, model, fake, on_gpu, caplog):
    with caplog.at_level(logging.WARNING, "streamderain"):
        Engine(model, cache_dir=tmp_path)
    assert [record.message.split()[0] for record in caplog.records] == ["building", "built"]


def test_without_a_home_eager_runs_and_compile_says_what_to_set(tmp_path, model, monkeypatch, lacks):
    def none():
        raise RuntimeError("Could not determine home directory.")

    for name in ("STREAMDERAIN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert Engine(model, "cpu", backend="eager").backend == "eager"
    with pytest.raises(DerainError, match=r"no home folder .* set STREAMDERAIN_CACHE or give --cache-dir"):
        Engine(model, "cpu", backend="compile")


def test_eager_tells_and_keeps_nothing(tmp_path, model):
    told = []
    made = Engine(model, "cpu", cache_dir=tmp_path / "none", tell=told.append)
    assert (made.backend, made.kept, told) == ("eager", (), [])
    assert not (tmp_path / "none").exists()


def test_a_result_does_not_change_with_the_next_frame(tmp_path, monkeypatch, on_gpu):
    published = single()
    memory = torch.zeros(1, 3, 128, 192)

    def replayed(batch):
        return memory.copy_(published.from_padded(batch)) if batch.shape[-2:] == memory.shape[-2:] else None

    FakeTensorRT(monkeypatch, published.from_padded)
    monkeypatch.setattr(tensorrt, "load", lambda *_: replayed)
    made = Engine(published, backend="tensorrt", cache_dir=tmp_path, tell=lambda line: None)
    first = made.rain(torch.rand(3, 128, 192))
    kept = first.clone()
    made.rain(torch.rand(3, 128, 192))
    assert torch.equal(first, kept)


# --- torch.compile ---
def test_compile_tells_when_it_cannot(tmp_path, model, monkeypatch):
    def fails(network, device):
        def fast(batch):
            raise RuntimeError("the compiler crashed\nwith a long story")

        return fast

    told = []
    monkeypatch.setattr(compiled, "compiled", fails)
    made = Engine(model, "cpu", backend="compile", cache_dir=tmp_path, tell=told.append)
    assert made.backend == "eager"
    assert told[-1] == "compile cannot run this network: the compiler crashed; it runs eagerly"


def test_damaged_code_is_forgotten_and_the_reason_is_the_line_that_has_one(tmp_path, model, monkeypatch):
    def fails(batch):
        raise RuntimeError("backend='inductor' raised:\nImportError: file too short")

    monkeypatch.setattr(compiled, "compiled", lambda network, device: fails)
    kept, told = tmp_path / "inductor" / "ab", []
    Engine(model, "cpu", backend="compile", cache_dir=tmp_path, tell=told.append)
    assert len(told) == 2  # nothing was kept, so nothing is to blame
    kept.mkdir(parents=True)
    (kept / "code.so").write_bytes(b"half")
    Engine(model, "cpu", backend="compile", cache_dir=tmp_path, tell=told.append)
    assert told[-2].endswith("held may be damaged, so it is emptied; the next run compiles anew")
    assert told[-1] == "compile cannot run this network: ImportError: file too short; it runs eagerly"
    assert not kept.exists()


def test_torch_keeps_quiet_about_a_damaged_file(tmp_path, caplog):
    log = logging.getLogger("torch._inductor.codecache")
    before = log.level
    with compiled.kept_in(tmp_path):
        log.warning("fx graph cache unable to load compiled graph")
    assert not caplog.records and log.level == before


def test_compile_is_not_used_where_it_is_wrong(tmp_path, model, monkeypatch):
    told = []
    monkeypatch.setattr(compiled, "compiled", lambda network, device: lambda batch: network(batch) + 0.1)
    made = Engine(model, "cpu", backend="compile", cache_dir=tmp_path, tell=told.append)
    assert made.backend == "eager" and "grey levels off on a drawn frame" in told[-1]


def test_compiled_code_goes_into_its_folder_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/before")
    with compiled.kept_in(tmp_path / "a"):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "a")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/before"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    with pytest.raises(ZeroDivisionError), compiled.kept_in(tmp_path / "a"):
        raise ZeroDivisionError
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nope")):
        words = r"cannot be written to \(.*\); give another --cache-dir"
        with pytest.raises(DerainError, match=words), compiled.kept_in(folder):
            pass


def test_on_a_gpu_every_frame_is_a_new_step_of_its_graphs(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda network, **options: calls.append(options) or network)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: calls.append("step"))
    fast = compiled.compiled(lambda batch: batch + 1, "cuda")
    assert fast(1) == 2 and fast(2) == 3
    assert calls[1:] == ["step", "step"] and calls[0]["options"] == {"triton.cudagraphs": True}
    compiled.compiled(len, "cpu")
    assert calls[3]["options"] == {"freezing": True} and calls[3]["dynamic"]


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing("cpu") is not None, reason="there is no C++ compiler")
def test_the_compiled_network_is_the_eager_one_at_every_size(tmp_path):
    told, model = [], stream()
    made = Engine(model, "cpu", backend="compile", cache_dir=tmp_path, tell=told.append)
    assert made.backend == "compile" and made.kept == (tmp_path / "inductor",)
    assert any((tmp_path / "inductor").rglob("*.so")) and len(told) == 2
    eager = Engine(model, "cpu")
    for height, width in ((64, 96), (40, 200), (8, 8), (200, 40)):
        seen = torch.rand(48, height // 2, width // 2, dtype=made.input_dtype)
        found, expected = made.run(seen, height - 3, width), eager.run(seen, height - 3, width)
        assert_allclose(found, expected, atol=1e-5 if made.precision == "fp32" else 1 / 255)
        assert np.std(expected) > 0.01


# --- the door, with a torch_tensorrt that is none ---
@pytest.mark.parametrize("rtx", [False, True])
def test_an_engine_is_loaded_on_its_gpu_and_has_graphs_of_its_own_only(monkeypatch, tmp_path, rtx):
    made, current = [], []

    @contextmanager
    def device(name):
        current.append(name)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", device)

    class Module:
        def __init__(self, **options):
            made.append(options)
            assert current == ["cuda:2"]

    class Features:
        tensorrt_rtx = rtx

    package = types.SimpleNamespace(
        ENABLED_FEATURES=Features, Device=lambda gpu_id: gpu_id,
        runtime=types.SimpleNamespace(set_cudagraphs_mode=made.append),
    )
    modules = {
        "torch_tensorrt": package,
        "torch_tensorrt.dynamo": types.SimpleNamespace(CompilationSettings=lambda **options: options),
        "torch_tensorrt.dynamo.runtime": types.SimpleNamespace(TorchTensorRTModule=Module),
        "torch_tensorrt.runtime._runtime_config": types.SimpleNamespace(RuntimeSettings=lambda **options: options),
    }
    monkeypatch.setattr(tensorrt, "import_module", modules.__getitem__)
    run = tensorrt.load(b"plan", "cuda:2", tmp_path / "kernels.bin")
    assert made[0]["serialized_engine"] == b"plan" and made[0]["settings"]["device"] == 2
    assert made[0]["settings"]["require_full_compilation"]
    if rtx:
        assert run.runtime_settings == {
            "cuda_graph_strategy": "whole_graph_capture", "runtime_cache": str(tmp_path / "kernels.bin"),
        }  # fmt: skip
    else:
        assert not hasattr(run, "runtime_settings") and len(made) == 1  # no other thread's work is forbidden
    monkeypatch.setattr(Module, "__init__", lambda self, **options: sys.exit if 1 / 0 else None)
    with pytest.raises(tensorrt.Unbuildable, match="division by zero"):
        tensorrt.load(b"plan", "cuda", tmp_path)
