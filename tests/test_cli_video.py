"""`streamderain video` from the outside: outputs, reports, refusals, several inputs, signals."""
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import fake_network
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fake_network import FakeDerainer

import streamderain
from streamderain import compare
from streamderain.cli import main
from streamderain.errors import DerainError

ROOT = Path(streamderain.__file__).parent.parent
LOSSLESS = ["--encoder", "ffv1", "--progress", "none"]


@pytest.fixture(autouse=True)
def network(monkeypatch):
    fake_network.install(modules := {})
    monkeypatch.setitem(sys.modules, "streamderain.derainer", modules["streamderain.derainer"])
    monkeypatch.setattr(FakeDerainer, "loaded", 0)


def luma(index, width, height):
    return np.random.default_rng(index).integers(40, 200, (height, width), np.uint8)


def draw(path, *, frames=6, size=(64, 48), codec="ffv1", rate=25):
    """A clip whose frames differ from each other, lossless unless the codec is not."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            planes = [luma(index, width, height), np.full((height // 2, width // 2), 100, np.uint8)]
            for plane, values in zip(frame.planes, [planes[0], planes[1], planes[1]], strict=True):
                padded = np.zeros((plane.height, plane.line_size), np.uint8)
                padded[:, : plane.width] = values
                plane.update(padded)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def lumas(path):
    """The decoded first planes, (H, W) each."""
    with av.open(str(path)) as container:
        return [
            np.frombuffer(f.planes[0], np.uint8).reshape(-1, f.planes[0].line_size)[:, : f.width]
            for f in container.decode(video=0)
        ]


def run(*arguments, **more):
    return CliRunner().invoke(main, ["video", *map(str, arguments)], **more)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def clip(tmp_path):
    return draw(tmp_path / "rain.mkv")


def test_every_frame_comes_out_without_its_rain(clip, tmp_path):
    result = run(clip, tmp_path / "out.mkv", *LOSSLESS)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "profile tiny on cpu, fake in int8\n"
    out = lumas(tmp_path / "out.mkv")
    assert len(out) == 6
    for index, plane in enumerate(out):
        np.testing.assert_array_equal(plane, luma(index, 64, 48) - 8)
    assert files(tmp_path) == ["out.mkv", "rain.mkv"]


@pytest.mark.parametrize("strength, step", [("0", 0), ("0.5", 4), ("1", 8)])
def test_strength_reaches_the_network(clip, tmp_path, strength, step):
    run(clip, tmp_path / "out.mkv", *LOSSLESS, "--strength", strength)
    np.testing.assert_array_equal(lumas(tmp_path / "out.mkv")[0], luma(0, 64, 48) - step)


def test_the_report_says_what_was_done(clip, tmp_path):
    run(clip, tmp_path / "out.mkv", *LOSSLESS, "--report", tmp_path / "r.json", "--profile", "realtime")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["complete"] is True and report["error"] is None
    assert (report["frames_in"], report["frames_out"], report["frames_corrupt"]) == (6, 6, 0)
    assert 6 / report["fps"] == pytest.approx(report["seconds"], abs=0.001)  # told in whole milliseconds
    assert set(report["ms_per_stage"]) >= {"decode", "search", "network", "encode"}
    assert report["ms_per_stage"]["search"] == pytest.approx(2.0)
    assert report["ms_per_stage"]["network"] == pytest.approx(3.0)
    assert [report[key] for key in ("backend", "profile", "device", "precision")] == ["fake", "realtime", "cpu", "int8"]
    assert (report["input"], report["output"]) == (str(clip), str(tmp_path / "out.mkv"))
    assert report["warnings"] == [] and all(report["versions"].values())


@pytest.mark.parametrize("mode", ["side", "wipe", "rain"])
def test_compare_shows_before_and_after(clip, tmp_path, mode):
    result = run(clip, tmp_path / "out.mkv", *LOSSLESS, "--compare", mode)
    assert result.exit_code == 0, result.stderr
    out = lumas(tmp_path / "out.mkv")
    before, after = luma(3, 64, 48)[-10:], luma(3, 64, 48)[-10:] - 8  # below the letters
    if mode == "side":
        np.testing.assert_array_equal(out[3][-10:], np.concatenate([before, after], axis=1))
    elif mode == "rain":
        assert (out[3][-10:] == 128 + 4 * 8).all()
    else:
        cut = int(compare.wipe_position(3 / 25) * 64) // 4 * 4
        np.testing.assert_array_equal(out[3][-10:, : cut - 2], before[:, : cut - 2])
        np.testing.assert_array_equal(out[3][-10:, cut + 2 :], after[:, cut + 2 :])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, of which this would be untrue")
def test_what_the_gpu_does_not_do_is_said_to_who_asked(clip, tmp_path):
    result = run(clip, tmp_path / "a.mkv", "--decoder", "nvdec", "--encoder", "auto", "--report", tmp_path / "r.json")
    line = "NVDEC does not decode this (there is no CUDA device): the CPU does"
    assert result.exit_code == 0 and result.stderr.count("NVDEC") == 1 and line in result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["decoder"], report["encoder"], report["warnings"]) == ("cpu", "libx264", [line])
    result = run(clip, tmp_path / "b.mkv", "--decoder", "auto")
    assert result.exit_code == 0 and "NVDEC" not in result.stderr


def test_start_and_duration_take_a_part(clip, tmp_path):
    result = run(clip, tmp_path / "out.mkv", *LOSSLESS, "--start", "0.06", "--duration", "0:00.08")
    assert result.exit_code == 0, result.stderr
    out = lumas(tmp_path / "out.mkv")
    np.testing.assert_array_equal(out, [luma(index, 64, 48) - 8 for index in (2, 3)])


def test_progress_json_is_json_on_every_line(clip, tmp_path):
    result = run(clip, tmp_path / "out.mkv", "--encoder", "ffv1", "--progress", "json")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [event["event"] for event in events] == ["note", "start", "progress", "end"]
    assert events[-1]["frame"] == 6 and result.stdout == ""


def test_plain_progress_ends_with_a_line(clip, tmp_path):
    result = run(clip, tmp_path / "out.mkv", "--encoder", "ffv1")
    assert result.stderr.splitlines()[-1].startswith(f"{clip}: frame 6 of 6")


# Refusals: one line, the right code, nothing left behind, nothing touched, no network loaded.

def no_such_file(folder):
    return [folder / "none.mkv", folder / "out.mkv"]


def text_file(folder):
    (folder / "notes.txt").write_text("no video " * 99)
    return [folder / "notes.txt", folder / "out.mkv"]


def empty_file(folder):
    (folder / "empty.mkv").touch()
    return [folder / "empty.mkv", folder / "out.mkv"]


def random_bytes(folder):
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    return [folder / "noise.mp4", folder / "out.mkv"]


def folder_without_pictures(folder):
    (folder / "empty").mkdir()
    return [folder / "empty", folder / "out.mkv"]


def pattern_without_pictures(folder):
    return [folder / "%04d.png", folder / "out.mkv"]


def existing_output(folder):
    (folder / "old.mkv").write_text("precious")
    return [folder / "rain.mkv", folder / "old.mkv"]


def same_file(folder):
    return [folder / "rain.mkv", folder / "rain.mkv", "--overwrite"]


def same_file_by_link(folder):
    (folder / "link.mkv").symlink_to(folder / "rain.mkv")
    return [folder / "rain.mkv", folder / "link.mkv", "--overwrite"]


def no_folder_for_output(folder):
    return [folder / "rain.mkv", folder / "not" / "out.mkv"]


def unknown_encoder(folder):
    return [folder / "rain.mkv", folder / "out.mkv", "--encoder", "libx999"]


def unknown_container(folder):
    return [folder / "rain.mkv", folder / "out.rainbow"]


def unknown_format(folder):
    return [folder / "rain.mkv", folder / "out.mkv", "--format", "rainbow"]


def too_many_pixels(folder):
    return [folder / "rain.mkv", folder / "out.mkv", "--max-pixels", "100"]


def model_missing(folder):
    return [folder / "rain.mkv", folder / "out.mkv", "--model", folder / "none.safetensors"]


def start_after_the_end(folder):
    return [folder / "rain.mkv", folder / "out.mkv", "--start", "99"]


def report_onto_the_input(folder):
    return [folder / "rain.mkv", folder / "out.mkv", "--report", folder / "rain.mkv"]


def report_onto_the_model(folder):
    (folder / "m.safetensors").write_text("precious")
    return [folder / "rain.mkv", folder / "out.mkv", "--model", folder / "m.safetensors",
            "--report", folder / "m.safetensors"]


def two_of_one_name(folder):
    (folder / "sub").mkdir()
    draw(folder / "sub" / "rain.mkv", frames=1)
    return [folder / "rain.mkv", folder / "sub" / "rain.mkv", "--out-dir", folder / "outs"]


REFUSALS = [
    no_such_file, text_file, empty_file, random_bytes, folder_without_pictures, pattern_without_pictures,
    existing_output, same_file, same_file_by_link, no_folder_for_output, unknown_encoder,
    unknown_container, unknown_format, too_many_pixels, model_missing, start_after_the_end, report_onto_the_input,
    report_onto_the_model,    two_of_one_name,
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.__name__)
def test_a_refusal_is_one_line_and_leaves_everything_as_it_was(clip, tmp_path, case):
    arguments = case(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path) if (tmp_path / name).is_file()}
    names = files(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == "" and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert files(tmp_path) == names
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert FakeDerainer.loaded == 0


@pytest.mark.parametrize("arguments, word", [
    (["a.mkv"], "give IN and OUT"),
    (["a.mkv", "b.mkv", "c.mkv"], "give IN and OUT"),
    ([], "Missing argument"),
    (["a", "b", "--rate", "fast"], "is no rate"),
    (["a", "b", "--start", "-1"], "is no time"),
    (["a", "b", "--strength", "nan"], "is no number"),
    (["a", "b", "--compare", "magic"], "magic"),
    (["a", "b", "--profile", "huge"], "huge"),
    (["a", "b", "--max-pixels", "0"], "max-pixels"),
    (["-", "--out-dir", "d"], "stdin has no name"),
])
def test_usage_errors_exit_with_2(arguments, word, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2 and word in result.stderr and files(tmp_path) == []


def test_a_network_that_cannot_be_loaded_leaves_nothing(clip, tmp_path):
    result = run(clip, tmp_path / "out.mkv", "--profile", "quality", "--report", tmp_path / "r.json")
    assert result.exit_code == 1 and result.stderr == "Error: profile quality has no weights yet; use realtime.\n"
    assert files(tmp_path) == ["r.json", "rain.mkv"]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["complete"] is False and report["error"] == "profile quality has no weights yet; use realtime."


def test_a_run_that_fails_reports_and_leaves_no_output(clip, tmp_path):
    (tmp_path / "m").write_text("-1")
    result = run(clip, tmp_path / "out.mkv", *LOSSLESS, "--model", tmp_path / "m", "--report", tmp_path / "r.json")
    assert result.exit_code == 4
    assert result.stderr.splitlines()[-1] == "Error: the network melted; cool it."
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["complete"] is False and report["error"] == "the network melted; cool it."
    assert report["frames_out"] == 0 and report["backend"] == "fake"
    assert {"decode", "derain", "encode"} <= report["ms_per_stage"].keys() and report["ms_per_stage"]["decode"] > 0
    assert not (tmp_path / "out.mkv").exists()


def test_the_report_is_written_when_the_input_is_missing(tmp_path):
    result = run(tmp_path / "none.mkv", tmp_path / "out.mkv", "--report", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert result.exit_code == 1 and result.stderr == f"Error: {report['error']}.\n"
    assert report["complete"] is False and "none.mkv" in report["error"] and report["frames_in"] == 0


def test_overwrite_replaces(clip, tmp_path):
    (tmp_path / "old.mkv").write_text("not so precious")
    assert run(clip, tmp_path / "old.mkv", *LOSSLESS, "--overwrite").exit_code == 0
    assert len(lumas(tmp_path / "old.mkv")) == 6


def test_several_inputs_share_one_network_and_one_that_fails_does_not_stop_the_rest(tmp_path):
    first, last = draw(tmp_path / "a.mkv", frames=2), draw(tmp_path / "c.mkv", frames=3)
    (tmp_path / "b.mkv").write_text("no video")
    result = run(first, tmp_path / "b.mkv", last, "--out-dir", tmp_path / "out", *LOSSLESS,
                 "--report", tmp_path / "r.json")
    assert result.exit_code == 1
    assert [len(lumas(tmp_path / "out" / name)) for name in ("a.mkv", "c.mkv")] == [2, 3]
    assert files(tmp_path / "out") == ["a.mkv", "c.mkv"]
    lines = result.stderr.splitlines()
    assert len(lines) == 2 and lines[1].startswith("Error: ") and "b.mkv" in lines[1]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["complete"] is False
    assert [one["complete"] for one in report["runs"]] == [True, False, True]
    assert report["runs"][2]["ms_per_stage"]["search"] == pytest.approx(2.0)
    assert FakeDerainer.loaded == 1


def test_a_folder_made_for_nothing_goes_again(tmp_path):
    for name in ("a.mkv", "b.mkv"):
        (tmp_path / name).write_text("no video")
    result = run(tmp_path / "a.mkv", tmp_path / "b.mkv", "--out-dir", tmp_path / "out")
    assert result.exit_code == 1 and result.stderr.count("Error: ") == result.stderr.count("\n") == 2
    assert files(tmp_path) == ["a.mkv", "b.mkv"]


def test_several_good_inputs_exit_with_0(tmp_path):
    clips = [draw(tmp_path / name, frames=1) for name in ("a.mkv", "b.mkv")]
    result = run(*clips, "--out-dir", tmp_path / "out", *LOSSLESS)
    assert result.exit_code == 0 and files(tmp_path / "out") == ["a.mkv", "b.mkv"]


@pytest.mark.parametrize("name, value", [
    ("crf", -1), ("start", float("nan")), ("duration", -1), ("duration", float("nan")), ("max_pixels", 0),
    ("rate", 0), ("rate", 29.97), ("compare", "nope"), ("decoder", "gpu"),
])  # fmt: skip
def test_derain_video_refuses_an_option_out_of_its_range(clip, tmp_path, name, value):
    with pytest.raises(DerainError, match=f"^{name} is {value!r}; give "):
        streamderain.derain_video(clip, tmp_path / "out.mkv", **{name: value})


def test_a_whole_rate_of_pictures_may_be_an_int(clip, tmp_path):
    (tmp_path / "frames").mkdir()
    streamderain.derain_video(clip, tmp_path / "frames", strength=0)
    report = streamderain.derain_video(tmp_path / "frames", tmp_path / "out.mkv", rate=10, strength=0)
    assert report["complete"]


def test_derain_video_is_the_same_path(clip, tmp_path):
    report = streamderain.derain_video(clip, tmp_path / "out.mkv", encoder="ffv1", strength=0.5)
    assert report["complete"] is True and report["frames_out"] == 6
    np.testing.assert_array_equal(lumas(tmp_path / "out.mkv")[0], luma(0, 64, 48) - 4)
    with pytest.raises(DerainError, match="exists"):
        streamderain.derain_video(clip, tmp_path / "out.mkv")
    with pytest.raises(TypeError, match="colour"):
        streamderain.derain_video(clip, tmp_path / "new.mkv", colour="blue")
    assert files(tmp_path) == ["out.mkv", "rain.mkv"]


# Through a process of its own: streams and signals.

PROGRAM = "import sys; sys.path.insert(0, 'tests'); import fake_network; fake_network.install(); " \
          "from streamderain.cli import main; main(prog_name='streamderain')"


def start(*arguments, stdin=subprocess.DEVNULL, **more):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, "video", *map(str, arguments)], cwd=ROOT,
                            stderr=subprocess.PIPE, stdin=stdin, **more)


@pytest.mark.parametrize("container, suffix", [([], "mkv"), (["--format", "y4m"], "y4m")])
def test_stdout_carries_nothing_but_the_video(clip, tmp_path, container, suffix):
    with (tmp_path / f"out.{suffix}").open("wb") as out:
        process = start(clip, "-", "--encoder", "ffv1" if suffix == "mkv" else "libx264", *container, stdout=out)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    np.testing.assert_array_equal(lumas(tmp_path / f"out.{suffix}")[5], luma(5, 64, 48) - 8)
    assert b"frame 6" in stderr


def test_stdin_is_an_input(clip, tmp_path):
    with clip.open("rb") as piped:
        process = start("-", tmp_path / "out.mkv", *LOSSLESS, stdin=piped)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    np.testing.assert_array_equal(lumas(tmp_path / "out.mkv")[5], luma(5, 64, 48) - 8)


def test_a_reader_that_closes_our_stdout_is_no_trouble_to_tell(tmp_path):
    clip = draw(tmp_path / "long.mkv", frames=60, size=(320, 240))
    process = start(clip, "-", "--encoder", "ffv1", "--progress", "none", stdout=subprocess.PIPE)
    process.stdout.read(100)
    process.stdout.close()
    stderr = process.stderr.read().decode()
    assert process.wait(timeout=120) == 4
    assert stderr == "profile tiny on cpu, fake in int8\n"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_network_loads_leaves_nothing(clip, tmp_path, monkeypatch, number, code):
    monkeypatch.setattr(FakeDerainer, "__init__", lambda self, **_: signal.raise_signal(number))
    result = run(clip, tmp_path / "out.mkv", "--report", tmp_path / "r.json")
    assert (result.exit_code, result.stderr) == (code, f"{clip}: interrupted before the work began\n")
    assert files(tmp_path) == ["r.json", "rain.mkv"]
    assert json.loads((tmp_path / "r.json").read_text())["error"] == "interrupted"


def test_a_signal_ends_several_inputs(tmp_path, monkeypatch):
    clips = [draw(tmp_path / name, frames=1) for name in ("a.mkv", "b.mkv")]
    monkeypatch.setattr(FakeDerainer, "reset", lambda self: signal.raise_signal(signal.SIGINT))
    result = run(*clips, "--out-dir", tmp_path / "out", *LOSSLESS)
    assert result.exit_code == 130 and files(tmp_path / "out") == []


def test_a_damaged_input_gives_what_is_there_and_exit_code_3(tmp_path):
    whole = draw(tmp_path / "whole.mkv", frames=60)
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = run(tmp_path / "cut.mkv", tmp_path / "out.mkv", *LOSSLESS, "--report", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert result.exit_code == 3 and result.stderr.splitlines()[-1] == f"Error: {report['error']}."
    assert report["complete"] is False and len(lumas(tmp_path / "out.mkv")) == report["frames_out"] > 20


def slow_run(tmp_path, seconds="0.05"):
    clip = draw(tmp_path / "long.mkv", frames=400)
    (tmp_path / "slow").write_text(seconds)
    process = start(clip, tmp_path / "out.mkv", "--encoder", "ffv1", "--progress", "json",
                    "--model", tmp_path / "slow", "--report", tmp_path / "r.json")
    for line in process.stderr:
        if json.loads(line).get("frame", 0) >= 10:
            return process
    raise AssertionError("no progress")


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_in_order_and_keeps_what_is_finished(tmp_path, number, code):
    process = slow_run(tmp_path)
    process.send_signal(number)
    stderr = process.stderr.read().decode()
    assert process.wait(timeout=60) == code
    assert files(tmp_path) == ["long.mkv", "out.partial.mkv", "r.json", "slow"]
    notes = [json.loads(line).get("text", "") for line in stderr.splitlines()]
    assert sum("out.partial.mkv" in note for note in notes) == 1
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["complete"] is False and report["error"] == "interrupted"
    kept = lumas(tmp_path / "out.partial.mkv")
    assert 5 <= len(kept) <= report["frames_out"] < 400
    np.testing.assert_array_equal(kept[4], luma(4, 64, 48) - 8)


def test_the_second_signal_ends_at_once(tmp_path):
    process = slow_run(tmp_path, seconds="0.2")
    (tmp_path / "slow").write_text("60")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert process.wait(timeout=60) in (130, 143)
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "out.mkv").exists()


def test_the_rate_of_pictures_is_exact(tmp_path):
    for index in range(3):
        with av.open(str(tmp_path / f"{index:03}.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 16, 8, "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((8, 16, 3), 90, np.uint8), "rgb24")))
            container.mux(stream.encode())
    result = run(tmp_path / "%03d.png", tmp_path / "out.mp4", "--rate", "30000/1001", "--progress", "none")
    assert result.exit_code == 0, result.stderr
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert times == [index * Fraction(1001, 30000) for index in range(3)]


def test_help_names_every_option():
    shown = run("--help").stdout
    names = (  # as the specification of the command lists them
        "out-dir encoder crf preset format rate profile device model start duration compare strength overwrite report "
        "progress max-pixels"
    )
    for option in names.split(" "):
        assert f"--{option} " in shown


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused(clip, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    result = run(clip, tmp_path / "closed" / "out.mkv")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and FakeDerainer.loaded == 0
