"""`streamderain compile`: built ahead, and what came of it said; what cannot be built is one line."""
from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner
from engine_fakes import FakeTensorRT, single, stream

from streamderain import backends, compiled, engine, tensorrt, weights
from streamderain.cli import main
from streamderain.core.checkpoint import save_generator
from streamderain.tensorrt import TALL, WIDE


def run(*arguments):
    return CliRunner().invoke(main, ["compile", *map(str, arguments)])


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_generator(path, stream(), profile="tiny", card={})
    return path


@pytest.fixture
def quick(monkeypatch):
    """torch.compile that compiles nothing, but leaves a file of a megabyte; sizes of frames that it was run on."""
    sizes = []

    def fast(network, device):
        def run_it(batch):
            sizes.append(tuple(batch.shape[-2:]))
            return network(batch)

        return run_it

    monkeypatch.setattr(compiled, "missing", lambda device: None)
    monkeypatch.setattr(compiled, "compiled", fast)
    return sizes


@pytest.fixture
def on_gpu(monkeypatch):
    """A "GPU" that is the CPU, with TensorRT."""
    choose = backends.choose
    monkeypatch.setattr(engine, "resolve_device", lambda device: "cpu")
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(backends, "choose", lambda wanted, device: choose(wanted, "cuda"))
    monkeypatch.setattr(tensorrt, "missing", lambda device: None)


def test_on_a_processor_code_is_compiled(quick, model_file, tmp_path):
    cache = tmp_path / "cache"
    (cache / "inductor" / "ab").mkdir(parents=True)
    (cache / "inductor" / "ab" / "code.so").write_bytes(b"0" * 2_500_000)
    done = run("--model", model_file, "--device", "cpu", "--cache-dir", cache, "--size", "100x60", "--size", "480p")
    assert done.exit_code == 0, done.output
    precision = "bf16" if engine.cpu_has_bf16() else "fp32"
    assert done.stdout == f"tiny: compile on cpu in {precision}; 2.5 MB in {cache / 'inductor'}\n"
    assert done.stderr.splitlines()[0].startswith("compiling the network, half a minute")
    assert quick == [(64, 96), (32, 52), (240, 320)]  # the drawn frame, then the two, padded


def test_it_is_built_in_the_precision_that_is_named(quick, model_file, tmp_path):
    done = run("--model", model_file, "--device", "cpu", "--cache-dir", tmp_path, "--precision", "fp32")
    assert done.exit_code == 0 and done.stdout.startswith("tiny: compile on cpu in fp32; "), done.output
    refused = run("--model", model_file, "--device", "cpu", "--cache-dir", tmp_path, "--precision", "fp16")
    assert refused.exit_code == 1
    assert refused.stderr == "Error: precision 'fp16' is not to be had on cpu; give auto, fp32 or bf16.\n"
    assert run("--precision", "int8").exit_code == 2


def test_a_published_network_takes_its_sizes_too(quick, tmp_path):
    path = tmp_path / "nlcl.safetensors"
    save_generator(path, single(), profile="nlcl", card={})
    done = run("--model", path, "--device", "cpu", "--cache-dir", tmp_path / "cache", "--size", "50x40")
    assert done.exit_code == 0 and done.stdout.startswith("nlcl: compile on cpu in fp32; 0.0 MB in ")
    assert quick == [(128, 192), (40, 50)]


def test_every_profile_that_is_named_is_built_once(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    for profile in ("tiny", "realtime"):
        save_generator(tmp_path / f"{profile}.safetensors", stream(), profile=profile, card={})
    names = ("--profile", "auto", "--profile", "tiny", "--profile", "realtime")
    done = run(*names, "--device", "cpu", "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["tiny", "realtime"]


def test_on_a_gpu_an_engine_is_built_and_its_file_named(on_gpu, model_file, tmp_path, monkeypatch):
    fake = FakeTensorRT(monkeypatch, stream().from_blocks)
    done = run("--model", model_file, "--cache-dir", tmp_path / "cache", "--size", "64x2200")
    assert done.exit_code == 0, done.output
    assert fake.built == [WIDE, TALL]
    files = sorted((tmp_path / "cache" / "tensorrt").iterdir())
    said = done.stdout.splitlines()
    assert len(files) == len(said) == 2
    assert {line.split(" MB in ")[1] for line in said} == set(map(str, files))
    assert all(line.startswith("tiny: tensorrt on cpu in fp32; 0.0 MB in") for line in said)


def test_what_comes_out_wrong_is_exit_code_1(on_gpu, model_file, tmp_path, monkeypatch):
    FakeTensorRT(monkeypatch, stream().from_blocks).factor = 0.0
    done = run("--model", model_file, "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "Error: tiny was not built by tensorrt, see above; it runs eager here."


def test_tensorrt_without_a_gpu_is_one_line(model_file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = run("--model", model_file, "--backend", "tensorrt")
    assert done.exit_code == 1
    assert done.stderr == "Error: TensorRT needs an NVIDIA GPU, not the CPU; use --backend compile.\n"


def test_without_a_compiler_is_told_and_exit_code_1(model_file, monkeypatch):
    monkeypatch.setattr(compiled, "missing", lambda device: "no C++ compiler; install g++")
    done = run("--model", model_file, "--device", "cpu")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "no C++ compiler; install g++; the network runs eagerly",
        "Error: tiny was not built by compile, see above; it runs eager here.",
    ]


def test_a_model_that_is_none_is_refused(tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no")
    assert "is not a readable safetensors file" in run("--model", bad, "--device", "cpu").stderr
    assert run("--model", tmp_path / "none").exit_code == 1
