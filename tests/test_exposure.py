"""The light of frames: what it is known by, and what becomes of a neighbour in another one."""
import naive
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from streamderain.core import colour, exposure, kernels_light, matching
from streamderain.core.exposure import UNCHANGED, Light, light, tones


def picture(seed=0, size=(96, 160)):
    """Soft hills of grey with noise, (3, H, W) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / 20
    hills = np.stack([120 + 50 * np.sin(y * a + x * b) for a, b in rng.uniform(0.3, 1.2, (3, 2))])
    return np.clip(hills + rng.normal(0, 6, hills.shape), 5, 250).astype(np.uint8)


def light_of(rgb):
    guide = matching.make_guide(rgb[1])
    return light(*(torch.from_numpy(codes) for codes in (guide.padded, guide.coarse, rgb)))


def brighter(rgb, gain=1.05):
    return np.clip(np.rint(rgb * gain), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(5, 7), (96, 160), (480, 640)])
def test_counts_are_those_of_every_so_many_pixels(size):
    rgb = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    found = light_of(rgb)
    step = max(1, int((size[0] * size[1] / 2**15) ** 0.5))
    for codes, counts in zip(rgb, found.counts[1:], strict=True):
        assert_array_equal(counts.numpy(), np.bincount(codes[::step, ::step].ravel(), minlength=256))
        assert torch.equal(exposure._counted(torch.from_numpy(codes)), counts)
    assert found.counts[0].sum() > 0 and found.coarse.dtype == torch.uint8


@pytest.mark.parametrize("step", [1, 3])
def test_counts_match_naive(step):
    codes, counts = np.random.default_rng(step).integers(90, 110, (13, 17), dtype=np.uint8), np.ones(256, np.int64)
    kernels_light.count(codes, step, counts)
    assert_array_equal(counts - 1, naive.count(codes, step))


@pytest.mark.parametrize("seed", range(4))
def test_tones_match_naive(seed):
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 900, 256) * (rng.random(256) < 0.6)
    before[:20] = before[-20:] = 0
    change = int(rng.integers(3, 9)) * int(rng.choice([-1, 1]))
    wanted = np.roll(before, change) + rng.integers(0, 2, 256)
    # blocks in which the frames differ by just that change
    coarse = torch.arange(60, 200, dtype=torch.uint8).view(10, 14)
    there = Light(torch.from_numpy(np.stack([before] * 4)).int(), coarse)
    here = Light(torch.from_numpy(np.stack([wanted] * 4)).int(), coarse + change)
    expected = naive.tone(before, wanted)
    found = tones(there, here)
    assert found.dtype == torch.uint8 and found.shape == (4, 256)
    for row in found:
        assert row.tolist() == expected
    assert torch.equal(exposure._tones(there, here), found)


@pytest.mark.parametrize("gain", [0.9, 0.97, 1.03, 1.08])
def test_a_change_of_exposure_is_undone(gain):
    rgb = picture()
    there, here = rgb, brighter(rgb, gain)
    found = tones(light_of(there), light_of(here)).numpy()
    assert_array_equal(exposure._tones(light_of(there), light_of(here)).numpy(), found)
    left = np.stack([tone[codes] for tone, codes in zip(found[1:], there, strict=True)])
    was = np.abs(there.astype(int) - here).mean()
    assert np.abs(left.astype(int) - here).mean() < 0.2 * was and was > 2


def test_the_same_light_changes_nothing():
    moved = np.roll(picture(), 5, 2)
    assert_array_equal(tones(light_of(picture()), light_of(picture())).numpy(), UNCHANGED)
    assert_array_equal(tones(light_of(picture()), light_of(moved)).numpy(), UNCHANGED)


def test_what_comes_into_the_picture_is_no_light():
    there, here = picture(), picture()
    here[:, 20:80, :50] = 245  # a lorry
    for by in (tones, exposure._tones):
        assert_array_equal(by(light_of(there), light_of(here)).numpy(), UNCHANGED)


def test_a_small_picture_does_not_tell():
    there = picture(size=(60, 100))
    for by in (tones, exposure._tones):
        assert_array_equal(by(light_of(there), light_of(brighter(there))).numpy(), UNCHANGED)


def test_another_scene_is_no_light():
    dark = (picture(1) * 0.3).astype(np.uint8)
    for by in (tones, exposure._tones):
        assert_array_equal(by(light_of(dark), light_of(picture(2))).numpy(), UNCHANGED)


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (40, 33)])
def test_a_difference_is_the_truncated_sum(size):
    one, other = np.random.default_rng(1).integers(0, 256, (2, *size), dtype=np.uint8)
    tone = np.random.default_rng(2).permutation(256).astype(np.uint8)
    expected = naive.difference(one, other, tone, 40)
    assert kernels_light.difference(one, other, tone, 40) == expected
    toned = exposure.toned(torch.from_numpy(one), torch.from_numpy(tone))
    assert int(exposure._difference(toned, torch.from_numpy(other))) == expected


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (17, 23)])
def test_an_answer_is_taken_off(size):
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (3, *size), dtype=np.uint8)
    answer = rng.uniform(-0.3, 1.3, (4, *size)).astype(np.float32)
    answer[:, 0] = (2 * rng.integers(-9, 9, (4, size[1])) + 1) / np.float32(510)  # ties
    left, doubt = np.empty_like(codes), np.empty(size, np.uint8)
    kernels_light.take_off(codes, answer, left, doubt)
    for found, expected in zip((left, doubt), naive.take_off(codes, answer), strict=True):
        assert_array_equal(found, expected)
    rgb = colour.PixelFormat(family="rgb", full_range=True)
    assert_array_equal(left, np.stack(colour.subtract_rain(tuple(codes), answer[:3], rgb)))


def test_codes_go_through_a_tone():
    tone = torch.arange(255, -1, -1, dtype=torch.uint8)
    codes = torch.tensor([[0, 255], [128, 7]], dtype=torch.uint8)
    assert exposure.toned(codes, tone).tolist() == [[255, 0], [127, 248]]
