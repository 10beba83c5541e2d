"""The doctor: what facts mean, what is asked of this machine, and what the command prints and exits with."""
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from streamderain import diagnosis, probes
from streamderain.cli import main
from streamderain.core.checkpoint import save_generator
from streamderain.core.stream import StreamGenerator
from streamderain.diagnosis import Camera, Finding, Gpu, WeightFile
from streamderain.video import probe_decoder

OK_WEIGHTS = WeightFile("tiny", 190_000, "0123456789abcdef")
NO_WEIGHTS = WeightFile("quality", None)


def told(findings):
    return [(finding.name, finding.status, finding.essential) for finding in findings]


def test_every_line_that_is_not_ok_says_what_to_do():
    with pytest.raises(ValueError, match="only trouble has"):
        Finding("a", "b", "missing", "gone")
    with pytest.raises(ValueError, match="only trouble has"):
        Finding("a", "b", "ok", "there", "do this")


def test_a_library_that_does_not_load_is_essential():
    assert told(diagnosis.versions({"torch": "2.13.0", "av": None})) == [
        ("torch", "ok", False), ("av", "broken", True)]


@pytest.mark.parametrize("devices, driver, torch_cuda, expected, word", [
    ([Gpu("RTX", 24 * 2**30)], "580.1", "13.0", ("cuda:0", "ok", False), "RTX, 24 GiB, driver 580.1"),
    ([], None, None, ("cuda", "missing", False), "no NVIDIA driver"),
    ([], "580.1", None, ("cuda", "missing", False), "torch is a build for the CPU"),
    ([], "470.1", "13.0", ("cuda", "broken", False), "torch for CUDA 13.0 finds no device"),
])
def test_devices(devices, driver, torch_cuda, expected, word):
    findings = diagnosis.gpus(devices, driver=driver, torch_cuda=torch_cuda)
    assert told(findings) == [expected]
    assert word in findings[0].detail


@pytest.mark.parametrize("compiler, cuda, tensorrt, expected", [
    ("g++", True, "2.13.0", ["ok", "ok", "ok"]),
    (None, True, None, ["ok", "missing", "missing"]),
    ("g++", False, None, ["ok", "ok", "missing"]),
])
def test_backends(compiler, cuda, tensorrt, expected):
    findings = diagnosis.backends(compiler=compiler, cuda=cuda, tensorrt=tensorrt)
    assert [finding.status for finding in findings] == expected
    assert diagnosis.works(findings)


def test_only_the_default_encoder_is_essential():
    findings = diagnosis.encoders({"libx264": "no such thing", "ffv1": None, "h264_nvenc": "no device"})
    assert told(findings) == [("libx264", "broken", True), ("ffv1", "ok", False), ("h264_nvenc", "missing", False)]
    assert "NVENC needs" in findings[2].advice
    assert not diagnosis.works(findings) and diagnosis.works(findings[1:])


def test_decoders():
    assert told(diagnosis.decoders({"h264": None, "av1": "this FFmpeg does not have it"})) == [
        ("h264", "ok", False), ("av1", "missing", False)]


def test_decoders_on_the_gpu_are_no_must():
    findings = diagnosis.hardware_decoders({"h264": None, "hevc": "there is no CUDA device"})
    assert told(findings) == [("h264 nvdec", "ok", False), ("hevc nvdec", "missing", False)]
    assert "NVDEC needs" in findings[1].advice and diagnosis.works(findings)


def test_cameras():
    findings = diagnosis.cameras([Camera("/dev/video0", "A webcam", True), Camera("/dev/video2", "Locked", False)])
    assert told(findings) == [("/dev/video0", "ok", False), ("/dev/video2", "broken", False)]
    assert "group video" in findings[1].advice
    assert told(diagnosis.cameras([])) == [("local", "missing", False)]


@pytest.mark.parametrize("files, expected, healthy", [
    ([OK_WEIGHTS, NO_WEIGHTS], [("tiny", "ok", False), ("quality", "missing", False)], True),
    ([NO_WEIGHTS], [("quality", "broken", True)], False),
    ([OK_WEIGHTS, replace(OK_WEIGHTS, profile="realtime", problem="holds NaN")],
     [("tiny", "ok", False), ("realtime", "broken", True)], False),
])
def test_weights(files, expected, healthy):
    findings = diagnosis.weights(iter(files))
    assert told(findings) == expected
    assert diagnosis.works(findings) == healthy


def test_processor_and_kernels():
    def cpu(int8, bf16):
        return diagnosis.processor("CPU", 2, vectors="AVX2", int8=int8, bf16=bf16)

    assert [f.status for f in cpu(False, False)] == ["ok", "missing", "missing"]
    assert [f.status for f in cpu(True, False)] == ["ok", "ok", "missing"]
    assert [f.status for f in cpu(True, True)] == ["ok", "ok", "ok"]
    assert "runs in bf16" in cpu(False, True)[1].detail and "runs in fp32" in cpu(False, False)[1].detail
    assert [f.status for f in diagnosis.kernels(cache="/c", writable=True, layer="omp")] == ["ok", "ok"]
    assert [f.status for f in diagnosis.kernels(cache="/c", writable=False, layer="omp")] == ["missing", "ok"]
    assert diagnosis.works(diagnosis.uncompiled_kernels())


def test_v4l2_cameras_are_the_first_nodes_of_their_devices(tmp_path):
    for number, name, index in ((0, "Front\n", "0\n"), (1, "Front\n", "1\n"), (10, "Back\n", "0\n"), (2, None, None)):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / f"video{number}").touch()
        if name:
            (tmp_path / "sys" / f"video{number}").mkdir(parents=True)
            (tmp_path / "sys" / f"video{number}" / "name").write_text(name)
            (tmp_path / "sys" / f"video{number}" / "index").write_text(index)
    found = probes.v4l2_cameras(tmp_path / "dev", tmp_path / "sys")
    assert [(camera.source.rsplit("/", 1)[1], camera.name) for camera in found] == [
        ("video0", "Front"), ("video2", "unnamed"), ("video10", "Back")]


def test_a_weight_file_is_loaded_as_a_run_would(tmp_path):
    path = tmp_path / "tiny.safetensors"
    assert probes.weight_file("tiny", path) == WeightFile("tiny", None)
    save_generator(path, StreamGenerator.from_profile("tiny"), profile="tiny", card={})
    whole = probes.weight_file("tiny", path)
    assert (whole.problem, whole.size_bytes, len(whole.digest)) == (None, path.stat().st_size, 64)
    assert "holds the profile tiny" in probes.weight_file("realtime", path).problem
    path.write_bytes(path.read_bytes()[:-100])
    assert "is not a readable safetensors file" in probes.weight_file("tiny", path).problem


@pytest.mark.parametrize("name", ["h264", "hevc", "vp9", "libdav1d", "ffv1"])
def test_decoders_of_the_wheel_pass_their_probe(name):
    assert probe_decoder(name) is None


def test_a_decoder_that_is_not_there_says_so():
    assert probe_decoder("no_such_decoder") == "this FFmpeg does not have it"


def test_tensorrt_is_not_looked_for_without_cuda(monkeypatch):
    def touched(name):
        raise AssertionError(f"{name} was looked for")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(probes, "find_spec", touched)
    assert probes._backends()[-1].detail == "needs a CUDA device"
    assert "torch_tensorrt" not in sys.modules


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch.compile looks for another compiler")
@pytest.mark.parametrize("cxx, status", [("", "missing"), ("clang++", "ok"), ("/gone/g++", "missing")])
def test_the_compiler_is_the_one_that_torch_would_take(monkeypatch, tmp_path, cxx, status):
    (tmp_path / "clang++").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", cxx)
    assert probes._backends()[1].status == status


def test_libraries_in_c_are_kept_quiet(capfd):
    with probes._quiet():
        os.write(2, b"x265 [info]: far too much\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def run_with(monkeypatch, *findings, arguments=()):
    monkeypatch.setattr("streamderain.cli.doctor.examine", lambda: iter(findings))
    return CliRunner().invoke(main, ["doctor", *arguments])


def test_what_is_missing_is_no_error_and_what_is_broken_is(monkeypatch):
    fine = Finding("encoders", "libx264", "ok", "one frame encoded")
    missing = Finding("cameras", "local", "missing", "none found", "plug one in")
    broken = Finding("versions", "torch", "broken", "does not load\nat all", "install it again", essential=True)
    result = run_with(monkeypatch, fine, missing)
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["encoders", "libx264", "ok", "one", "frame", "encoded"],
        ["cameras", "local", "missing", "none", "found;", "plug", "one", "in"]]
    result = run_with(monkeypatch, fine, broken)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2


def test_json_is_one_object(monkeypatch):
    broken = Finding("versions", "torch", "broken", "does not load", "install it again", essential=True)
    result = run_with(monkeypatch, broken, arguments=["--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"works": False, "findings": [{
        "area": "versions", "name": "torch", "status": "broken", "detail": "does not load",
        "advice": "install it again", "essential": True}]}


@pytest.mark.parametrize("error", [ImportError("libc10.so: no such file"), OSError("bad\nfile"), RuntimeError()])
def test_a_part_that_cannot_be_asked_is_a_line(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(probes, "_gpus", fail)
    findings = list(probes.examine())
    (line,) = [finding for finding in findings if finding.area == "devices"]
    assert (line.status, line.essential) == ("broken", True) and line.detail and "\n" not in line.detail
    assert findings[-1].area == "kernels"


def test_a_real_run_tells_every_area():
    run = subprocess.run([sys.executable, "-m", "streamderain", "doctor", "--json"], capture_output=True, text=True)
    answer = json.loads(run.stdout)
    assert [finding for finding in answer["findings"] if finding["essential"] and finding["status"] == "broken"] == []
    assert answer["works"] and run.returncode == 0
    areas = [finding["area"] for finding in answer["findings"]]
    assert list(dict.fromkeys(areas)) == [
        "versions", "cpu", "devices", "backends", "encoders", "decoders", "cameras", "weights", "kernels"]
    by_name = {finding["name"]: finding for finding in answer["findings"]}
    assert by_name["libx264"]["status"] == by_name["h264"]["status"] == by_name["torch"]["status"] == "ok"
    assert all(finding["advice"] for finding in answer["findings"] if finding["status"] != "ok")
