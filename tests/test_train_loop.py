"""The training loop: every method's resume equals no pause, and only a player's own parameters move in its turn."""
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import training
from torch import nn
from training import ROOT, a_method, assert_same_run, newest, run, scrambled

from streamderain.core import checkpoint
from streamderain.core.checkpoint import CheckpointError, load_generator, load_tensors, save_tensors
from streamderain.trainers import state
from streamderain.trainers.batches import batches
from streamderain.trainers.clips import read_clips, write_clips
from streamderain.trainers.config import TrainConfig
from streamderain.trainers.distributed import World
from streamderain.trainers.loop import BEST, LAST, Group, Player, Progress, train
from streamderain.trainers.nlcl import PRESETS
from streamderain.trainers.rendered import RenderedConfig, RenderedRain
from streamderain.trainers.schedule import rate_factor

VARIANTS = {
    "nlcl": ("nlcl", {}),
    "nlcl in bfloat16": ("nlcl", {"train.bf16": True, "train.ema": 0.9}),
    "nlcl as released": ("nlcl", PRESETS["nlcl_released"]),
    "nlcl residual": ("nlcl", {"network.output": "residual", "gan.head_start": 2, "train.clip": 0.1}),
    "nlcl_asym": ("nlcl_asym", {"train.ema": 0.9}),
    "rdmc": ("rdmc", {"train.ema": 0.9}),
    "rdmc search": ("rdmc", {"network.recruitment": "search"}),
    "rdmc gated": ("rdmc", {"network.recruitment": "gated", "loss.ctr_negatives": "batch"}),
    "rdmc masked": ("rdmc", {"network.recruitment": "mask", "network.mask": (1, 0, 1, 0, 0, 1, 0, 1)}),
    "cclgan": ("cclgan", {}),
    "stream": ("stream", {}),
    "stream in bfloat16": ("stream", {"train.bf16": True}),
}


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


class Line:
    """A method of one number, whose gradient is known."""

    def __init__(self, slope=1.0):
        self.networks = self.exported = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.networks.weight)
        self.slope = slope

    @property
    def players(self):
        group = Group([self.networks.weight], 0.1, (0.9, 0.999))
        return (Player((group,), self.losses),)

    def forward(self, batch, step):
        return 2.0

    def losses(self, forwarded, batch):
        return {"line": -self.slope * self.networks.weight.sum(), "nothing": torch.zeros(())}

    def watched(self, forwarded):
        return {"weight": self.networks.weight.sum(), "forwarded": torch.tensor(forwarded)}

    def scores(self, model):
        return {"score": float(model.weight.detach()), "input": 0.0}

    def save(self, path, model, card):
        save_tensors(path, dict(model.state_dict()), card)


def numbers(count):
    return [{"x": torch.tensor(float(n))} for n in range(count)]


def config(steps, **changes):
    return TrainConfig(steps=steps, **changes)


# --- the loop itself ---
def test_the_average_follows_its_closed_form(tmp_path):
    settings = config(5, ema=0.25, schedule="cosine", warmup=2)
    method, weights = Line(), [0.0]

    def on_step(progress):
        weights.append(method.networks.weight.item())

    best = train(method, numbers(5), settings, tmp_path, on_step=on_step)
    average = 0.0
    for step, weight in enumerate(weights[1:], 1):
        decay = min(0.25, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert best == pytest.approx(average, abs=6e-5)  # a score is rounded to four places
    rates = [0.1 * rate_factor(step, settings) for step in range(5)]
    assert np.diff(weights) == pytest.approx(rates, rel=1e-4)  # Adam's step under a constant gradient is its rate
    assert load_tensors(tmp_path / LAST)[0]["weight"].item() == pytest.approx(average, rel=1e-5)


def test_without_an_average_the_weights_themselves_are_saved(tmp_path):
    method = Line()
    train(method, numbers(4), config(4), tmp_path)
    assert torch.equal(load_tensors(tmp_path / LAST)[0]["weight"], method.networks.weight.detach())


def test_what_is_told_after_a_step(tmp_path):
    told: list[Progress] = []
    best = train(Line(), numbers(5), config(5, checkpoint_every=2), tmp_path, on_step=told.append)
    assert [progress.step for progress in told] == [1, 2, 3, 4, 5]
    assert [progress.scores is not None for progress in told] == [False, True, False, True, True]
    assert [progress.best for progress in told] == [False, True, False, True, True]
    assert told[-1].scores == {"score": best, "input": 0.0}
    assert told[0].losses == {"line": 0.0, "nothing": 0.0}
    assert told[2].watched == {"weight": pytest.approx(0.3, rel=1e-5), "forwarded": 2.0}
    assert all(progress.steps == 5 and progress.steps_per_second > 0 for progress in told)


def test_the_best_weights_stay(tmp_path):
    class Scored(Line):
        given = iter([3.0, 5.0, 4.0])

        def scores(self, model):
            return {"score": next(self.given), "input": 1.0}

    assert train(Scored(), numbers(3), config(3, checkpoint_every=1), tmp_path, card={"made": "here"}) == 5.0
    assert load_tensors(tmp_path / BEST)[1] == {
        "made": "here", "steps": 2, "score": 5.0, "scores": {"score": 5.0, "input": 1.0}
    }
    assert load_tensors(tmp_path / LAST)[1]["steps"] == 3


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match="the loss is nan at step 0; lower the learning rate"):
        train(Line(slope=float("nan")), numbers(4), config(4), tmp_path)
    assert not state.found(tmp_path)


def test_steps_must_be_given(tmp_path):
    with pytest.raises(ValueError, match="steps is not given"):
        train(Line(), numbers(1), config(None), tmp_path)


def test_a_gradient_is_clipped_for_each_player(tmp_path):
    method = Line(slope=300.0)
    train(method, numbers(1), config(1, clip=2.0), tmp_path)
    assert method.networks.weight.grad.item() == pytest.approx(-2.0, rel=1e-4)


def test_the_samples_of_a_step_are_shared_among_processes():
    samples, settings = numbers(40), config(5, batch_size=2)

    def seen(world, first=0):
        return [batch["x"].int().tolist() for batch in batches(samples, settings, world, first)]

    assert seen(World()) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert seen(World(), 3) == [[6, 7], [8, 9]]
    assert seen(World(0, 2)) == [[0, 1], [4, 5], [8, 9], [12, 13], [16, 17]]
    assert seen(World(1, 2), 4) == [[18, 19]]


@pytest.mark.slow
def test_a_worker_makes_the_same_samples(tmp_path):
    write_clips(tmp_path, ((clip.name, clip.frames) for clip in training.clips()))
    samples = RenderedRain(read_clips(tmp_path), RenderedConfig(crop_size=32, search_radius=5), seed=0)
    alone, spawned = (
        list(batches(samples, config(6, batch_size=2, workers=n), World(), 2)) for n in (0, 1)
    )
    assert len(alone) == len(spawned) == 4
    for one, other in zip(alone, spawned, strict=True):
        for name, value in one.items():
            assert torch.equal(value, other[name])
    assert torch.equal(alone[0]["input"][1], samples[5]["input"])  # sample step * batch + i is the i-th of a step


class Deaf:
    """Samples that say whether the process that makes them ignores the signals which end the loop in order."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        return {"deaf": torch.tensor([signal.getsignal(number) is signal.SIG_IGN for number in numbers])}


def test_workers_leave_the_signals_to_the_loop():
    (batch,) = batches(Deaf(), config(1, workers=1), World(), 0)
    assert batch["deaf"].all()


def test_training_lowers_the_loss(tmp_path):
    method = a_method("stream", tmp_path, **{"train.steps": 25, "optim.lr": 1e-2, "loss.squared_steps": 100,
                                             "data.rain_free": 0.0})  # fmt: skip
    drawn = [method.samples[n] for n in range(12)]
    fixed = sorted(drawn, key=lambda sample: -float(sample["rain"].square().mean()))[:2]  # the rest may be drizzle
    told: list[Progress] = []
    train(method, fixed * 25, method.config.train, tmp_path / "out", on_step=told.append)
    assert told[-1].losses["squared"] < 0.95 * told[0].losses["squared"]  # seeing no rain stays where it began


def test_what_is_written_is_a_generator_with_its_card(tmp_path):
    best = run(a_method("stream", tmp_path), tmp_path / "out")
    model, metadata = load_generator(tmp_path / "out" / BEST)
    assert model.config == training.SMALL
    assert metadata["profile"] == "tiny"
    assert (metadata["card"]["method"], metadata["card"]["score"]) == ("stream", best)
    assert load_generator(tmp_path / "out" / LAST)[1]["card"]["steps"] == 6


# --- resume ---
@pytest.mark.parametrize("variant", VARIANTS)
def test_resume_equals_no_pause(tmp_path, variant):
    name, changes = VARIANTS[variant]
    told: list[Progress] = []
    run(a_method(name, tmp_path, **changes), tmp_path / "whole")
    asked = iter([False, False, True])
    run(a_method(name, tmp_path, **changes), tmp_path / "parts", stop=lambda: next(asked), on_step=told.append)
    assert load_tensors(newest(tmp_path / "parts"))[1]["step"] == 3
    run(scrambled(a_method(name, tmp_path, **changes)), tmp_path / "parts", on_step=told.append)
    assert [progress.step for progress in told] == [1, 2, 3, 4, 5, 6]
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_stop_between_scores_writes_a_state_and_changes_nothing(tmp_path):
    told: list[Progress] = []
    run(a_method("nlcl", tmp_path), tmp_path / "whole")
    asked = iter([False, False, False, True])
    run(a_method("nlcl", tmp_path), tmp_path / "parts", stop=lambda: next(asked), on_step=told.append)
    assert [progress.scores is not None for progress in told] == [False, False, True, True]
    assert load_tensors(newest(tmp_path / "parts"))[1]["step"] == 4
    run(scrambled(a_method("nlcl", tmp_path)), tmp_path / "parts")
    (tensors, _), (expected, _) = (load_tensors(newest(tmp_path / name)) for name in ("parts", "whole"))
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in tensors.items())
    # the score at the stop is one more than an unbroken run takes, so the best may be another


def test_tied_scores_are_not_called_best(tmp_path):
    told: list[Progress] = []

    class Level(Line):
        def scores(self, model):
            return {"score": 1.0, "input": 0.0}

    train(Level(), numbers(3), config(3, checkpoint_every=1), tmp_path, on_step=told.append)
    assert [progress.best for progress in told] == [True, False, False]
    assert load_tensors(tmp_path / BEST)[1]["steps"] == 1


def test_a_finished_run_does_nothing_more(tmp_path):
    out = tmp_path / "out"
    best = run(a_method("stream", tmp_path), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    told: list[Progress] = []
    assert run(a_method("stream", tmp_path), out, on_step=told.append) == best
    assert not told
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("name", training.TINY)
@pytest.mark.parametrize("at", [2, 4])
def test_resume_after_a_kill_equals_no_pause(tmp_path, name, at):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert elsewhere(name, tmp_path, killed, die_at=at) == -signal.SIGKILL
    assert bool(state.found(killed)) == (at > training.LOOP["train.checkpoint_every"])
    assert elsewhere(name, tmp_path, killed) == elsewhere(name, tmp_path, whole) == 0
    assert_same_run(killed, whole)


def elsewhere(*arguments, **options):
    """Train in a process of its own, as a user does: what a process did before may change the last bit of a sum."""
    return subprocess.run(training.script(*arguments, **options), env=training.python_path()).returncode


@pytest.mark.slow
def test_kills_at_any_moment_equal_no_pause(tmp_path):
    name, changes = "nlcl", {"train.steps": 40, "train.checkpoint_every": 1}  # so most kills come while it writes
    rng, out = np.random.default_rng(0), tmp_path / "killed"
    rounds = 0
    while not state.found(out) or load_tensors(newest(out))[1]["step"] < 40:
        begun = state.found(out)
        process = subprocess.Popen(training.script(name, tmp_path, out, **changes), env=training.python_path())
        while process.poll() is None and state.found(out) == begun:
            time.sleep(0.01)
        try:
            process.wait(float(rng.uniform(0, 0.5)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        rounds += 1
    assert rounds > 2
    assert elsewhere(name, tmp_path, tmp_path / "whole", **changes) == 0
    assert_same_run(out, tmp_path / "whole")


def test_the_last_three_states_are_kept(tmp_path):
    train(Line(), numbers(9), config(9, checkpoint_every=2), tmp_path)
    assert [path.name for path in state.found(tmp_path)] == [f"training-{n:08d}.safetensors" for n in (9, 8, 6)]
    assert {path.name for path in tmp_path.rglob("*")} == {
        "state", BEST, LAST, *(path.name for path in state.found(tmp_path))
    }


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_the_state_before_a_damaged_one_is_taken(tmp_path, damage):
    train(Line(), numbers(9), config(9, checkpoint_every=3), tmp_path / "whole")
    asked = iter([False] * 6 + [True])
    train(Line(), numbers(9), config(9, checkpoint_every=3), tmp_path / "out", stop=lambda: next(asked))
    last = newest(tmp_path / "out")
    damaged(last, damage)
    said: list[str] = []
    told: list[Progress] = []
    train(Line(), numbers(9), config(9, checkpoint_every=3), tmp_path / "out", say=said.append, on_step=told.append)
    assert len(said) == 1 and str(last) in said[0] and said[0].endswith("; going on from the one before")
    assert [progress.step for progress in told] == [7, 8, 9]
    assert_same_run(tmp_path / "out", tmp_path / "whole")


def damaged(path, how):
    whole = path.read_bytes()
    if how == "foreign":
        save_tensors(path, {"a": torch.zeros(1)}, {})
    else:
        path.write_bytes(whole[:-9] if how == "cut" else b"")


@pytest.mark.parametrize("how, problem", [("cut", "is not a readable"), ("foreign", "is no state of a training")])
def test_only_damaged_states_are_refused(tmp_path, how, problem):
    train(Line(), numbers(9), config(9, checkpoint_every=3), tmp_path)
    for path in state.found(tmp_path):
        damaged(path, how)
    said: list[str] = []
    with pytest.raises(CheckpointError, match=rf"training-00000003\.safetensors {problem}"):
        train(Line(), numbers(9), config(9), tmp_path, say=said.append)
    assert len(said) == 2


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_TENSORS"])
def test_a_state_may_be_larger_than_a_derainer(tmp_path, monkeypatch, bound):
    train(Line(), numbers(2), config(2), tmp_path)
    monkeypatch.setattr(checkpoint, bound, 1)
    assert state.load_newest(tmp_path, pytest.fail).step == 2
    with pytest.raises(CheckpointError, match="no derainer of ours"):
        load_tensors(newest(tmp_path))


def test_the_state_of_other_networks_is_refused(tmp_path):
    run(a_method("nlcl", tmp_path), tmp_path / "out")
    with pytest.raises(CheckpointError, match="the state is of other networks"):
        run(a_method("nlcl", tmp_path, **{"network.channels": 6}), tmp_path / "out")


def test_only_the_loop_moves_anything():
    callers = re.compile(r"\.(zero_grad|backward|step)\(")
    found = {
        str(path.relative_to(ROOT))
        for folder in ("core", "trainers") for path in (ROOT / folder).glob("*.py") if callers.search(path.read_text())
    }
    assert found == {str(Path("trainers") / "loop.py")}


@pytest.mark.parametrize("name", training.TINY)
def test_same_seed_same_weights(tmp_path, name):
    one, same, other = (a_method(name, tmp_path, **{"train.seed": seed}).networks for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
