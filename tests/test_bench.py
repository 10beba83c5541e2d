"""`streamderain bench`: what it reports and that it measures what it says; never how fast the machine is."""
import json
import signal
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_run import RUN, a_run, keys_of
from click.testing import CliRunner

from streamderain import scene, weights
from streamderain.bench import cases, file, floor, network, search, timing
from streamderain.cli import main
from streamderain.core import matching
from streamderain.core.checkpoint import save_generator
from streamderain.core.colour import to_rgb
from streamderain.core.stream import StreamGenerator
from streamderain.errors import DerainError
from streamderain.video import open_video


@pytest.fixture
def short(monkeypatch):
    """One round of each, and ceilings of almost nothing."""
    for module, name, value in (
        (network, "ROUNDS", 1), (file, "ROUNDS", 1), (timing, "TURN_SECONDS", 0.0), (floor, "_TRIES", 1),
        (floor, "_SECONDS", 0.0), (floor, "_CPU_SIDE", 64), (floor, "_CPU_COPY_BYTES", 4096),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "own.safetensors"
    save_generator(path, StreamGenerator.from_profile("tiny"), profile="tiny", card={})
    return path


def run(*arguments):
    result = CliRunner().invoke(main, ["bench", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def drawn(width=64, height=48, count=6, seed=0):
    return list(scene.draw(width, height, count, seed=seed))


def test_scene_is_the_same_every_time_and_another_with_another_seed():
    one, again, other = drawn(), drawn(), drawn(seed=1)
    for (rainy, clean), (rainy_again, clean_again) in zip(one, again, strict=True):
        np.testing.assert_array_equal(rainy, rainy_again)
        np.testing.assert_array_equal(clean, clean_again)
    assert not np.array_equal(one[0][1], other[0][1])


def test_scene_moves_under_rain_that_only_brightens():
    frames = drawn(count=10)
    assert all((rainy >= clean).all() and (rainy > clean + 20).any() for rainy, clean in frames)
    assert all(np.abs(a.astype(int) - b).mean() > 2 for (_, a), (_, b) in pairwise(frames))


@pytest.mark.parametrize("width, height", [(1, 1), (17, 9), (40, 200)])
def test_scene_of_any_size(width, height):
    assert [rainy.shape for rainy, _ in drawn(width, height, 2)] == [(3, height, width)] * 2


def test_clip_holds_the_frames(tmp_path):
    frames = [clean for _, clean in drawn(count=4)]
    scene.write_clip(tmp_path / "clip.mp4", frames)
    source = open_video(tmp_path / "clip.mp4")
    decoded = list(source)
    source.close()
    assert [frame.format.subsampling for frame in decoded] == [(1, 1)] * 4
    for frame, drawn_frame in zip(decoded, frames, strict=True):
        error = to_rgb(frame.planes, frame.format).astype(int) - drawn_frame
        assert abs(error.mean()) < 1.5 and abs(error).mean() < 8  # 4:2:0 and the encoder; another matrix is further off
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def field(*offsets):
    """A field of one cell with these (dy, dx)."""
    side = 2 * 3 + 1
    keys = [(dy + 3) * side + dx + 3 for dy, dx in offsets]
    return matching.MatchField(np.array(keys, np.uint32).reshape(-1, 1, 1), 3)


def test_recall_counts_offsets_at_any_rank():
    exact = field((0, 0), (1, 2), (-3, 3), (2, -1))
    assert search.recall(exact, exact) == 1
    assert search.recall(field((2, -1), (0, 0), (3, 3), (-1, -1)), exact) == 0.5
    assert search.recall(field((1, 1), (2, 2), (3, 3), (-1, -1)), exact) == 0


def test_search_that_is_given_the_whole_window_reaches_the_exact_answer(monkeypatch):
    exact = matching.search
    monkeypatch.setattr(search.matching, "search", lambda q, r, settings, **_: exact(q, r, settings))
    figures = search.measure_search([rainy for rainy, _ in drawn()])
    assert figures.recall_at_8 == 1 and figures.distance_ratio == 1


def test_search_figures_of_the_real_search():
    figures = search.measure_search([rainy for rainy, _ in drawn()]).as_dict()
    assert 0 < figures["recall_at_8"] <= 1 <= figures["distance_ratio"]
    assert figures["speedup"] == pytest.approx(figures["exact_ms"] / figures["ms"])


def test_search_needs_three_frames():
    with pytest.raises(ValueError, match="at least 3"):
        search.measure_search([rainy for rainy, _ in drawn(count=2)])


def test_one_case_prints_one_object_with_the_promised_keys(model, short):
    found = json.loads(run("--model", model, "--size", "64x48", "--frames", 5, "--json"))
    assert keys_of(RUN) - keys_of(found) <= {"ffmpeg", "without_network_over_ffmpeg", "whole_over_ffmpeg"}
    assert found["size"] == [64, 48] and found["source"] == "drawn"
    assert found["network"]["profile"] == "tiny" and found["network"]["weights"] == "trained"
    assert found["network"]["parameters"] == sum(p.numel() for p in StreamGenerator.from_profile("tiny").parameters())
    assert found["path"]["frames"] == found["end_to_end"]["frames"] == found["copies"]["frames"] == 5
    assert found["path"]["fps"] > 0 and found["end_to_end"]["fps"] > 0
    assert found["published_nlcl"]["slower"] == pytest.approx(
        found["published_nlcl"]["ms"] / found["network"]["ms"], rel=0.01
    )
    assert found["machine"]["versions"]["torch"] == torch.__version__


class FakeNetworks:
    """Networks without one; knows no tensorrt, and for it compile is eager."""

    def __init__(self, frames, device, tell):
        self.added = []

    def add(self, model, backend, precision):
        if backend == "tensorrt":
            raise DerainError("no TensorRT is installed")
        real = "eager" if backend in ("auto", "compile") else backend
        if (model, real) in self.added:
            return False
        self.added.append((model, real))
        return True

    def measure(self):
        return [
            {part: a_run(network={"profile": model.stem, "backend": backend})[part]
             for part in ("network", "published_nlcl", "floor")}
            for model, backend in self.added
        ]  # fmt: skip


@pytest.fixture
def parts(monkeypatch):
    """Everything that is measured, as constants; notes the devices and backends that frames were derained with."""
    calls = []

    class Figures:
        def as_dict(self):
            return dict(RUN["search"])

    def derainer(**options):
        calls.append((options["model"].stem, options["device"], options["backend"]))

    monkeypatch.setattr(cases, "Networks", FakeNetworks)
    monkeypatch.setattr(cases, "measure_search", lambda frames: Figures())
    monkeypatch.setattr(cases, "Derainer", derainer)
    monkeypatch.setattr(cases, "Rainless", lambda **_: None)
    monkeypatch.setattr(cases, "measure_path", lambda derainer, frames, *, count: a_run(path={"frames": count})["path"])
    monkeypatch.setattr(cases, "measure_file", lambda clip, *_: {
        "end_to_end": a_run(end_to_end={"frames": clip.frames})["end_to_end"], "copies": a_run()["copies"]
    })  # fmt: skip
    return calls


def test_several_cases_are_runs_of_one_kind(parts):
    runs = json.loads(run("--profile", "tiny", "--profile", "realtime", "--size", "48x32", "--size", "64x48",
                          "--frames", 3, "--json"))["runs"]
    assert [(each["size"], each["network"]["profile"]) for each in runs] == [
        ([48, 32], "tiny"), ([48, 32], "realtime"), ([64, 48], "tiny"), ([64, 48], "realtime")
    ]  # fmt: skip
    assert len({frozenset(keys_of(each)) for each in runs}) == 1


def test_everything_is_all_profiles_sizes_and_backends_that_work(parts, monkeypatch):
    sizes = []
    drawn_scene = cases.drawn_scene
    monkeypatch.setattr(cases, "drawn_scene", lambda size, count, folder: (
        sizes.append(size) or drawn_scene((48, 32), count, folder)
    ))  # fmt: skip
    result = CliRunner().invoke(main, ["bench", "--everything", "--frames", "3", "--device", "cpu", "--json"])
    runs = json.loads(result.stdout)["runs"]
    assert sizes == [(640, 480), (1920, 1080), (3840, 2160)]
    assert [each["network"]["profile"] for each in runs] == ["tiny", "realtime", "quality"] * 3
    assert parts[:3] == [(name, "cpu", "eager") for name in ("tiny", "realtime", "quality")]
    assert "tensorrt is left out: no TensorRT is installed" in result.stderr


def test_nothing_that_works_is_told(parts, monkeypatch):
    def refuse(self, model, backend, precision):
        raise DerainError(f"no {precision} here")

    monkeypatch.setattr(FakeNetworks, "add", refuse)
    result = CliRunner().invoke(main, ["bench", "--everything", "--size", "48x32", "--frames", "3",
                                       "--precision", "fp16"])  # fmt: skip
    assert result.exit_code == 1 and "eager is left out: no fp16 here" in result.output
    assert "Error: no backend works here" in result.output


def test_everything_leaves_what_is_given(parts):
    found = json.loads(run("--everything", "--profile", "tiny", "--size", "48x32", "--frames", 3, "--json"))
    assert (found["size"], found["network"]["profile"]) == ([48, 32], "tiny")


def test_backends_that_are_asked_for_are_used_or_refused(parts, model):
    run("--model", model, "--size", "48x32", "--frames", 3, "--backend", "compile", "--device", "cpu")
    assert parts == [("own", "cpu", "compile")]
    result = CliRunner().invoke(main, ["bench", "--model", str(model), "--size", "48x32", "--frames", "3",
                                       "--everything", "--backend", "tensorrt"])  # fmt: skip
    assert result.exit_code == 1 and "Error: no TensorRT is installed." in result.output


@pytest.mark.parametrize("name, size", [("480p", [640, 480]), ("720P", [1280, 720]), ("1080p", [1920, 1080]),
                                        ("4k", [3840, 2160]), ("100x50", [100, 50])])  # fmt: skip
def test_sizes_have_names(parts, monkeypatch, name, size):
    asked = []
    drawn_scene = cases.drawn_scene
    monkeypatch.setattr(cases, "drawn_scene", lambda size, count, folder: (
        asked.append(list(size)) or drawn_scene((48, 32), count, folder)
    ))  # fmt: skip
    run("--size", name, "--frames", 3)
    assert asked == [size]


@pytest.mark.parametrize("there, kind", [(True, "trained"), (False, "fresh")])
def test_fresh_weights_are_marked(tmp_path, monkeypatch, model, parts, there, kind):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    if there:
        model.rename(tmp_path / "tiny.safetensors")
    found = json.loads(run("--profile", "tiny", "--size", "48x32", "--frames", 3, "--json"))
    assert found["network"]["weights"] == kind


@pytest.mark.parametrize(
    "there, advice",
    [([], "use --model FILE"), (["tiny"], "use --profile tiny, or"), (["tiny", "realtime"], "--profile realtime, or")],
)
def test_missing_weights_name_a_profile_that_is_there(tmp_path, monkeypatch, there, advice):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    for name in there:
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(DerainError, match=f"quality do not exist yet; .*{advice}"):
        weights.find("quality")
    for name in there:
        assert weights.find(name) == tmp_path / f"{name}.safetensors"


def test_tables_name_what_was_measured(model, parts):
    text = run("--model", model, "--size", "64x48", "--frames", 3)
    for word in ("64x48", "own", "500", "100x (50.0x in fp32)", "fps", "0.900", "15.0x", "decode", "encode", "torch",
                 "not readable here", "1.50x"):  # fmt: skip
        assert word in text


def test_out_holds_the_figures_a_plot_and_a_page(tmp_path, model, parts):
    out = tmp_path / "new" / "out"
    printed = json.loads(run("--model", model, "--size", "64x48", "--frames", 3, "--out", out, "--json"))
    written = json.loads((out / "bench.json").read_text())
    assert written["runs"] == [printed]
    assert written["command"] == f"streamderain bench --size 64x48 --frames 3 --model {model}"
    assert (out / "bench.svg").read_text().startswith("<svg ")
    assert (out / "bench.md").read_text().startswith("# Speed\n")


def test_out_keeps_what_was_measured_when_the_rest_fails(tmp_path, model, parts, monkeypatch):
    measure = cases.measure

    def fails_at_the_second(scene, *arguments, **options):
        if scene.size == (48, 32):
            raise KeyboardInterrupt
        return measure(scene, *arguments, **options)

    monkeypatch.setattr(cases, "measure", fails_at_the_second)
    result = CliRunner().invoke(main, ["bench", "--model", str(model), "--size", "64x48", "--size", "48x32",
                                       "--frames", "3", "--out", str(tmp_path / "out")])  # fmt: skip
    assert result.exit_code == 130
    assert [each["size"] for each in json.loads((tmp_path / "out" / "bench.json").read_text())["runs"]] == [[64, 48]]


def test_out_that_cannot_be_made_is_refused_before_the_work(tmp_path, model, parts):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["bench", "--model", str(model), "--out", str(tmp_path / "file" / "out")])
    assert result.exit_code == 1 and "cannot be made" in result.output and not parts


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that takes no file, whoever asks")
def test_out_that_takes_no_file_is_refused_before_the_work(model, parts):
    result = CliRunner().invoke(main, ["bench", "--model", str(model), "--out", "/proc"])
    assert result.exit_code == 1 and "/proc cannot be written" in result.output and not parts


@pytest.mark.parametrize("frames, used", [(4, 4), (100, 9)])
def test_own_video_is_used_as_far_as_asked(tmp_path, model, parts, frames, used):
    scene.write_clip(tmp_path / "own.mp4", (rainy for rainy, _ in drawn(count=9)))
    found = json.loads(run("--model", model, "--source", tmp_path / "own.mp4", "--frames", frames, "--json"))
    assert found["end_to_end"]["frames"] == used
    assert found["size"] == [64, 48] and found["source"].endswith("own.mp4")


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--size", "640"], 2, "is no size"),
        (["--size", "641x480"], 2, "is odd"),
        (["--size", "64x48", "--source", "x.mp4"], 2, "leave --size out"),
        (["--profile", "huge"], 2, "huge"),
        (["--model", "none.safetensors"], 1, "does not exist"),
        (["--source", "none.mp4"], 1, "does not exist"),
        (["--device", "tpu"], 1, "device 'tpu' is unknown"),
        (["--frames", "2"], 2, "2 is not in the range"),
    ],
)
def test_trouble_is_told(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["bench", *arguments])
    assert result.exit_code == code
    assert message in result.output and "Traceback" not in result.output


def test_video_of_two_frames_is_too_short(tmp_path, model):
    scene.write_clip(tmp_path / "short.mp4", (rainy for rainy, _ in drawn(count=2)))
    result = CliRunner().invoke(main, ["bench", "--model", str(model), "--source", str(tmp_path / "short.mp4")])
    assert result.exit_code == 1 and "has 2 frames; give a video of at least 3" in result.output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a program without asking it")
def test_killed_it_takes_its_videos_off_the_disk(monkeypatch, model, tmp_path):
    def killed(*_):
        assert list(tmp_path.glob("streamderain-bench-*"))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cases, "drawn_scene", killed)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # what the command leaves to others ends no test
    try:
        result = CliRunner().invoke(main, ["bench", "--model", str(model)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 143 and not list(tmp_path.glob("streamderain-bench-*"))
