"""What is done to the scenes of training: thin structures, a coarse sensor, compression, light."""
import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from streamderain.trainers import camera, rendered, scenery, structures

KINDS = [structures._wires, structures._railing, structures._posts, structures._grass, structures._text,
         structures._boards, structures._mesh, structures._cloth]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_structure_is_thin_and_seeded(kind):
    shares = []
    for seed in range(12):
        masks = np.zeros((2, 128, 160), np.uint8)
        for mask in masks:
            kind(mask, np.random.default_rng(seed))
        assert_array_equal(masks[0], masks[1])
        core = cv2.erode(masks[0], np.ones((13, 13), np.uint8))
        assert (core > 0).mean() < 0.1  # hardly anything is thicker than a post
        shares.append((masks[0] > 0).mean())
    assert max(shares) > 0.02
    assert np.mean(shares) < 0.6


def test_structures_are_drawn_into_a_copy_and_go_both_ways(monkeypatch):
    monkeypatch.setattr(structures, "RODS", 0)  # they are bright and dark at once
    grey = np.full((128, 128, 3), 110, np.uint8)
    lighter = darker = 0
    count = 120
    for seed in range(count):
        drawn = structures.draw(grey, np.random.default_rng(seed))
        assert (drawn.shape, drawn.dtype) == (grey.shape, np.uint8)
        lighter, darker = lighter + (drawn.max() > 120), darker + (drawn.max(axis=2).min() < 100)
    assert (grey == 110).all()
    assert lighter > 2 * darker > 0.4 * count  # rain is bright, so bright things are what must be told from it


def test_two_of_five_things_are_coloured():
    rng = np.random.default_rng(0)
    tints = np.array([structures._tint(rng) for _ in range(4000)])
    grey = tints.min(axis=1) >= 0.85
    assert abs(1 - grey.mean() - structures.COLOURED) < 0.03
    assert np.ptp(tints[~grey], axis=1).mean() > 0.25


def test_rods_shine_along_a_body():
    grey, shares = np.full((128, 160, 3), 90, np.uint8), []
    for seed in range(12):
        drawn, again = (structures._rods(grey, np.random.default_rng(seed)) for _ in range(2))
        assert_array_equal(drawn, again)
        changed = (np.abs(drawn.astype(int) - 90).max(axis=2) > 3).astype(np.uint8)
        assert cv2.erode(changed, np.ones((21, 21), np.uint8)).mean() < 0.02  # nothing is much thicker than a pole
        shares.append((changed.mean(), (drawn > 150).mean(), (drawn < 70).mean()))
    drawn, lit, dark = np.mean(shares, axis=0)
    assert 0.02 < drawn < 0.3 and 0 < lit < drawn and 0 < dark < drawn


def passed(frames, seed):
    return structures.passing(frames, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(6))
def test_what_passes_covers_a_scene_as_it_covers_any(seed):
    frames = np.random.default_rng(0).uniform(0, 1, (3, 3, 120, 120)).astype(np.float32)
    kept = frames.copy()
    black, white = (passed(np.full_like(frames, ground), seed) for ground in (0, 1))
    through = (white - black).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(passed(frames, seed), frames * through + black, atol=0.02)
    assert_array_equal(passed(frames, seed), passed(frames, seed))
    assert_array_equal(frames, kept)


def test_it_passes_by_as_many_pixels_a_frame(monkeypatch):
    monkeypatch.setattr(structures, "SPEEDS", (5, 5))
    monkeypatch.setattr(structures, "_one", structures._rods)  # one of many meshes looks like the next
    window, speeds = np.hanning(120)[:, None] * np.hanning(120), []
    for seed in range(12):
        cover = 1 - passed(np.ones((3, 3, 120, 120), np.float32), seed).mean(axis=1).astype(np.float64)
        if cover[:2].std() > 0.03:  # else it passes outside the picture
            speeds.append(np.hypot(*cv2.phaseCorrelate(cover[0], cover[1], window)[0]))
    assert len(speeds) > 4 and 4 < np.median(speeds) < 6


def test_one_photo_makes_scenes_that_are_turned_reduced_and_grey():
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    scenes = [scenery.vary(photo, 40, np.random.default_rng(seed)) for seed in range(300)]
    shares = np.mean([
        (scene.shape[0] > scene.shape[1], 90 not in scene.shape, (scene[:, :, 0] == scene[:, :, 2]).all())
        for scene in scenes
    ], axis=0)  # fmt: skip
    np.testing.assert_allclose(shares, (scenery.TURNED, scenery.REDUCED, scenery.GREY), atol=0.08)
    assert min(min(scene.shape[:2]) for scene in scenes) >= 40
    assert all(scene.dtype == np.uint8 for scene in scenes)
    assert any(scene is photo for scene in scenes)
    assert_array_equal(scenes[3], scenery.vary(photo, 40, np.random.default_rng(3)))


def test_noise_is_the_scenes_and_new_in_every_frame():
    clean = np.full((2, 3, 48, 64), 0.4, np.float32)
    layer = np.zeros_like(clean)
    layer[:, :, :, 9] = 0.3
    grainy, rainy = camera.noisy((clean, clean + layer), np.random.default_rng(3))
    np.testing.assert_allclose(rainy - grainy, layer, atol=1e-6)
    noise = grainy - clean
    assert camera.NOISES[0] * 0.9 < noise.std() < camera.NOISES[1] * 1.2 and abs(noise.mean()) < 0.1 * noise.std()
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05
    assert np.corrcoef(noise[0, 0].ravel(), noise[0, 1].ravel())[0, 1] > 0.7


def test_half_of_the_noise_is_soft_and_as_strong():
    clean = np.full((2, 3, 48, 64), 0.5, np.float32)
    drawn = [camera.noisy((clean,), np.random.default_rng(seed))[0] - clean for seed in range(60)]
    alike = np.array([np.corrcoef(noise[..., 1:].ravel(), noise[..., :-1].ravel())[0, 1] for noise in drawn])
    assert 0.3 < np.mean(alike > 0.05) < 0.6 and alike.max() > 0.4  # a Gaussian of 0.3 pixels hardly softens
    strength = np.array([noise.std() for noise in drawn])
    assert abs(np.log(strength[alike > 0.05].mean() / strength[alike <= 0.05].mean())) < 0.6


def test_sharpening_keeps_flat_ground_and_darkens_beside_a_streak():
    clean = np.full((2, 3, 24, 32), 0.4, np.float32)
    rainy = clean.copy()
    rainy[:, :, :, 9] += 0.2
    after = camera.sharpened((clean, rainy), np.random.default_rng(3))
    np.testing.assert_allclose(after[0], clean, atol=1e-6)
    line = (after[1] - after[0])[0, 1, 12]
    assert line[9] > 0.23 and line[8] < -0.005 and line[10] < -0.005 and abs(line[20]) < 1e-6
    assert after[1].shape == rainy.shape and after[1].dtype == np.float32


def test_a_coarse_sensor_keeps_differences_and_loses_detail():
    rng = np.random.default_rng(0)
    clean = rng.uniform(0.2, 0.6, (2, 3, 32, 40)).astype(np.float32)
    layer = np.zeros_like(clean)
    layer[:, :, :, 9] = 0.3
    small_clean, small_rainy = camera.resampled((clean, clean + layer), np.random.default_rng(1))
    (small_layer,) = camera.resampled((layer,), np.random.default_rng(1))
    assert small_rainy.shape == clean.shape and small_rainy.dtype == np.float32
    assert small_rainy.std() < 0.9 * (clean + layer).std()
    # cubic enlargement rings, and is cut at 0 where there is nothing to ring around
    assert np.abs(small_rainy - small_clean - small_layer).mean() < 0.005


def test_compression_is_that_of_a_jpeg_and_of_one_quality_for_all_frames():
    frame = np.random.default_rng(0).integers(0, 256, (3, 32, 40), np.uint8)
    back = camera.compressed(np.stack([frame, frame]), np.random.default_rng(2))
    assert (back.shape, back.dtype) == ((2, 3, 32, 40), np.uint8)
    assert_array_equal(back[0], back[1])
    assert 1 < np.abs(back[0].astype(int) - frame).mean() < 80
    even = np.full((1, 3, 16, 16), 90, np.uint8)
    even[:, 0] = 30
    close = camera.compressed(even, np.random.default_rng(2))
    assert np.abs(close.astype(int) - even).max() <= 4  # red stays red


def test_drops_are_lit_where_the_scene_is_bright():
    clean = np.zeros((1, 3, 120, 120), np.float32)
    clean[:, :, 50:70, 10:30] = 0.8
    glow = rendered._glow(clean)
    assert glow.shape == (1, 120, 120)
    assert glow.max() == 1
    assert glow[0, 60, 20] > 0.9 > 0.01 > glow[0, 60, 110]


def test_no_drop_is_lit_by_less_than_nothing():
    """Of so uneven a picture the blur over black was -3e-17, of which a root was drawn."""
    rng = np.random.default_rng(0)
    clean = rng.random((192, 192)) ** rng.uniform(1, 30) * np.exp(4 * rng.normal(size=(192, 192))) / 100
    clean[60:140, 40:150] = 0
    clean = np.broadcast_to(np.minimum(clean, 1).astype(np.float32), (1, 3, 192, 192))
    assert rendered._glow(clean).min() >= 0
