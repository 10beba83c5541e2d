"""Two processes that train together do what one does with twice the batch, and all stop at the same step."""
import os
import signal
import subprocess
import sys
import time

import pytest
import training
from training import folder_of_pictures, newest, python_path, settings

from streamderain.core.checkpoint import load_generator, load_tensors
from streamderain.trainers import log, state
from streamderain.trainers.loop import BEST

pytestmark = pytest.mark.slow
STEPS = {
    "train.steps": 3, "train.checkpoint_every": 1,  # each step with a score is logged
    # so that Adam makes no whole step of what is only rounding, such as the gradient of a bias before a norm
    "optim.lr": 1e-9, "optim.head_lr": 1e-9,
}  # fmt: skip
TRAIN = ["-m", "streamderain", "train"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of_pictures(tmp_path / "rainy", seed=7)
    folder_of_pictures(tmp_path / "clean")
    with training.small():
        yield


def command(start, method, out, **changes):
    needed = ["--clean", "clean"] if method in ("rdmc", "stream") else ["--rainy", "rainy", "--clean", "clean"]
    return [*start, *TRAIN, method, *needed, "--out", out, "--device", "cpu", *settings(method, **changes)]


@pytest.mark.parametrize("method", ["nlcl", "nlcl_asym", "cclgan"])
def test_two_processes_equal_one_with_twice_the_batch(tmp_path, method):
    for start, out, batch in (([sys.executable], "one", 4), (TWO, "two", 2)):
        done = subprocess.run(command(start, method, out, **STEPS | {"train.batch_size": batch}), env=python_path(),
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        share = " on each of 2 processes" if out == "two" else ""
        assert f"{method} for 3 steps of {batch} samples{share} on cpu, into {out}" in done.stdout
        assert done.stdout.count("Best ") == done.stdout.count("Reading rainy") == 1  # the first process alone speaks
    one, two = (log.read(tmp_path / out) for out in ("one", "two"))
    assert [entry["step"] for entry in one] == [entry["step"] for entry in two] == [1, 2, 3]
    for alone, together in zip(one, two, strict=True):
        assert alone.keys() == together.keys()
        for name in (name for name in alone if name.startswith(("loss/", "score/"))):
            assert together[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-6), (alone["step"], name)
    assert_same_gradients(tmp_path / "one", tmp_path / "two")
    assert load_generator(tmp_path / "two" / BEST)[1]["card"]["method"] == method


def assert_same_gradients(one, two):
    """After the first step Adam's mean is the gradient times a constant.

    The halves of a sum round otherwise, and embeddings as drawn are so short that dividing by their length magnifies it
    to some thousandths; the gradient of one process alone, or a sum, would be off by half or more.
    """
    name = "training-00000001.safetensors"
    alone, together = (load_tensors(out / state.FOLDER / name)[0] for out in (one, two))
    means = [name for name in alone if name.endswith(".exp_avg")]
    assert means
    for optimiser in {name.split(".")[1] for name in means}:
        own = [name for name in means if name.split(".")[1] == optimiser]
        largest = max(alone[name].abs().max().item() for name in own)
        for name in own:
            assert (alone[name] - together[name]).abs().max().item() < 1e-2 * largest, name


@pytest.mark.parametrize("whom", ["torchrun", "one of its processes"])
def test_a_signal_leaves_a_state_that_goes_on(tmp_path, whom):
    changes = {"train.steps": 4000, "train.checkpoint_every": 5}
    process = subprocess.Popen(command(TWO, "nlcl", "out", **changes), env=python_path(), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)  # fmt: skip
    began = time.monotonic()
    while len(state.found(tmp_path / "out")) < 2:
        assert process.poll() is None and time.monotonic() - began < 120
        time.sleep(0.05)
    before = newest(tmp_path / "out")
    os.kill(process.pid if whom == "torchrun" else workers(process.pid)[1], signal.SIGTERM)
    told, _ = process.communicate(timeout=90)
    assert process.returncode != 0
    assert newest(tmp_path / "out").name > before.name, told
    step = load_tensors(newest(tmp_path / "out"))[1]["step"]
    again = subprocess.Popen(command(TWO, "nlcl", "out", **changes), env=python_path(), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)  # fmt: skip
    try:
        said = next(line.split()[-1] for line in again.stdout if line.startswith("going on from "))
    finally:
        again.terminate()
        again.communicate(timeout=90)
    assert said == f"training-{step:08d}.safetensors"


def workers(parent):
    """Processes that torchrun started."""
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        return [int(number) for number in file.read().split()]
