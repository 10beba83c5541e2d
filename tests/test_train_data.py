"""What the published methods see: crops of unpaired pictures, of pairs and of drawn rain; and their scores."""
from collections import Counter

import numpy as np
import pytest
import torch
import training
from numpy.testing import assert_array_equal
from torch import nn
from training import clips, pairs

from streamderain.trainers import validation
from streamderain.trainers.clips import Clip
from streamderain.trainers.pictures import DataConfig, Pictures, apart, rained
from streamderain.trainers.validation import Validation, psnr

UNIT = {"range": (0, 1), "crop_size": 32}
PAIRINGS = ("unpaired", "paired", "rendered")


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


def pictures(pairing="unpaired", *, seed=0, sides=None, **changes):
    config = DataConfig(pairing=pairing, **UNIT | changes)
    given = {"unpaired": (clips(seed=7), clips()), "paired": (pairs(), []), "rendered": ([], clips())}[pairing]
    return Pictures(*(sides or given), config, seed=seed)


def numbered(count, size=(32, 32)):
    """Photos of one colour, each its number."""
    return [Clip(str(n), np.full((1, *size, 3), n, np.uint8)) for n in range(count)]


def whole(clip, frame=0):
    """A frame as (3, H, W) of 0..1."""
    return torch.from_numpy(clip.frames[frame].transpose(2, 0, 1).copy()).float() / 255


def is_window(crop, picture):
    """Whether a crop stands somewhere in a picture."""
    H, W = crop.shape[1:]
    windows = picture.unfold(1, H, 1).unfold(2, W, 1)  # (3, y, x, H, W)
    return bool((windows == crop[:, None, None]).all(-1).all(-1).all(0).any())


# --- all kinds ---
@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("preprocess", ["crop", "grid", "resize_crop"])
def test_shapes_and_range(pairing, preprocess):
    samples = pictures(pairing, preprocess=preprocess, load_size=40, grid_stride=8)
    for n in range(6):
        sample = samples[n]
        assert sample.keys() == {"rainy", "clean", "seed"}
        assert (sample["seed"].dtype, sample["seed"].shape) == (torch.int64, ())
        for name in ("rainy", "clean"):
            assert (sample[name].shape, sample[name].dtype) == ((3, 32, 32), torch.float32)
            assert 0 <= sample[name].min() <= sample[name].max() <= 1


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_the_range_is_only_a_scale(pairing):
    for n in range(3):
        unit, signed = pictures(pairing)[n], pictures(pairing, range=(-1, 1))[n]
        for name in ("rainy", "clean"):
            assert torch.equal(unit[name] * 2 - 1, signed[name])


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("changes", [{}, {"preprocess": "grid", "grid_stride": 8, "flip": True}])
def test_a_sample_depends_on_the_seed_and_its_number_alone(pairing, changes):
    one, other = pictures(pairing, **changes), pictures(pairing, **changes)
    forwards, backwards = [one[n] for n in range(8)], [other[n] for n in reversed(range(8))][::-1]
    for left, right in zip(forwards, backwards, strict=True):
        assert all(torch.equal(value, right[name]) for name, value in left.items())
    reseeded = [pictures(pairing, seed=1, **changes)[n] for n in range(8)]
    assert not all(torch.equal(a["rainy"], b["rainy"]) for a, b in zip(forwards, reseeded, strict=True))
    assert len({int(sample["seed"]) for sample in (*forwards, *reseeded)}) == 16


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_shows_each_picture_once_in_its_own_order(epoch):
    samples = pictures(sides=(numbered(7), numbered(3)))
    assert samples.epoch_length == 7
    order = [round(samples[n + 7 * epoch]["rainy"].mean().item() * 255) for n in range(7)]
    assert sorted(order) == list(range(7))
    assert order != [round(samples[n + 7 * (epoch + 1)]["rainy"].mean().item() * 255) for n in range(7)]


def test_a_longer_clean_side_makes_a_longer_epoch():
    assert pictures(sides=(numbered(3), numbered(8))).epoch_length == 8


def test_unpaired_crops_come_from_their_own_sides():
    rainy, clean = clips(seed=7), clips()
    samples = pictures()
    for n in range(2):
        for name, side in (("rainy", rainy), ("clean", clean)):
            frames = [(clip, t) for clip in side for t in range(len(clip.frames))]
            assert sum(is_window(samples[n][name], whole(clip, t)) for clip, t in frames) == 1


def test_pairs_stay_aligned_also_when_mirrored():
    samples, mirrored = pictures("paired"), pictures("paired", flip=True)
    turned = 0
    for n in range(12):
        plain, sample = samples[n], mirrored[n]
        assert torch.allclose(plain["rainy"] - plain["clean"], torch.tensor(20 / 255))  # as the pair everywhere
        turn = not torch.equal(sample["rainy"], plain["rainy"])
        turned += turn
        for name in ("rainy", "clean"):
            assert torch.equal(sample[name], plain[name].flip(-1) if turn else plain[name])
    assert 2 <= turned <= 10


def test_unpaired_sides_are_mirrored_independently():
    samples, mirrored = pictures(), pictures(flip=True)
    turns = Counter(
        tuple(not torch.equal(samples[n][name], mirrored[n][name]) for name in ("rainy", "clean")) for n in range(40)
    )
    assert len(turns) == 4 and min(turns.values()) >= 3


# --- kinds of crops ---
def test_the_grid_shows_every_window_once():
    picture = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    samples = pictures("paired", sides=([Clip("a", picture)], []), preprocess="grid", grid_stride=16)
    places = [(y, x) for y in (0, 16) for x in (0, 16, 32)]
    assert samples.epoch_length == len(places)
    seen = [samples[n]["rainy"] for n in range(len(places))]
    for y, x in places:
        window = whole(Clip("a", picture))[:, y : y + 32, x : x + 32]
        assert sum(torch.equal(window, each) for each in seen) == 1
    assert any(torch.equal(samples[6]["rainy"], each) for each in seen)  # and again in the next epoch


def test_a_picture_smaller_than_the_crop_is_enlarged():
    samples = pictures(sides=(numbered(3, (20, 50)), numbered(3, (40, 30))))
    for n in range(3):
        assert samples[n]["rainy"].shape == samples[n]["clean"].shape == (3, 32, 32)
        assert len(samples[n]["rainy"].unique()) == 1  # one colour stays one colour


def test_a_pair_smaller_than_the_crop_is_enlarged_alike():
    low = np.random.default_rng(0).integers(0, 200, (1, 20, 24, 3), dtype=np.uint8)
    sample = pictures("paired", sides=([Clip("a", np.concatenate([low, low]))], []))[0]
    assert torch.equal(sample["rainy"], sample["clean"])


def test_resize_crop_shows_the_whole_width_at_its_size():
    picture = np.zeros((1, 64, 128, 3), np.uint8)
    picture[:, :, 64:] = 200
    samples = pictures(sides=([Clip("a", picture)], numbered(1)), preprocess="resize_crop", load_size=32)
    crop = samples[0]["rainy"]
    assert torch.equal(crop[:, :, :14], torch.zeros(3, 32, 14))  # 128 wide became 32 wide: the edge lies in the middle
    assert torch.equal(crop[:, :, 18:], torch.full((3, 32, 14), 200 / 255))


# --- drawn rain ---
def test_rendered_rain_falls_over_the_clean_picture_of_the_sample():
    samples = pictures("rendered")
    rainier = 0
    for n in range(8):
        sample = samples[n]
        assert any(is_window(sample["clean"], whole(clip, t)) for clip in clips() for t in range(len(clip.frames)))
        steps = sample["rainy"] * 255
        assert torch.allclose(steps, steps.round(), atol=1e-4)  # as a camera gives it
        rainier += bool((sample["rainy"] - sample["clean"]).mean() > 1e-3)
    assert rainier >= 4


def test_drawn_rain_depends_on_its_chance_alone():
    clean = torch.rand(3, 40, 48)
    one, same, other = (rained(clean, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == clean.shape and 0 <= one.min() <= one.max() <= 1


@pytest.mark.parametrize("share, least, most", [(0.0, 0, 0), (0.5, 8, 32), (1.0, 40, 40)])
def test_rendered_share_replaces_real_rain(share, least, most):
    real, clean = [Clip("real", np.full((1, 32, 32, 3), 250, np.uint8))], numbered(2)
    samples = pictures(sides=(real, clean), rendered_share=share)
    drawn = sum(not bool((samples[n]["rainy"] == 250 / 255).all()) for n in range(40))
    assert least <= drawn <= most


# --- errors ---
@pytest.mark.parametrize("pairing, sides", [
    ("unpaired", ([], [1])), ("unpaired", ([1], [])), ("paired", ([], [1])), ("rendered", ([1], [])),
])
def test_no_pictures(pairing, sides):
    with pytest.raises(ValueError, match="there are no pictures to train on"):
        Pictures(*sides, DataConfig(pairing=pairing, **UNIT), seed=0)


def test_no_picture_has_room_for_the_grid():
    with pytest.raises(ValueError, match="no picture is at least 40 pixels on both sides, as preprocess = grid needs"):
        pictures(sides=(numbered(2, (39, 64)), numbered(1)), preprocess="grid", crop_size=40)


# --- what is kept apart ---
@pytest.mark.parametrize("count, expected", [(10, [0]), (12, [0, 10]), (31, [0, 10, 20, 30])])
def test_every_tenth_clip_is_kept_apart(count, expected):
    seen, unseen = apart(numbered(count))
    assert [int(clip.name) for clip in unseen] == expected
    assert [int(clip.name) for clip in seen] == [n for n in range(count) if n not in expected]


def test_few_clips_serve_as_both():
    few = numbered(9)
    assert apart(few) == (few, few)


# --- scores ---
class Layer(nn.Module):
    """A derainer that takes the same amount off everywhere."""

    def __init__(self, amount=0.0):
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(amount))

    def forward(self, rgb):
        return self.amount.expand_as(rgb)


def test_scores_of_one_that_does_nothing_and_of_one_that_knows():
    scored = Validation(pairs(), DataConfig(pairing="paired", crop_size=32))
    nothing, knows = scored.scores(Layer()), scored.scores(Layer(20 / 255))
    assert nothing["score"] == nothing["input"] == pytest.approx(-20 * np.log10(20 / 255), abs=1e-3)
    assert (knows["score"], knows["input"]) == (60, pytest.approx(nothing["input"]))


@pytest.mark.parametrize("pairing", ["paired", "rendered"])
def test_every_score_is_taken_on_the_same_samples(pairing):
    material = pairs() if pairing == "paired" else clips()
    data = DataConfig(pairing=pairing, crop_size=32)
    one, other = Validation(material, data), Validation(material, data)
    assert one.scores(Layer(0.02)) == one.scores(Layer(0.02)) == other.scores(Layer(0.02))
    assert Validation(material, data, count=1).scores(Layer()) != one.scores(Layer())


def test_what_leaves_the_range_is_clamped_before_it_is_scored():
    black = [Clip("black", np.zeros((2, 32, 32, 3), np.uint8))]
    assert Validation(black, DataConfig(pairing="paired", crop_size=32)).scores(Layer(0.5))["score"] == 60


def test_validation_shares_no_sample_with_training():
    config = DataConfig(pairing="rendered", range=(0, 1), crop_size=32)
    trained = {int(Pictures([], clips(), config, seed=seed)[n]["seed"]) for seed in (0, 1) for n in range(48)}
    scored = Pictures([], clips(), config, seed=validation.SEED)
    assert not trained & {int(scored[n]["seed"]) for n in range(48)}


def test_psnr_by_hand():
    zero = torch.zeros(3, 4, 4)
    assert psnr(zero + 0.1, zero) == pytest.approx(20, abs=1e-5)
    assert psnr(zero, zero) == 60
    assert_array_equal(psnr(zero + 1, zero), 0)
