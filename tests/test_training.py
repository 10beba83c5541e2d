"""Making weights: samples that depend on their number alone, and a loop whose resume equals no pause."""
import math
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn

from streamderain.core import stream as networks
from streamderain.core.checkpoint import CheckpointError, load_generator, load_tensors, save_tensors
from streamderain.core.stream import StreamConfig
from streamderain.trainers import clips as storage
from streamderain.trainers import loop, stream
from streamderain.trainers.clips import Clip, read_clips, write_clips
from streamderain.trainers.loop import STATE, LoopConfig, learning_rate, train
from streamderain.trainers.rendered import CASES, RenderedConfig, RenderedRain
from streamderain.trainers.stream import StreamTraining, StreamTrainingConfig

ROOT = Path(__file__).resolve().parent.parent
SMALL = StreamConfig(widths=(4, 4, 4), blocks=(0, 0, 0, 0, 0))
RENDERED = RenderedConfig(crop_size=32, search_radius=5)
LOOP = LoopConfig(steps=6, batch=2, lr=1e-2, warmup=2, checkpoint_every=3, bf16=False)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def some_clips(count=12):
    """Photos, and a video in the place of every fourth."""
    rng = np.random.default_rng(0)
    out = []
    for n in range(count):
        coarse = rng.integers(0, 200, (1 if n % 4 else 6, 6, 7, 3), dtype=np.uint8)
        out.append(Clip(f"clip {n}", coarse.repeat(8, axis=1).repeat(8, axis=2)))
    return out


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(networks.PROFILES, "tiny", SMALL)
    monkeypatch.setattr(stream, "VALIDATION_SAMPLES", 3)


def a_method(seed=0, **changes):
    return StreamTraining(StreamTrainingConfig(profile="tiny", **changes), some_clips(), RENDERED, seed=seed)


def the_samples(config=LOOP):
    return RenderedRain(some_clips(), RENDERED, seed=config.seed, length=config.steps * config.batch)


def only(case):
    return replace(RENDERED, case_shares=tuple(float(name == case) for name in CASES))


# --- clips ---
def test_clips_come_back_mapped_from_disk(tmp_path):
    written = some_clips(5)
    assert write_clips(tmp_path / "shots", ((clip.name, clip.frames) for clip in written)) == 5
    found = read_clips(tmp_path / "shots")
    for one, other in zip(written, found, strict=True):
        assert other.name == one.name
        assert isinstance(other.frames, np.memmap)
        assert_array_equal(other.frames, one.frames)
        with pytest.raises(ValueError, match="read-only"):
            other.frames[0] = 0


def test_clips_travel_to_a_worker_by_path(tmp_path):
    write_clips(tmp_path, [("large", np.full((3, 64, 64, 3), 7, np.uint8))])
    (clip,) = read_clips(tmp_path)
    parcel = pickle.dumps(clip)
    assert len(parcel) < 1000
    arrived = pickle.loads(parcel)
    assert isinstance(arrived.frames, np.memmap)
    assert_array_equal(arrived.frames, clip.frames)
    loose = Clip("in memory", np.zeros((1, 2, 2, 3), np.uint8))
    assert_array_equal(pickle.loads(pickle.dumps(loose)).frames, loose.frames)


def test_an_unfinished_folder_is_refused(tmp_path):
    def failing():
        yield "one", np.zeros((1, 4, 4, 3), np.uint8)
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        write_clips(tmp_path, failing())
    assert list(tmp_path.glob("*.npy"))
    with pytest.raises(FileNotFoundError, match=storage.INDEX):
        read_clips(tmp_path)


# --- samples ---
def test_a_sample_depends_on_the_seed_and_its_number_alone():
    one, longer = the_samples(), RenderedRain(some_clips(), RENDERED, seed=0, length=1000)
    assert (len(one), len(longer)) == (12, 1000)
    forwards, backwards = [one[n] for n in range(5)], [longer[n] for n in reversed(range(5))][::-1]
    for left, right in zip(forwards, backwards, strict=True):
        for name, value in left.items():
            assert torch.equal(value, right[name])
    assert not torch.equal(one[0]["input"], one[1]["input"])
    assert not torch.equal(one[0]["input"], RenderedRain(some_clips(), RENDERED, seed=1, length=9)[0]["input"])


@pytest.mark.parametrize("kind", ["photos", "videos", "both"])
def test_samples_have_the_shape_and_range_that_the_network_sees(kind):
    kept = {"photos": 1, "videos": 6}.get(kind)
    clips = [clip for clip in some_clips() if kept in (None, len(clip.frames))]
    samples = RenderedRain(clips, RENDERED, seed=2, length=6)
    for n in range(6):
        sample = samples[n]
        assert (sample["input"].shape, sample["input"].dtype) == ((11, 32, 32), torch.float32)
        assert (sample["rain"].shape, sample["rain"].dtype) == ((3, 32, 32), torch.float32)
        assert 0 <= sample["input"][:3].min() <= sample["input"][:3].max() <= 1
        background = sample["input"][:3] - sample["rain"]
        assert -0.003 < background.min() <= background.max() < 1.003  # the input is rounded to 1/255


def test_rain_free_samples_have_exactly_no_rain():
    free, rainy = (
        RenderedRain(some_clips(), replace(RENDERED, rain_free=share), seed=3, length=8) for share in (1.0, 0.0)
    )
    assert not any(free[n]["rain"].any() for n in range(8))
    assert sum(bool(rainy[n]["rain"].any()) for n in range(8)) >= 7


@pytest.mark.parametrize("case, filled", [("file", 2), ("live", 2), ("one", 1), ("empty", 0)])
def test_cases_fill_their_slots(case, filled):
    sample = RenderedRain(some_clips(), only(case), seed=4, length=1)[0]
    assert CASES[int(sample["case"])] == case
    for slot in range(2):
        difference, cost = sample["input"][3 + 4 * slot : 6 + 4 * slot], sample["input"][6 + 4 * slot]
        assert bool((cost == 1).all()) == (slot >= filled)
        assert bool(difference.any()) == (slot < filled)


def test_no_clip_that_is_large_enough():
    with pytest.raises(ValueError, match="no clean picture is at least 64 pixels"):
        RenderedRain(some_clips(), replace(RENDERED, crop_size=64), seed=0, length=1)


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"crop_size": 24}, "crop_size is 24"),
        ({"crop_size": 36}, "crop_size is 36"),
        ({"case_shares": (0.5, 0.5)}, "it must be 4 shares"),
        ({"case_shares": (0.5, 0.5, 0.5, 0.5, 0.5)}, "that add up to 1"),
    ],
)
def test_bad_sample_configs(change, problem):
    with pytest.raises(ValueError, match=problem):
        replace(RENDERED, **change)


# --- the method ---
def test_validation_never_sees_training_clips():
    method = a_method()
    apart = {clip.name for clip in method.validation.photos + method.validation.videos}
    seen = {clip.name for clip in method.clips}
    assert apart == {"clip 0", "clip 10"}
    assert seen == {clip.name for clip in some_clips()} - apart


def test_losses_of_a_network_that_sees_no_rain():
    method = a_method(squared_steps=5, edges=0.5)
    rain = torch.rand(2, 3, 16, 16)
    batch = {"input": torch.rand(2, 11, 16, 16), "rain": rain}
    assert method.losses(batch, 4)["squared"].item() == pytest.approx(10 * rain.square().mean().item())
    late = method.losses(batch, 5)
    assert late["charbonnier"].item() == pytest.approx((rain.square() + 1e-6).sqrt().mean().item())
    slopes = (rain[..., 1:, :] - rain[..., :-1, :]).abs().mean() + (rain[..., 1:] - rain[..., :-1]).abs().mean()
    assert late["edges"].item() == pytest.approx(0.5 * slopes.item(), rel=1e-5)


def test_score_is_the_psnr_of_the_background():
    method = a_method()
    rains = (torch.full((3, 16, 16), 0.1), torch.zeros(3, 16, 16))
    method.validation = [{"input": torch.rand(11, 16, 16), "rain": rain} for rain in rains]
    assert method.score(method.model) == pytest.approx((20 + 60) / 2, abs=1e-4)  # a perfect answer counts 60


def test_same_seed_same_network():
    one, same, other = (a_method(seed).model.head.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_unknown_profile():
    with pytest.raises(ValueError, match="no profile 'huge'"):
        StreamTraining(StreamTrainingConfig(profile="huge"), some_clips(), RENDERED, seed=0)


# --- the loop ---
def tensors_of(folder, name=STATE):
    return load_tensors(folder / name)


def assert_same_run(one, other):
    for name in (STATE, "last.safetensors", "best.safetensors"):
        (tensors, metadata), (expected, expected_metadata) = tensors_of(one, name), tensors_of(other, name)
        assert metadata == expected_metadata
        assert tensors.keys() == expected.keys()
        for key, value in tensors.items():
            assert torch.equal(value, expected[key]), (name, key)


def test_training_lowers_the_loss(tmp_path):
    config = replace(LOOP, steps=25, lr=3e-2, checkpoint_every=25)
    method = a_method()
    fixed = [the_samples()[n] for n in range(LOOP.batch)]
    batch = {name: torch.stack([sample[name] for sample in fixed]) for name in fixed[0]}
    with torch.no_grad():
        before = method.losses(batch, 0)["squared"].item()
    seen: list[loop.Progress] = []
    best = train(method, fixed * 25, config, tmp_path, on_step=seen.append)
    with torch.no_grad():
        after = method.losses(batch, 0)["squared"].item()
    assert after < 0.95 * before  # a network that sees no rain at all stays where it began
    assert [progress.step for progress in seen] == list(range(1, 26))
    assert [progress.score is None for progress in seen] == [True] * 24 + [False]
    assert best == seen[-1].score


def test_what_is_written_is_a_generator_with_its_card(tmp_path):
    best = train(a_method(), the_samples(), LOOP, tmp_path)
    model, metadata = load_generator(tmp_path / "best.safetensors")
    assert model.config == SMALL
    assert metadata["profile"] == "tiny"
    assert metadata["card"]["method"] == "stream"
    assert metadata["card"]["score"] == round(best, 3)
    assert load_generator(tmp_path / "last.safetensors")[1]["card"]["steps"] == 6


@pytest.mark.parametrize("bf16", [False, True])
def test_resume_equals_no_pause(tmp_path, bf16):
    config = replace(LOOP, bf16=bf16)
    train(a_method(), the_samples(), config, tmp_path / "whole")
    steps: list[loop.Progress] = []
    asked = iter([False, False, True])
    train(a_method(), the_samples(), config, tmp_path / "parts", stop=lambda: next(asked), on_step=steps.append)
    assert tensors_of(tmp_path / "parts")[1]["step"] == 3
    train(a_method(seed=5), the_samples(), config, tmp_path / "parts", on_step=steps.append)
    assert [progress.step for progress in steps] == [1, 2, 3, 4, 5, 6]
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_finished_run_does_nothing_more(tmp_path):
    best = train(a_method(), the_samples(), LOOP, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    steps: list[loop.Progress] = []
    assert train(a_method(), the_samples(), LOOP, tmp_path, on_step=steps.append) == best
    assert not steps
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def die(out, at):
    """What a killed training process does: SIGKILL itself right after a step."""
    networks.PROFILES["tiny"] = SMALL
    stream.VALIDATION_SAMPLES = 3

    def on_step(progress):
        if progress.step == at:
            os.kill(os.getpid(), signal.SIGKILL)

    train(a_method(), the_samples(), LOOP, Path(out), on_step=on_step)


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 4])
def test_resume_after_a_kill_equals_no_pause(tmp_path, at):
    script = f"import test_training; test_training.die({str(tmp_path / 'killed')!r}, {at})"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / STATE).exists() == (at > LOOP.checkpoint_every)
    train(a_method(), the_samples(), LOOP, tmp_path / "killed")
    train(a_method(), the_samples(), LOOP, tmp_path / "whole")
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_a_worker_makes_the_same_samples(tmp_path):
    write_clips(tmp_path, ((clip.name, clip.frames) for clip in some_clips()))
    samples = RenderedRain(read_clips(tmp_path), RENDERED, seed=0, length=LOOP.steps * LOOP.batch)
    alone, spawned = (list(loop._batches(samples, replace(LOOP, workers=n), 2)) for n in (0, 1))
    assert len(alone) == len(spawned) == 4
    for one, other in zip(alone, spawned, strict=True):
        for name, value in one.items():
            assert torch.equal(value, other[name])
    assert torch.equal(alone[0]["input"][1], samples[5]["input"])  # sample step * batch + i is the i-th of a step


class Line:
    """A method of one number, whose gradient is known."""

    def __init__(self, slope=1.0):
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.slope = slope

    def losses(self, batch, step):
        return {"line": -self.slope * self.model.weight.sum(), "nothing": torch.zeros(())}

    def score(self, model):
        return float(model.weight.detach())

    def save(self, path, model, card):
        save_tensors(path, dict(model.state_dict()), card)


def numbers(count):
    return [{"x": torch.tensor(float(n))} for n in range(count)]


def test_the_average_follows_its_closed_form(tmp_path):
    config = LoopConfig(steps=5, batch=1, lr=0.1, warmup=0, ema=0.25, weight_decay=0.0, bf16=False)
    method, weights = Line(), [0.0]
    best = train(method, numbers(5), config, tmp_path, on_step=lambda _: weights.append(method.model.weight.item()))
    average = 0.0
    for step, weight in enumerate(weights[1:], 1):
        decay = min(0.25, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert best == pytest.approx(average, rel=1e-5)
    rates = [learning_rate(step, config) for step in range(5)]
    assert np.diff(weights) == pytest.approx(rates, rel=1e-4)  # Adam's step under a constant gradient is its rate
    assert load_tensors(tmp_path / "last.safetensors")[0]["weight"].item() == pytest.approx(average, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match="the loss is nan at step 0; lower the learning rate"):
        train(Line(slope=float("nan")), numbers(4), replace(LOOP, batch=1), tmp_path)
    assert not (tmp_path / STATE).exists()


def test_the_best_weights_stay(tmp_path):
    class Scored(Line):
        scores = iter([3.0, 5.0, 4.0])

        def score(self, model):
            return next(self.scores)

    config = replace(LOOP, steps=3, batch=1, checkpoint_every=1)
    assert train(Scored(), numbers(3), config, tmp_path) == 5.0
    assert load_tensors(tmp_path / "best.safetensors")[1]["steps"] == 2
    assert load_tensors(tmp_path / "last.safetensors")[1]["steps"] == 3


def test_learning_rate_rises_and_falls():
    config = LoopConfig(steps=110, lr=0.5, warmup=10)
    assert [learning_rate(step, config) for step in (0, 4, 9)] == pytest.approx([0.05, 0.25, 0.5])
    assert learning_rate(10, config) == 0.5
    assert learning_rate(60, config) == pytest.approx(0.5 * (0.01 + 0.99 / 2))
    assert learning_rate(35, config) == pytest.approx(0.5 * (0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2))
    assert [learning_rate(step, config) for step in (110, 500)] == pytest.approx([0.005, 0.005])


@pytest.mark.parametrize("name, value", [("steps", 0), ("batch", 0), ("checkpoint_every", 0), ("workers", -1)])
def test_bad_loop_configs(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be"):
        replace(LOOP, **{name: value})


# --- states that cannot be continued ---
def test_the_state_of_another_network_is_refused(tmp_path, monkeypatch):
    train(a_method(), the_samples(), LOOP, tmp_path)
    monkeypatch.setitem(networks.PROFILES, "tiny", replace(SMALL, widths=(4, 4, 8)))
    with pytest.raises(CheckpointError, match=r"training\.safetensors is the state of another network"):
        train(a_method(), the_samples(), LOOP, tmp_path)


def test_a_damaged_state_is_refused(tmp_path):
    train(a_method(), the_samples(), LOOP, tmp_path)
    whole = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(whole[:-9])
    with pytest.raises(CheckpointError, match=r"training\.safetensors is not a readable"):
        train(a_method(), the_samples(), LOOP, tmp_path)
    save_tensors(tmp_path / STATE, {"a": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match=r"training\.safetensors is no state of a training run"):
        train(a_method(), the_samples(), LOOP, tmp_path)
