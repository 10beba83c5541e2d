"""Pictures of phones: HEIC and AVIF, of 8 bits and more, with what stands beside the pixels."""
import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from streamderain import heif, photos
from streamderain.errors import DerainError
from streamderain.photo_output import write

HEIGHT, WIDTH = 48, 80


def ramp(top=255):
    """(H, W, 3) from black to `top`, smooth, so that no codec changes it by much."""
    down, across = np.mgrid[0:1:HEIGHT * 1j, 0:1:WIDTH * 1j]
    return np.rint(np.stack([down, across, 1 - across], axis=-1) * top).astype(np.uint8 if top < 256 else np.uint16)


def colours(data, primaries, transfer):
    """A file that says so of its colours; both kinds hold the numbers of H.273 in one box."""
    at = data.index(b"colrnclx") + 8
    return data[:at] + primaries.to_bytes(2, "big") + transfer.to_bytes(2, "big") + data[at + 4 :]


def saved(path, **options):
    """A picture of 8 bits, by Pillow and pillow-heif."""
    Image.fromarray(ramp()).save(path, quality=95, **options)
    return path


def deep(path):
    """A picture of 10 bits."""
    if path.suffix == ".avif":
        path.write_bytes(imagecodecs.avif_encode(ramp(1023), level=95, bitspersample=10))
    else:
        wide = (ramp(1023) << 6).tobytes()
        pillow_heif.from_bytes("RGB;16", (WIDTH, HEIGHT), wide).save(path, quality=95)
    return path


@pytest.mark.parametrize("ending", [".heic", ".avif"])
def test_a_phones_picture_is_read_with_its_description(tmp_path, ending):
    exif = Image.Exif()
    exif[271] = "A phone"
    frame = photos.read(saved(tmp_path / f"in{ending}", exif=exif))
    assert (frame.width, frame.height, frame.format.family, frame.format.bit_depth) == (WIDTH, HEIGHT, "rgb", 8)
    assert np.abs(np.stack(frame.planes, axis=-1).astype(int) - ramp()).max() <= 12
    write(frame, tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.getexif()[271] == "A phone"


@pytest.mark.parametrize("ending", [".heic", ".avif"])
def test_ten_bits_stay(tmp_path, ending):
    frame = photos.read(deep(tmp_path / f"in{ending}"))
    assert frame.format.bit_depth == 16
    found = np.stack(frame.planes, axis=-1)
    assert np.abs(found / 65535 - ramp(1023) / 1023).max() < 0.02
    assert len(np.unique(found)) > 256 and found.max() == 65535
    with pytest.raises(DerainError, match="16 bits"):
        write(frame, tmp_path / "out.jpg")


def test_an_avif_on_its_side_stays_so_and_says_it(tmp_path):
    exif = Image.Exif()
    exif[photos.ORIENTATION] = 6
    frame = photos.read(saved(tmp_path / "in.avif", exif=exif))
    assert (frame.width, frame.height, frame.rotation) == (WIDTH, HEIGHT, -90)


@pytest.mark.parametrize("ending", [".heic", ".avif"])
@pytest.mark.parametrize("primaries, transfer, message", [
    (9, 16, r"is HDR \(PQ\)"), (9, 18, r"is HDR \(HLG\)"), (12, 13, "has colours of its own without an ICC profile"),
])  # fmt: skip
def test_colours_that_no_output_would_say_are_refused(tmp_path, ending, primaries, transfer, message):
    path = saved(tmp_path / f"in{ending}")
    path.write_bytes(colours(path.read_bytes(), primaries, transfer))
    with pytest.raises(DerainError, match=message):
        photos.read(path)


def test_the_first_of_a_burst_is_taken_and_the_others_are_told(tmp_path):
    burst = pillow_heif.from_pillow(Image.fromarray(ramp()))
    burst.add_from_pillow(Image.fromarray(255 - ramp()))
    burst.save(tmp_path / "in.heic", quality=95)
    frame = photos.read(tmp_path / "in.heic")
    assert frame.planes[0][0, 0] < 20
    assert frame.side["description"].notes == ("its other pictures are not kept",)


@pytest.mark.parametrize("ending", [".heic", ".avif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_picture_cut_short_is_damage(tmp_path, ending, share):
    path = deep(tmp_path / f"in{ending}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DerainError, match="is damaged or cut short") as caught:
        photos.read(path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("ending", [".heic", ".avif"])
@pytest.mark.parametrize("make", [saved, deep])
def test_flipped_bytes_are_never_a_crash(tmp_path, ending, make):
    path = make(tmp_path / f"in{ending}")
    whole = path.read_bytes()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            write(photos.read(path), tmp_path / "out.png")
        except DerainError as error:
            assert "\n" not in str(error) and error.exit_code in (1, 3)


@pytest.mark.parametrize("depth", [10, 12])
def test_samples_are_spread_from_black_to_white(depth):
    top = (1 << depth) - 1
    pixels = np.arange(top + 1, dtype=np.uint16)
    spread = heif._spread(pixels, depth)
    assert spread[0] == 0 and spread[-1] == 65535
    assert np.abs(spread / 65535 - pixels / top).max() <= 0.5 / 65535 + 1e-9
