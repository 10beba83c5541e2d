"""`streamderain models`: which weights it finds, what it says of them, and what it passes over."""
import hashlib
import json

import pytest
import torch
from click.testing import CliRunner

from streamderain import weights
from streamderain.cli import main
from streamderain.cli import models as command
from streamderain.core.checkpoint import save_generator, save_tensors
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import StreamConfig, StreamGenerator
from streamderain.errors import DerainError
from streamderain.models import describe, list_models

CARD = {"method": "nlcl", "steps": 7, "score": 31.254, "scores": {"Rain100L": 29.5}}
KEYS = {"path", "shipped", "method", "profile", "family", "size_bytes", "parameters", "mac_per_pixel", "scores",
        "sha256", "card"}  # fmt: skip


@pytest.fixture(autouse=True)
def shelf(tmp_path, monkeypatch):
    """One shipped file, and a folder of its own to work in."""
    folder = tmp_path / "package"
    folder.mkdir()
    model = StreamGenerator(StreamConfig(widths=(2, 2, 2), blocks=(0, 0, 0, 0, 0)))
    save_generator(folder / "tiny.safetensors", model, profile="tiny", card={"method": "stream", "score": 38.8})
    monkeypatch.setattr(weights, "FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def put(path, card=CARD, profile="nlcl"):
    path.parent.mkdir(parents=True, exist_ok=True)
    network = SingleFrameDerainer(ResidualGenerator(2, 0), low=-1, output="rain")
    save_generator(path, network, profile=profile, card=card)
    return path


@pytest.fixture
def runs(tmp_path):
    """A folder as trainings leave it."""
    folder = tmp_path / "here" / "runs"
    put(folder / "b" / "best.safetensors")
    put(folder / "a" / "last.safetensors", card={})
    put(folder / "a" / "training-000100.safetensors")
    put(folder / "a" / "state" / "rank0.safetensors")
    put(folder / "a" / "not.weights")
    save_tensors(folder / "a" / "training.safetensors", {}, {"step": 5})
    save_tensors(folder / "a" / "other.safetensors", {"weight": torch.zeros(2)}, {"format": 1})
    (folder / "a" / "damaged.safetensors").write_bytes(b"damaged")
    return folder


def run(*arguments):
    result = CliRunner().invoke(main, ["models", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def listed(*arguments):
    return json.loads(run(*arguments, "--json"))


# --- what is found ---
def test_without_a_folder_of_runs_there_are_the_shipped_ones(shelf):
    assert [model.path for model in list_models()] == [shelf / "tiny.safetensors"]


def test_the_folder_of_runs_is_searched_where_there_is_one(runs):
    assert [(model.path.name, model.shipped) for model in list_models()] == [
        ("tiny.safetensors", True), ("last.safetensors", False), ("best.safetensors", False),
    ]  # fmt: skip


def test_files_and_folders_in_the_order_given_and_each_once(runs, shelf, tmp_path):
    own = put(tmp_path / "own.safetensors")
    found = list_models([own, runs / "b", runs, shelf, own.parent / "here" / ".." / "own.safetensors"])
    assert [model.path for model in found[1:]] == [
        own, runs / "b" / "best.safetensors", runs / "a" / "last.safetensors",
    ]  # fmt: skip
    assert [model.shipped for model in found] == [True, False, False, False]


@pytest.mark.parametrize("name, reason", [
    ("other", "is not a generator of format 1"), ("training", "is not a generator of format 1"),
    ("damaged", "is not a readable safetensors file"), ("none", "does not exist; give a .safetensors file or a folder"),
])  # fmt: skip
def test_a_file_that_was_named_must_be_usable(runs, name, reason):
    path = runs / "a" / f"{name}.safetensors"
    with pytest.raises(DerainError, match=reason):
        list_models([path])
    result = CliRunner().invoke(main, ["models", str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1 and str(path) in result.stderr


def test_a_training_state_that_was_named_is_shown_if_a_run_would_take_it(runs):
    assert len(list_models([runs / "a" / "training-000100.safetensors"])) == 2


# --- what is said ---
def test_a_model_in_full(runs):
    path = runs / "b" / "best.safetensors"
    found = describe(path)
    assert (found.method, found.profile, found.family, found.shipped) == ("nlcl", "nlcl", "residual", False)
    assert found.size_bytes == path.stat().st_size
    assert found.parameters == sum(p.numel() for p in ResidualGenerator(2, 0).parameters())
    assert found.mac_per_pixel == 9 * (3 * 2 + 2 * 2 * 2 + 2 * 3)
    assert found.scores == {"validation": 31.254, "Rain100L": 29.5}
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.card == CARD


@pytest.mark.parametrize("card, method, scores", [
    ({}, None, {}), ("text", None, {}), (None, None, {}), ([1], None, {}),
    ({"method": "", "score": "high"}, None, {}),
    ({"score": 31.2, "scores": {"score": 31.2, "input": 27}}, None, {"validation": 31.2, "input": 27.0}),
    ({"score": 10**400, "scores": {"a": 1e10}}, None, {}),
    ({"score": True, "scores": {"a": 1, "b": None, "c": [2]}}, None, {"a": 1.0}),
    ({"method": "rdmc", "score": float("nan"), "scores": 5}, "rdmc", {}),
    ({"scores": {"a": float("inf"), "deep": {"b": [float("nan")]}}}, None, {}),
])  # fmt: skip
def test_cards_that_say_little(tmp_path, card, method, scores):
    path = put(tmp_path / "odd.safetensors", card=card)
    found = describe(path)
    assert (found.method, found.scores) == (method, scores)
    assert listed(path)[1]["scores"] == scores  # and no NaN, which is no JSON
    assert "nlcl" in run(path)


def test_json_has_whole_digests_paths_and_cards(runs):
    shipped, *_, best = listed()
    assert set(shipped) == set(best) == KEYS
    assert shipped["shipped"] and shipped["family"] == "stream"
    assert best["path"] == str(runs / "b" / "best.safetensors") and len(best["sha256"]) == 64
    assert best["card"] == CARD


def test_the_table_has_a_line_for_each(runs):
    heading, shipped, last, best, more = run().splitlines()
    assert heading.split() == ["method", "profile", "size", "params", "MAC/px", "score", "sha256", "file"]
    digest = hashlib.sha256((runs / "b" / "best.safetensors").read_bytes()).hexdigest()
    assert shipped.split()[:2] == ["stream", "tiny"] and shipped.rstrip().endswith("(shipped)")
    assert last.split()[0] == "-" and "runs/a/last.safetensors" in last.replace("\\", "/")
    assert best.split()[-2:] == [digest[:8], str(runs.relative_to(runs.parent) / "b" / "best.safetensors")]
    assert "31.25" in best and more.split() == ["Rain100L", "29.50"]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_keeps_to_the_terminal(runs, monkeypatch, width):
    from rich.console import Console

    monkeypatch.setattr(command, "Console", lambda: Console(force_terminal=True, color_system=None, width=width))
    put(runs / "a_rather_long_name_of_a_training" / "best.safetensors", profile="nlcl_asym")
    lines = run().splitlines()
    assert all(len(line) <= width for line in lines) and len(lines) < 12
    assert all(word in lines[0] for word in ("method", "profile", "params", "MAC/px", "sha256", "file"))
    assert "…" not in "".join(lines)


def test_words_of_a_file_do_not_steer_the_terminal(tmp_path):
    card = {"method": "\x1b[2J[red]x", "scores": {"a\x1b[1m\nb": 1.0}}
    out = run(put(tmp_path / "odd.safetensors", card=card, profile="[bold]\nend"))
    assert "\x1b" not in out and "[red]x" in out and "[bold] end" in out


@pytest.mark.parametrize("number, text", [
    (0, "0 "), (999, "999 "), (999.6, "1 k"), (7296, "7.3 k"), (85_404, "85.4 k"), (316_195, "316 k"),
    (999_499, "999 k"), (999_500, "1 M"), (19_809_990, "19.8 M"), (3e9, "3 G"), (5e12, "5e+03 G"),
])  # fmt: skip
def test_short_numbers(number, text):
    assert command._short(number) == text


def test_the_weights_that_ship_are_listed(monkeypatch):
    monkeypatch.undo()
    found = {model.profile: model for model in list_models([weights.FOLDER])}
    assert {"tiny", "realtime"} <= set(found) and all(model.shipped for model in found.values())
    card = (weights.FOLDER / "MODEL_CARD.md").read_text()
    for model in found.values():
        assert f"{model.parameters:,}" in card and f"{model.mac_per_pixel:,}" in card
    assert (found["tiny"].parameters, found["tiny"].mac_per_pixel) == (140_544, 7_296)
    assert found["tiny"].scores["validation"] > 30
