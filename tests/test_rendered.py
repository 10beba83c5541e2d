"""Clips on disk, and the stream generator's samples: each depends on its number alone."""
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import training
from numpy.testing import assert_array_equal
from training import clips

from streamderain.trainers import clips as storage
from streamderain.trainers import motion
from streamderain.trainers.clips import Clip, read_clips, write_clips
from streamderain.trainers.rendered import CASES, RenderedConfig, RenderedRain

RENDERED = RenderedConfig(crop_size=32, frames=4, search_radius=5, compressed=0)  # so that input less rain is the scene


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


def only(case):
    return replace(RENDERED, case_shares=tuple(float(name == case) for name in CASES))


# --- clips ---
def test_clips_come_back_mapped_from_disk(tmp_path):
    written = clips(5)
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
    one, other = RenderedRain(clips(), RENDERED, seed=0), RenderedRain(clips(), RENDERED, seed=0)
    forwards, backwards = [one[n] for n in range(5)], [other[n] for n in reversed(range(5))][::-1]
    for left, right in zip(forwards, backwards, strict=True):
        for name, value in left.items():
            assert torch.equal(value, right[name])
    assert not torch.equal(one[0]["input"], one[1]["input"])
    assert not torch.equal(one[0]["input"], RenderedRain(clips(), RENDERED, seed=1)[0]["input"])


def test_an_epoch_is_as_long_as_there_are_usable_clips():
    small = Clip("small", np.zeros((1, 31, 40, 3), np.uint8))
    assert RenderedRain([*clips(), small], RENDERED, seed=0).epoch_length == 12


@pytest.mark.parametrize("kind", ["photos", "videos", "both"])
def test_samples_have_the_shape_and_range_that_the_network_sees(kind):
    kept = {"photos": 1, "videos": 6}.get(kind)
    samples = RenderedRain([clip for clip in clips() if kept in (None, len(clip.frames))], RENDERED, seed=2)
    for n in range(6):
        sample = samples[n]
        assert (sample["input"].shape, sample["input"].dtype) == ((4, 12, 32, 32), torch.float32)
        assert (sample["rain"].shape, sample["rain"].dtype) == ((4, 3, 32, 32), torch.float32)
        assert (sample["before"].shape, sample["before"].dtype) == ((4, 32, 32), torch.int64)
        assert 0 <= sample["input"][:, :3].min() <= sample["input"][:, :3].max() <= 1
        background = sample["input"][:, :3] - sample["rain"]
        assert -0.003 < background.min() <= background.max() < 1.003  # the input is rounded to 1/255


def test_rain_free_samples_have_exactly_no_rain():
    free, rainy = (RenderedRain(clips(), replace(RENDERED, rain_free=share), seed=3) for share in (1.0, 0.0))
    assert not any(free[n]["rain"].any() for n in range(8))
    assert sum(bool(rainy[n]["rain"].any()) for n in range(8)) >= 7


@pytest.mark.parametrize("case, filled", [("file", [1, 2, 2, 2]), ("live", [0, 2, 2, 2]), ("photo", [0, 0, 0, 0])])
def test_cases_fill_their_slots(case, filled):
    sample = RenderedRain(clips(), only(case), seed=4)[0]
    assert CASES[int(sample["case"])] == case
    for frame, count in zip(sample["input"], filled, strict=True):
        for slot in range(2):
            difference, cost = frame[3 + 4 * slot : 6 + 4 * slot], frame[6 + 4 * slot]
            assert bool((cost == 1).all()) == (slot >= count)
            assert bool(difference.any()) == (slot < count)


@pytest.mark.parametrize("case", CASES)
def test_before_says_what_the_first_companion_shows(case):
    for n in range(4):
        sample = RenderedRain(clips(), only(case), seed=7)[n]
        frames, before = sample["input"], sample["before"]
        assert bool((before[0] == -1).all()) and bool((before[1:] >= 0).all()) == (case != "photo")
        for t in range(1, 4 if case != "photo" else 0):
            shown = frames[t - 1, :3].flatten(1)[:, before[t].flatten()].view(3, 32, 32)
            codes = (shown * 255).round().long().flatten(1)
            shown = sample["tones"][t].gather(1, codes).view(3, 32, 32) / 255
            assert torch.allclose(shown - frames[t, :3], frames[t, 3:6], atol=1e-6)
            assert case == "file" or torch.equal(frames[t, 3:7], frames[t, 7:11])


def test_photos_of_a_sample_are_different_scenes():
    frames = RenderedRain(clips(), replace(only("photo"), rain_free=1.0), seed=4)[0]["input"][:, :3]
    assert all(not torch.equal(one, other) for n, one in enumerate(frames) for other in frames[:n])


@pytest.mark.parametrize("speed", [0.0, 3.0])
def test_a_camera_goes_on_its_way(speed):
    places = np.indices((200, 200)).transpose(1, 2, 0)
    photo = np.concatenate([places, places[..., :1]], 2).astype(np.uint8)  # each pixel says where it is
    for seed in range(12):
        frames = motion.moved_photo(photo, 32, 5, speed, np.random.default_rng(seed), None)
        assert frames.shape == (5, 3, 32, 32)
        steps = np.diff(frames[:, :2, 16, 16] * 255, axis=0)
        longest = np.hypot(*steps.T).max()
        assert longest == 0 if speed == 0 else 0 < longest <= speed * 1.5 * 1.5 + 1  # its jerk, the zoom, whole pixels
        assert speed == 0 or (steps @ steps.sum(0) > 0).all()


def test_cameras_that_stand_are_as_many_as_asked():
    for share in (0.0, 1.0):
        config = replace(
            only("live"), rain_free=1.0, video_share=0, structures=0, passing=0, noisy=0, resampled=0, standing=share
        )
        samples = RenderedRain(clips(), config, seed=9)
        moved = [float((each[0] - each[-1]).abs().mean()) for each in (samples[n]["input"][:, :3] for n in range(8))]
        assert (max(moved) < 0.03) == (share == 1)  # some have a sensor's noise


def test_no_clip_that_is_large_enough():
    with pytest.raises(ValueError, match="no clean picture is at least 64 pixels"):
        RenderedRain(clips(), replace(RENDERED, crop_size=64), seed=0)
