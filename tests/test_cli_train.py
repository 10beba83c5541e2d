"""`streamderain train` from the command line: from folders to weights, on again, and what it refuses in one line."""
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import training
from click.testing import CliRunner
from PIL import Image
from training import assert_same_run, folder_of_pictures, newest, python_path, settings

from streamderain.cli import main, train_run
from streamderain.core.checkpoint import load_generator, load_tensors
from streamderain.trainers import METHODS, log, method_class, state
from streamderain.trainers.config import as_dict, configured
from streamderain.trainers.loop import BEST


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with training.small():
        yield


@pytest.fixture
def folders(tmp_path):
    """Rainy and clean pictures, and the options that give them."""
    folder_of_pictures(tmp_path / "rainy", seed=7)
    folder_of_pictures(tmp_path / "clean")
    return {"nlcl": ["--rainy", "rainy", "--clean", "clean"], "rdmc": ["--clean", "clean"]}


def run(method, *arguments, out="out", **changes):
    given = ["train", method, "--out", out, *settings(method, **changes), *map(str, arguments)]
    return CliRunner().invoke(main, given)


def refusal(result, code=1):
    """The one line of a refusal."""
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


# --- one training ---
def test_from_folders_to_weights(tmp_path, folders):
    (tmp_path / "rainy" / "junk.jpg").write_text("no picture")
    result = run("nlcl", *folders["nlcl"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:5] == [
        "Reading rainy ...",
        "rainy: 3 photos and 0 shots, 3 frames of 56x48 to 56x48; 1 files skipped",
        "Reading clean ...",
        "clean: 3 photos and 0 shots, 3 frames of 56x48 to 56x48",
        "nlcl for 6 steps of 2 samples on cpu, into out",
    ]
    assert lines[-1].startswith("Best ")
    assert lines[-1].endswith(" dB. Use it: streamderain video in.mp4 out.mp4 --model out/best.safetensors")
    scored = [line for line in lines if line.startswith(("3/6 ", "6/6 "))]
    assert len(scored) == 2 and all("adversarial " in line and "dB (untouched " in line for line in scored)
    assert "  best" in scored[0]
    assert "skipped: " in result.stderr and "junk.jpg" in result.stderr
    for name in ("last.safetensors", "best.safetensors", "log.jsonl", "panel.png", "config.json", "state", "clips"):
        assert (tmp_path / "out" / name).exists(), name
    kept = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (kept["train.steps"], kept["network.channels"], kept["features.gen_layers"]) == (6, 4, [0, 1])
    assert load_generator(tmp_path / "out" / BEST)[1]["card"]["config"] == kept
    with Image.open(tmp_path / "out" / "panel.png") as panel:
        assert panel.size == (3 * 56, 3 * 52)


def test_the_log_has_all_figures_of_a_score(tmp_path, folders):
    run("nlcl", *folders["nlcl"])
    entries = log.read(tmp_path / "out")
    assert [entry["step"] for entry in entries] == [3, 6]
    assert entries[0].keys() == {
        "step", "score/score", "score/input", "watch/rain_mean", "watch/rain_min",
        *(f"loss/{name}" for name in ("discriminator", "adversarial", "location", "layer", "consistency", "sparsity")),
    }  # fmt: skip


def test_a_finished_training_does_nothing_more(tmp_path, folders):
    first = run("nlcl", *folders["nlcl"])
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    result = run("nlcl", *folders["nlcl"])
    assert result.exit_code == 0, result.output
    assert "Reading" not in result.stdout and "going on from training-00000006.safetensors" in result.stdout
    assert result.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


@pytest.mark.parametrize("change, told", [
    ({"train.steps": 8}, "train.steps = 6, not 8"), ({"optim.lr": 1e-3}, "optim.lr = 0.0002, not 0.001"),
    ({"features.gen_layers": (0,)}, "features.gen_layers = [0, 1], not [0]"),
    ({"optim.disc_lr": 1e-3}, "optim.disc_lr = none, not 0.001"),
])
def test_other_settings_on_the_same_folder_are_refused(tmp_path, folders, change, told):
    run("nlcl", *folders["nlcl"])
    kept = (tmp_path / "out" / "config.json").read_bytes()
    assert refusal(run("nlcl", *folders["nlcl"], **change)) == (
        f"Error: out was begun with {told}; give that again, or another --out."
    )
    assert (tmp_path / "out" / "config.json").read_bytes() == kept


def test_other_folders_on_the_same_folder_are_refused(tmp_path, folders):
    run("nlcl", *folders["nlcl"])
    folder_of_pictures(tmp_path / "more", seed=9)
    line = refusal(run("nlcl", "--rainy", "more", "--clean", "clean"))
    assert "was begun with --rainy = ['" in line and "more'" in line and "another --out" in line


def test_folders_are_read_again_where_no_state_holds_on_to_them(tmp_path, folders):
    run("nlcl", *folders["nlcl"])
    for path in state.found(tmp_path / "out"):
        path.unlink()
    folder_of_pictures(tmp_path / "more", seed=9)
    result = run("nlcl", "--rainy", "more", "--clean", "clean")
    assert "Reading more ..." in result.stdout and "Reading clean" not in result.stdout


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, folders):
    (tmp_path / "file").write_text("in the way")
    assert "file/out cannot be made (Not a directory)" in refusal(run("nlcl", *folders["nlcl"], out="file/out"))


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path, folders, monkeypatch):
    def read_only(*, dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)  # a mode would not hold back root
    result = run("nlcl", *folders["nlcl"])
    assert refusal(result) == "Error: out cannot be written (Permission denied); choose another folder."
    assert "Reading" not in result.stdout


def test_two_trainings_in_one_folder(tmp_path, folders):
    (tmp_path / "out").mkdir()
    code = ("import sys; from pathlib import Path; from streamderain.cli.train_lock import alone\n"
            "with alone(Path('out')): print('held', flush=True); sys.stdin.read()")  # fmt: skip
    other = subprocess.Popen([sys.executable, "-c", code], env=python_path(), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert other.stdout.readline() == "held\n"
    result = run("nlcl", *folders["nlcl"])
    assert refusal(result) == "Error: another training works in out; wait for its end or give another --out."
    assert "Reading" not in result.stdout
    other.kill()
    other.communicate()
    assert run("nlcl", *folders["nlcl"], **{"train.steps": 1}).exit_code == 0


def test_what_does_not_change_the_result_may_differ(tmp_path, folders):
    run("nlcl", *folders["nlcl"])
    assert run("nlcl", *folders["nlcl"], **{"train.checkpoint_every": 4}).exit_code == 0


def test_another_method_on_the_same_folder_is_refused(tmp_path, folders):
    run("nlcl", *folders["nlcl"])
    assert "another --out" in refusal(run("rdmc", *folders["rdmc"]))
    line = refusal(run("nlcl_asym", *folders["nlcl"], "--set", "contrast.asymmetry=none"))
    assert line == "Error: out was begun with method = nlcl, not nlcl_asym; give that again, or another --out."


@pytest.mark.parametrize("method", ["nlcl", "stream"])  # the default is none, or a number
def test_steps_left_out_are_those_of_the_beginning(tmp_path, folders, monkeypatch, method):
    given = folders["nlcl"]
    run(method, *given, **{"train.steps": 2})
    kept = (tmp_path / "out" / "config.json").read_bytes()
    monkeypatch.setitem(training.TINY, method, {k: v for k, v in training.TINY[method].items() if k != "train.steps"})
    result = run(method, *given)
    assert result.exit_code == 0, result.output
    assert f"{method} for 2 steps of 2 samples" in result.stdout and "going on from" in result.stdout
    assert (tmp_path / "out" / "config.json").read_bytes() == kept


def test_only_damaged_states_are_told_in_one_line(tmp_path, folders):
    run("nlcl", *folders["nlcl"])
    for path in state.found(tmp_path / "out"):
        path.write_bytes(b"")
    line = refusal(run("nlcl", *folders["nlcl"]))
    assert "training-00000003.safetensors is not a readable" in line and "another --out to begin anew" in line


@pytest.mark.parametrize("method", ["rdmc", "stream"])
def test_rain_is_drawn_where_no_rainy_pictures_are_needed(tmp_path, folders, method):
    result = run(method, *folders["rdmc"])
    assert result.exit_code == 0, result.output
    assert "rainy:" not in result.stdout
    assert not (tmp_path / "out" / "panel.png").exists()
    if method == "rdmc":
        assert "contrast space: stream encoder for vgg19" in result.stdout
        assert load_generator(tmp_path / "out" / BEST)[1]["card"]["config"]["data.pairing"] == "rendered"


def test_pairs(tmp_path, folders):
    result = run("rdmc", *folders["nlcl"])
    assert result.exit_code == 0, result.output
    assert "rainy: 0 photos and 3 shots, 6 frames" in result.stdout and "clean:" not in result.stdout
    assert (tmp_path / "out" / "panel.png").exists()


def test_pairs_with_another_clean_folder(tmp_path, folders):
    run("rdmc", *folders["nlcl"])
    kept = (tmp_path / "out" / "clips" / "rainy" / "00000.npy").read_bytes()
    folder_of_pictures(tmp_path / "other", seed=9)
    line = refusal(run("rdmc", "--rainy", "rainy", "--clean", "other"))
    assert "was begun with --clean = ['" in line and "clean']" in line and "other']" in line
    assert "going on from" in run("rdmc", *folders["nlcl"]).stdout
    for path in state.found(tmp_path / "out"):
        path.unlink()
    assert "Reading rainy ..." in run("rdmc", "--rainy", "rainy", "--clean", "other").stdout
    assert (tmp_path / "out" / "clips" / "rainy" / "00000.npy").read_bytes() != kept


def test_pairs_come_from_one_folder_each(tmp_path, folders):
    line = refusal(run("rdmc", *folders["nlcl"], "--clean", "rainy"))
    assert line == "Error: pairs are matched by name; give one --rainy and one --clean."


@pytest.mark.parametrize("method", METHODS)
def test_the_weights_of_any_method_derain_a_picture(tmp_path, folders, method):
    changes = {"train.steps": 1}
    result = run(method, *folders["rdmc" if method in ("rdmc", "stream") else "nlcl"], **changes)
    assert result.exit_code == 0, result.output
    arguments = ["image", "rainy/0.png", "derained.png", "--model", f"out/{BEST}", "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    with Image.open("derained.png") as picture:
        assert picture.size == (56, 48)


# --- settings ---
@pytest.mark.parametrize("method", METHODS)
def test_all_settings_are_listed(method):
    result = CliRunner().invoke(main, ["train", method, "--list-settings"])
    assert result.exit_code == 0
    plain, *presets = result.stdout.split("# --preset ")
    listed = dict(line.split(" = ", 1) for line in plain.splitlines())
    kind = method_class(method).config_type
    assert listed.keys() == as_dict(kind()).keys()
    assert configured(kind, listed) == kind()  # each is written as --set takes it
    assert "None" not in listed.values() and listed["optim.disc_lr"] == "none"
    for preset in presets:
        name, *lines = preset.splitlines()
        changed = dict(line.removeprefix("#   ").split(" = ", 1) for line in lines)
        assert configured(kind, changed) == configured(kind, method_class(method).presets[name])
    assert len(presets) == len(method_class(method).presets)


def test_the_nearest_setting_is_named(folders):
    line = refusal(run("nlcl", *folders["nlcl"], "--set", "crop_sise=64"))
    assert line == ("Error: there is no setting crop_sise; did you mean crop_size?; `streamderain train nlcl "
                    "--list-settings` shows all.")  # fmt: skip


@pytest.mark.parametrize("arguments, told", [
    (["--set", "crop_size"], "--set crop_size has no value; write KEY=VALUE"),
    (["--set", "crop_size=big"], "data.crop_size is 'big'; it must be a whole number"),
    (["--set", "crop_size=16"], "crop_size is 16; it must be at least 32"),
    (["--preset", "fast"], "nlcl has no preset fast; it has nlcl_released, colour_true"),
    (["--config", "none.toml"], "none.toml is not a file"),
    (["--rainy", "nowhere"], "nowhere is not a folder; give one that holds pictures or videos"),
])
def test_trouble_before_anything_is_made(tmp_path, folders, arguments, told):
    assert told in refusal(run("nlcl", *folders["nlcl"], *arguments))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method, arguments, told", [
    ("nlcl", ["--clean", "clean"], "Missing option '--rainy'"), ("rdmc", [], "Missing option '--clean'"),
    ("nlcl", ["--clean", "clean", "--rainy", "rainy", "--steps", "0"], "0 is not in the range"),
    ("nlcl", ["--vgg-weights", "x"], "No such option"),
])
def test_usage(folders, method, arguments, told):
    assert told in refusal(CliRunner().invoke(main, ["train", method, "--out", "out", *arguments]), code=2)


def test_a_folder_without_pictures(tmp_path, folders):
    (tmp_path / "empty").mkdir()
    line = refusal(run("nlcl", "--rainy", "empty", "--clean", "clean"))
    assert line == "Error: empty holds no picture or video that can be read; give another one."


def test_settings_of_a_file_yield_to_the_command_line(tmp_path, folders):
    (tmp_path / "mine.toml").write_text('[loss]\nlayer = 0.5\nsparsity = 0.25\n[train]\nsteps = 1\nseed = 4\n')
    options = ["--config", "mine.toml", "--set", "loss.sparsity=0.75", "--seed", "5", "--preset", "nlcl_released"]
    result = run("nlcl", *folders["nlcl"], *options, **{"train.steps": 2})
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "out" / "config.json").read_text())
    expected = {"loss.layer": 0.5, "loss.sparsity": 0.75, "train.steps": 2, "train.seed": 5,
                "sampler.loc_sampling": "nonlocal", "heads.doubled": ["rain"]}  # fmt: skip
    assert {key: kept[key] for key in expected} == expected


def test_without_steps_it_takes_the_papers_epochs(tmp_path, folders, monkeypatch):
    monkeypatch.setattr(train_run, "train", lambda *arguments, **options: 1.0)
    for name, batch, steps in (("a", 1, 3 * 210), ("b", 2, 210), ("c", 8, 210)):
        result = run("nlcl", *folders["nlcl"], out=name, **{"train.steps": "none", "train.batch_size": batch})
        assert f"nlcl for {steps} steps of {batch} samples" in result.stdout, result.output


# --- interruption ---
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_a_state_and_the_same_command_goes_on(tmp_path, folders, monkeypatch, number, code):
    run("nlcl", *folders["nlcl"], out="whole")
    before = train_run._Told.step

    def interrupted(self, progress):
        before(self, progress)
        if progress.step == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(train_run._Told, "step", interrupted)
        result = run("nlcl", *folders["nlcl"])
    assert result.exit_code == code
    assert result.stderr.splitlines()[-1] == (
        "Interrupted; the state is in out: the same command goes on from there."
    )
    assert newest(tmp_path / "out").name == "training-00000003.safetensors"  # the step under way is finished
    assert "Best" not in result.stdout
    result = run("nlcl", *folders["nlcl"])
    assert result.exit_code == 0 and "going on from training-00000003.safetensors" in result.stdout
    assert_same_run(tmp_path / "out", tmp_path / "whole")


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_the_log_forgets_what_is_done_again(tmp_path, folders, how):
    run("nlcl", *folders["nlcl"], **{"train.checkpoint_every": 2})
    whole = (tmp_path / "out" / "log.jsonl").read_text()
    with (tmp_path / "out" / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "loss/la')  # a kill while it wrote
    last = newest(tmp_path / "out")
    last.unlink() if how == "gone" else last.write_bytes(last.read_bytes()[:-9])
    result = run("nlcl", *folders["nlcl"], **{"train.checkpoint_every": 2})
    assert result.exit_code == 0, result.output
    assert ("going on from the one before" in result.stderr) == (how == "damaged")
    assert (tmp_path / "out" / "log.jsonl").read_text() == whole


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(tmp_path, folders):
    arguments = ["nlcl", *folders["nlcl"], "--out", "out", *settings("nlcl", **{"train.steps": 4000,
                 "train.checkpoint_every": 5})]  # fmt: skip
    command = [sys.executable, "-m", "streamderain", "train", *arguments]
    reached = 0
    for _ in range(2):
        process = subprocess.Popen(command, env=python_path(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)  # fmt: skip
        began = time.monotonic()
        while steps_done(tmp_path / "out") <= reached:
            assert process.poll() is None and time.monotonic() - began < 120
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert err.splitlines()[-1] == "Interrupted; the state is in out: the same command goes on from there."
        assert ("going on from " in out) == (reached > 0)
        assert steps_done(tmp_path / "out") > reached
        reached = steps_done(tmp_path / "out")
    steps = [entry["step"] for entry in log.read(tmp_path / "out")]
    assert steps == sorted(set(steps)) and steps[-1] == reached


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_the_loop(tmp_path, folders, number, code):
    arguments = [*folders["nlcl"], "--out", "out", "--workers", "2",
                 *settings("nlcl", **{"train.steps": 4000, "train.checkpoint_every": 4000})]  # fmt: skip
    command = [sys.executable, "-m", "streamderain", "train", "nlcl", *arguments]
    process = subprocess.Popen(command, env=python_path(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    for line in process.stdout:
        if "/4000" in line:
            break
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.splitlines() == ["Interrupted; the state is in out: the same command goes on from there."]
    assert steps_done(tmp_path / "out") > 0


def steps_done(out):
    found = state.found(out)
    return load_tensors(found[0])[1]["step"] if found else 0


@pytest.mark.slow
def test_removing_rain_never_loads_training_code(tmp_path, folders):
    run("nlcl", *folders["nlcl"], **{"train.steps": 1})
    code = ("import sys; from streamderain import Derainer; import numpy as np; "
            f"Derainer(device='cpu', model='out/{BEST}')(np.zeros((40, 40, 3), np.uint8)); "
            "sys.exit(any(name.startswith('streamderain.trainers') for name in sys.modules))")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], env=python_path()).returncode == 0


def test_progress_is_told_every_few_seconds(tmp_path, folders, monkeypatch):
    monkeypatch.setattr(train_run, "SAY_SECONDS", 0.0)
    result = run("nlcl", *folders["nlcl"])
    told = [line.split("  ")[0] for line in result.stdout.splitlines() if line[:1].isdigit()]
    assert told == [f"{n}/6" for n in range(1, 7)]
    assert np.isfinite([float(line.split("  ")[1].rstrip("/s")) for line in result.stdout.splitlines()
                        if line[:1].isdigit()]).all()  # fmt: skip
