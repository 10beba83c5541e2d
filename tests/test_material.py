"""Folders of photos, sequences, videos and pairs become shots on disk, and it is said what was found."""
import numpy as np
import pytest
from clips import clip
from numpy.testing import assert_array_equal
from PIL import Image

from streamderain import material
from streamderain.errors import DerainError
from streamderain.material import Material, gather, gather_pairs, split_shots
from streamderain.trainers.clips import INDEX, read_clips


def scene(seed, size=(48, 64)):
    """A picture unlike those of other seeds."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 4, size[1] // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, 0).repeat(4, 1)


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def test_photos_become_clips_of_one_frame(tmp_path):
    pixels = [put(tmp_path / "in" / f"{n}.png", scene(n)) for n in range(3)]
    found = gather([tmp_path / "in"], tmp_path / "out")
    assert (found.photos, found.shots, found.frames, found.skipped) == (3, 0, 3, [])
    for made, expected in zip(read_clips(tmp_path / "out"), pixels, strict=True):
        assert_array_equal(made.frames, expected[None])


def test_a_sequence_of_one_scene_becomes_one_shot(tmp_path):
    for n in range(4):
        put(tmp_path / "in" / f"{n}.png", np.roll(scene(0), n, 1))
    put(tmp_path / "in" / "4.png", scene(1))
    found = gather([tmp_path / "in"], tmp_path / "out")
    assert (found.photos, found.shots, found.frames) == (1, 1, 5)
    assert [len(made.frames) for made in read_clips(tmp_path / "out")] == [4, 1]


def test_several_folders_and_all_below_them(tmp_path):
    put(tmp_path / "one" / "a.png", scene(0))
    put(tmp_path / "one" / "deep" / "er" / "b.png", scene(1, (32, 36)))
    put(tmp_path / "two" / "c.png", scene(2, (80, 96)))
    put(tmp_path / "two" / ".hidden.png", scene(3))
    found = gather([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert (found.photos, found.smallest, found.largest) == (3, (36, 32), (96, 80))
    assert str(found) == "3 photos and 0 shots, 3 frames of 36x32 to 96x80"
    assert [made.name for made in read_clips(tmp_path / "out")] == ["one/.", "one/deep/er", "two/."]


def test_a_sequence_does_not_go_on_in_another_folder(tmp_path):
    for folder in ("a", "b"):
        put(tmp_path / "in" / folder / "0.png", scene(0))
    assert gather([tmp_path / "in"], tmp_path / "out").photos == 2


def test_videos_are_split_at_their_cuts(tmp_path):
    (tmp_path / "in").mkdir()
    clip(tmp_path / "in" / "v.mp4", range(0, 240, 40))
    found = gather([tmp_path / "in"], tmp_path / "out")
    assert (found.photos, found.shots, found.frames, found.smallest) == (0, 1, 6, (64, 48))
    (made,) = read_clips(tmp_path / "out")
    assert made.name == "in/v.mp4" and made.frames.shape == (6, 48, 64, 3)


def test_what_cannot_be_used_is_passed_over_and_counted(tmp_path):
    put(tmp_path / "in" / "good.png", scene(0))
    put(tmp_path / "in" / "narrow.png", scene(1, (28, 64)))
    (tmp_path / "in" / "junk.jpg").write_text("no picture")
    (tmp_path / "in" / "junk.mp4").write_text("no video")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    said = []
    found = gather([tmp_path / "in"], tmp_path / "out", say=said.append)
    assert (found.photos, found.frames, len(found.skipped)) == (1, 1, 3)
    assert [line.startswith("skipped: ") and name in line
            for name, line in zip(("junk.jpg", "narrow.png is smaller than 32", "junk.mp4"), said, strict=True)] == [
                True] * 3  # fmt: skip
    assert str(found) == "1 photos and 0 shots, 1 frames of 64x48 to 64x48; 3 files skipped"


def test_a_broken_file_does_not_end_a_sequence(tmp_path):
    for n in (0, 2):
        put(tmp_path / "in" / f"{n}.png", scene(0))
    (tmp_path / "in" / "1.png").write_text("no picture")
    found = gather([tmp_path / "in"], tmp_path / "out")
    assert (found.shots, found.frames, len(found.skipped)) == (1, 2, 1)


def test_nothing_to_be_used(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "junk.png").write_text("no picture")
    with pytest.raises(DerainError, match="in holds no picture or video that can be read; give another one"):
        gather([tmp_path / "in"], tmp_path / "out")


def test_no_folder(tmp_path):
    with pytest.raises(DerainError, match="none is not a folder; give one that holds pictures or videos"):
        gather([tmp_path / "none"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_gathering_again_replaces_what_was_there(tmp_path):
    put(tmp_path / "in" / "a.png", scene(0))
    gather([tmp_path / "in"], tmp_path / "out")
    pixels = put(tmp_path / "in" / "a.png", scene(5))
    gather([tmp_path / "in"], tmp_path / "out")
    (made,) = read_clips(tmp_path / "out")
    assert_array_equal(made.frames[0], pixels)


def test_a_long_shot_is_cut(monkeypatch):
    monkeypatch.setattr(material, "SHOT_FRAMES", 4)
    shots = [len(shot) for shot in split_shots(scene(0) for _ in range(10))]
    assert shots == [4, 4, 2]


def test_another_size_is_another_shot():
    frames = [scene(0), scene(0), scene(0, (64, 64)), scene(0, (64, 64))]
    assert [len(shot) for shot in split_shots(frames)] == [2, 2]


def test_counting():
    found = Material()
    for shape in ((1, 40, 60), (3, 50, 40), (1, 90, 90)):
        found.add(np.zeros((*shape, 3), np.uint8))
    assert (found.photos, found.shots, found.frames) == (2, 1, 5)
    assert (found.smallest, found.largest) == ((40, 50), (90, 90))


# --- pairs ---
def test_pairs_are_clips_of_two_frames(tmp_path):
    made = {}
    for n in (1, 2):
        made[n] = [put(tmp_path / "rainy" / f"rain-{n}.png", scene(n)),
                   put(tmp_path / "clean" / f"norain-{n}.png", scene(10 + n))]  # fmt: skip
    found = gather_pairs(tmp_path / "rainy", tmp_path / "clean", tmp_path / "out")
    assert (found.photos, found.shots, found.frames) == (0, 2, 4)
    for n, pair in enumerate(read_clips(tmp_path / "out"), 1):
        assert pair.name == f"rain-{n}.png"
        assert_array_equal(pair.frames, np.stack(made[n]))


def test_pairs_of_two_sizes_are_refused(tmp_path):
    put(tmp_path / "rainy" / "1.png", scene(0))
    put(tmp_path / "clean" / "1.png", scene(0, (48, 60)))
    with pytest.raises(DerainError, match=r"rainy/1\.png and .*clean/1\.png differ in size; give both in one"):
        gather_pairs(tmp_path / "rainy", tmp_path / "clean", tmp_path / "out")
    assert not (tmp_path / "out" / INDEX).exists()


def test_a_picture_without_partner_is_refused(tmp_path):
    put(tmp_path / "rainy" / "1.png", scene(0))
    put(tmp_path / "clean" / "2.png", scene(0))
    with pytest.raises(DerainError, match=r"1\.png has no partner"):
        gather_pairs(tmp_path / "rainy", tmp_path / "clean", tmp_path / "out")


@pytest.mark.parametrize("shape", [(32, 20600), (20600, 32)])
def test_strips_are_material_too(tmp_path, shape):
    (tmp_path / "strips").mkdir()
    rising = np.linspace(0, 250, max(shape)).reshape([side if side == max(shape) else 1 for side in shape])
    for name, picture in (("a", rising), ("b", rising), ("c", 250 - rising)):
        rgb = np.broadcast_to(picture.astype(np.uint8)[..., None], (*shape, 3))
        Image.fromarray(np.ascontiguousarray(rgb)).save(tmp_path / "strips" / f"{name}.png")
    found = gather([tmp_path / "strips"], tmp_path / "into", say=pytest.fail)
    assert (found.shots, found.photos) == (1, 1)  # seen whole, a strip is one row: still enough to tell scenes apart
