"""A video or photo stored sideways loses the same rain as the one stored upright: the network sees it upright."""
from fractions import Fraction

import av
import clips
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image, ImageOps

from streamderain import photo_output, photos, planes
from streamderain.core.checkpoint import save_generator
from streamderain.core.stream import StreamConfig, StreamGenerator
from streamderain.derain_file import derain_video
from streamderain.derainer import Derainer
from streamderain.video import open_video

HEIGHT, WIDTH, FRAMES = 48, 64, 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network whose rain is strong and depends on what is up and what is left."""
    torch.manual_seed(0)
    network = StreamGenerator(StreamConfig(widths=(6, 6, 6), blocks=(0, 0, 0, 0, 0)))
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    path = tmp_path_factory.mktemp("model") / "own.safetensors"
    save_generator(path, network, profile="tiny", card={})
    return path


def scene(index, height=HEIGHT, width=WIDTH):
    """(height, width, 3) uint8 of a blocky texture that moves by two pixels a frame."""
    texture = np.random.default_rng(5).integers(0, 256, (height // 4, (width + 2 * FRAMES) // 4, 3))
    return np.kron(texture, np.ones((4, 4, 1))).astype(np.uint8)[:, 2 * index : 2 * index + width]


def stored(path, turns):
    """The scene, turned by so many clockwise quarter turns, with the matrix that turns it back for display."""

    def draw(index, *, size, pixel_format):
        made = av.VideoFrame(*size, pixel_format)
        luma, *chroma = np.moveaxis(np.rot90(scene(index), -turns), -1, 0)
        planes.write(made, [np.ascontiguousarray(luma), *(np.ascontiguousarray(each[::2, ::2]) for each in chroma)])
        return made

    size = (WIDTH, HEIGHT) if turns % 2 == 0 else (HEIGHT, WIDTH)
    times = range(0, 40 * FRAMES, 40)
    return clips.clip(path, times, size=size, draw=draw, options={"qp": "0"}, rotation=90 * turns)


def frames_of(path):
    source = open_video(path)
    found = list(source)
    source.close()
    return found, source.look


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotation_is_what_the_display_matrix_says(tmp_path, turns):
    frames, look = frames_of(stored(tmp_path / "in.mp4", turns))
    assert {frame.rotation % 360 for frame in frames} == {90 * turns}
    if turns:
        a, b, _, c, d, *_ = np.array(look.turn) / (1 << 16)  # a stored step (x, y) is shown as (a x + c y, b x + d y)
        right, down = np.array([a, b]), np.array([c, d])
        shown = np.rot90(np.arange(6).reshape(2, 3), turns)  # of a picture two rows high: 1 is right of 0, 3 below it
        place = {value: np.argwhere(shown == value)[0][::-1] for value in (0, 1, 3)}
        assert_array_equal(right, place[1] - place[0])
        assert_array_equal(down, place[3] - place[0])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_clip_stored_sideways_loses_the_same_rain(tmp_path, model, turns):
    for name, each in (("upright", 0), ("sideways", turns)):
        derain_video(stored(tmp_path / f"{name}.mp4", each), tmp_path / f"{name}.mkv", encoder="ffv1", model=model)
    before, _ = frames_of(tmp_path / "upright.mp4")
    upright, _ = frames_of(tmp_path / "upright.mkv")
    sideways, _ = frames_of(tmp_path / "sideways.mkv")
    assert len(upright) == len(sideways) == FRAMES
    for original, expected, found in zip(before, upright, sideways, strict=True):
        assert np.abs(original.planes[0].astype(int) - expected.planes[0]).max() > 10
        for plane, other in zip(expected.planes, found.planes, strict=True):
            assert_array_equal(np.rot90(other, turns), plane)
        assert found.pts * found.time_base == expected.pts * expected.time_base < Fraction(1)


TRANSPOSED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def derained_photo(tmp_path, model, orientation, **options):
    """The scene as a photo of this EXIF orientation, before and after, as a viewer shows them."""
    image = Image.fromarray(scene(0))
    if TRANSPOSED[orientation] is not None:
        image = image.transpose(TRANSPOSED[orientation])
    exif = Image.Exif()
    exif[photos.ORIENTATION] = orientation
    image.save(tmp_path / "in.png", exif=exif)
    derainer = Derainer(model=model, device="cpu", **options)
    photo_output.write(derainer(photos.read(tmp_path / "in.png")), tmp_path / "out.png")
    with Image.open(tmp_path / "in.png") as before, Image.open(tmp_path / "out.png") as after:
        assert after.getexif()[photos.ORIENTATION] == orientation and after.size == before.size
        return np.asarray(ImageOps.exif_transpose(before)), np.asarray(ImageOps.exif_transpose(after))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_stored_sideways_loses_the_same_rain(tmp_path, model, orientation):
    _, expected = derained_photo(tmp_path, model, 1)
    before, after = derained_photo(tmp_path, model, orientation)
    assert_array_equal(before, scene(0))
    assert np.abs(before.astype(int) - after).max() > 10
    assert_array_equal(after, expected)


@pytest.mark.parametrize("orientation", [2, 4, 5, 7])
def test_a_mirrored_photo_is_turned_but_not_mirrored_for_the_network(tmp_path, model, orientation):
    _, expected = derained_photo(tmp_path, model, 1, twice=True)  # also in a mirror, so that left and right are alike
    before, after = derained_photo(tmp_path, model, orientation, twice=True)
    assert_array_equal(before, scene(0))
    assert np.abs(before.astype(int) - after).max() > 10
    assert_array_equal(after, expected)
