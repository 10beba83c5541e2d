"""`streamderain bench`: what it reports and that it measures what it says; never how fast the machine is."""
import json
import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from streamderain import benchmark, scene, weights
from streamderain.cli import main
from streamderain.core import matching
from streamderain.core.checkpoint import save_generator
from streamderain.core.colour import to_rgb
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import StreamGenerator
from streamderain.errors import DerainError
from streamderain.video import open_video


@pytest.fixture(autouse=True)
def few_runs(monkeypatch):
    for name in ("PUBLISHED_RUNS", "NETWORK_RUNS", "FILE_RUNS"):
        monkeypatch.setattr(benchmark, name, 1)


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
    assert benchmark.recall(exact, exact) == 1
    assert benchmark.recall(field((2, -1), (0, 0), (3, 3), (-1, -1)), exact) == 0.5
    assert benchmark.recall(field((1, 1), (2, 2), (3, 3), (-1, -1)), exact) == 0


def test_search_that_is_given_the_whole_window_reaches_the_exact_answer(monkeypatch):
    search = matching.search
    monkeypatch.setattr(benchmark.matching, "search", lambda q, r, settings, **_: search(q, r, settings))
    figures = benchmark.measure_search([rainy for rainy, _ in drawn()])
    assert figures.recall_at_8 == 1 and figures.distance_ratio == 1


def test_search_figures_of_the_real_search():
    figures = benchmark.measure_search([rainy for rainy, _ in drawn()]).as_dict()
    assert 0 < figures["recall_at_8"] <= 1 <= figures["distance_ratio"]
    assert figures["speedup"] == pytest.approx(figures["exact_ms"] / figures["ms"])


def test_search_needs_three_frames():
    with pytest.raises(ValueError, match="at least 3"):
        benchmark.measure_search([rainy for rainy, _ in drawn(count=2)])


def test_median_leaves_the_warm_up_out(monkeypatch):
    clock = iter([0.0, 0.005, 1.0, 1.001, 2.0, 2.002])
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    calls = []
    assert benchmark.median_ms(lambda: calls.append(1), runs=3, warm_up=2, device="cpu") == pytest.approx(2)
    assert len(calls) == 5


def test_timed_returns_result_and_milliseconds():
    result, ms = benchmark.timed(lambda seconds: time.sleep(seconds) or "done", 0.01)
    assert result == "done" and ms >= 10


def test_published_network_is_the_published_one():
    figures = benchmark.measure_published(drawn(32, 32, 1)[0][0], "cpu")
    assert figures["parameters"] == 316_195 and figures["mac_per_pixel"] == 315_072
    assert (figures["backend"], figures["precision"]) == ("eager", "fp32")
    assert figures["ms"] > 0


def test_one_case_prints_one_object_with_the_promised_keys(model):
    found = json.loads(run("--model", model, "--size", "64x48", "--frames", 5, "--json"))
    assert {"network", "published_nlcl", "search", "end_to_end", "machine"} <= found.keys()
    assert {"profile", "backend", "ms", "mac_per_pixel", "parameters"} <= found["network"].keys()
    assert {"ms", "exact_ms", "speedup", "recall_at_8", "distance_ratio"} <= found["search"].keys()
    assert found["size"] == [64, 48] and found["source"] == "drawn"
    assert found["network"]["profile"] == "tiny" and found["network"]["weights"] == "trained"
    assert found["network"]["parameters"] == sum(p.numel() for p in StreamGenerator.from_profile("tiny").parameters())
    assert found["end_to_end"]["frames"] == 5 and found["end_to_end"]["fps"] > 0
    assert {"decode", "encode", "search", "network"} <= found["end_to_end"]["ms_per_stage"].keys()
    assert found["published_nlcl"]["slower"] == pytest.approx(
        found["published_nlcl"]["ms"] / found["network"]["ms"], rel=0.01
    )
    assert found["machine"]["versions"]["torch"] == torch.__version__


def test_a_published_network_is_measured_without_companions(tmp_path, monkeypatch):
    def called(*_, **__):
        raise AssertionError("no companions are needed")

    path, network = tmp_path / "nlcl.safetensors", ResidualGenerator(4, 1)
    save_generator(path, SingleFrameDerainer(network, low=-1, output="rain"), profile="nlcl", card={})
    monkeypatch.setattr(benchmark.matching, "search", called)
    figures = benchmark.measure_network(path, [rainy for rainy, _ in drawn(46, 34, 2)], "cpu")
    assert (figures["profile"], figures["precision"]) == ("nlcl", "fp32")
    assert figures["mac_per_pixel"] == 9 * (3 * 4 + 4 * 4 * 4 + 4 * 3)
    assert figures["parameters"] == sum(p.numel() for p in network.parameters())
    assert figures["ms"] > 0 and figures["ms_fp32"] > 0


@pytest.fixture
def parts(monkeypatch):
    """The parts measured alone, as constants; says how often each was called."""
    calls = []

    def constant(name, value):
        def measure(*arguments, **_):
            calls.append(name)
            return value(*arguments)

        monkeypatch.setattr(benchmark, f"measure_{name}", measure)

    constant("search", lambda frames: benchmark.SearchFigures(2.0, 30.0, 0.1, 0.9, 1.01))
    constant("published", lambda frame, device: {"ms": 500.0})
    constant("network", lambda model, frames, device: {
        "profile": model.stem, "backend": "eager", "precision": "fp32", "ms": 5.0, "ms_fp32": 10.0
    })  # fmt: skip
    return calls


def test_several_cases_are_runs_of_one_kind(parts, monkeypatch):
    monkeypatch.setattr(benchmark, "measure_file", lambda *_, **__: {"fps": 1.0, "ms_per_stage": {}})
    runs = json.loads(run("--profile", "tiny", "--profile", "realtime", "--size", "48x32", "--size", "64x48",
                          "--frames", 3, "--json"))["runs"]
    assert [(each["size"], each["network"]["profile"]) for each in runs] == [
        ([48, 32], "tiny"), ([48, 32], "realtime"), ([64, 48], "tiny"), ([64, 48], "realtime")
    ]  # fmt: skip
    assert sorted(parts) == ["network"] * 4 + ["published"] * 2 + ["search"] * 2  # once for each size
    assert len({frozenset(each) for each in runs}) == 1
    assert (runs[0]["published_nlcl"]["slower"], runs[0]["published_nlcl"]["slower_fp32"]) == (100, 50)
    assert runs[0]["search"]["speedup"] == 15


@pytest.mark.parametrize("there, kind", [(True, "trained"), (False, "fresh")])
def test_fresh_weights_are_marked(tmp_path, monkeypatch, model, parts, there, kind):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    monkeypatch.setattr(benchmark, "measure_file", lambda *_, **__: {"fps": 1.0, "ms_per_stage": {}})
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


def test_table_names_what_was_measured(model, parts):
    text = run("--model", model, "--size", "64x48", "--frames", 3)
    for word in ("64x48", "own", "500", "100x (50x in fp32)", "fps", "0.900", "15.0x", "decode", "encode", "torch"):
        assert word in text


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
