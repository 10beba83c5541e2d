"""A photo leaves as it came: pixels, alpha, depth, EXIF, ICC profile and orientation."""
import struct
import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from streamderain import photo_output, photos, png, tiff
from streamderain.errors import DerainError
from streamderain.photo_jobs import jobs_for

HEIGHT, WIDTH = 37, 52
ICC = b"\0" * 12 + b"mntrRGB XYZ " + bytes(range(256)) * 2


def noise(dtype, channels, seed=0):
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def exif_block(orientation=6, endian="<"):
    exif = Image.Exif()
    exif.endian = endian
    exif[274] = orientation
    exif[271] = "A camera"
    exif[0x8769] = {36867: "2024:05:01 10:00:00", 37500: b"maker note"}
    return exif.tobytes().removeprefix(b"Exif\0\0")


def saved(path, pixels, exif=None, icc=None):
    """A file made without the code under test, as far as Pillow can."""
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        data = png.encode(pixels) if path.suffix == ".png" else tiff.encode(pixels, exif=exif, icc=icc)
        path.write_bytes(data)
        return path
    options = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
    prefix = b"Exif\0\0" if path.suffix == ".jpg" else b""
    Image.fromarray(pixels).save(path, exif=prefix + exif if exif else b"", icc_profile=icc, **options)
    return path


def pixels_of(frame):
    planes = frame.planes if frame.alpha is None else (*frame.planes, frame.alpha)
    return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)


def decoded(path):
    data = path.read_bytes()
    return imagecodecs.png_decode(data) if path.suffix == ".png" else imagecodecs.tiff_decode(data)


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_round_trip_is_bit_identical(tmp_path, ending, dtype, channels):
    pixels = noise(dtype, channels)
    frame = photos.read(saved(tmp_path / f"in{ending}", pixels))
    assert frame.format.family == ("grey" if channels == 1 else "rgb")
    assert frame.format.bit_depth == 8 * pixels.itemsize and frame.format.full_range
    assert (frame.alpha is not None) == (channels == 4)
    assert all(plane.flags.c_contiguous for plane in frame.planes)
    photo_output.write(frame, tmp_path / f"out{ending}")
    result = decoded(tmp_path / f"out{ending}")
    assert result.dtype == dtype
    assert_array_equal(result, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_with_alpha_keeps_both(tmp_path, dtype):
    pixels = noise(dtype, 2)
    (tmp_path / "in.png").write_bytes(imagecodecs.png_encode(pixels))
    frame = photos.read(tmp_path / "in.png")
    assert_array_equal(frame.planes[0], pixels[..., 0])
    assert_array_equal(frame.alpha, pixels[..., 1])
    photo_output.write(frame, tmp_path / "out.png")
    assert_array_equal(decoded(tmp_path / "out.png"), pixels)


@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("target", [".jpg", ".png", ".webp", ".tif"])
def test_descriptions_survive_every_change_of_container(tmp_path, source, target):
    exif = exif_block()
    frame = photos.read(saved(tmp_path / f"in{source}", noise(np.uint8, 3), exif=exif, icc=ICC))
    photo_output.write(frame, tmp_path / f"out{target}")
    with Image.open(tmp_path / f"out{target}") as image:
        assert image.info["icc_profile"] == ICC
        assert image.getexif()[274] == 6
        assert image.getexif()[271] == "A camera"
        assert image.getexif().get_ifd(0x8769) == {36867: "2024:05:01 10:00:00", 37500: b"maker note"}
        if source != ".tif" and target != ".tif":
            assert image.info["exif"].removeprefix(b"Exif\0\0") == exif
    again = photos.read(tmp_path / f"out{target}")
    assert (again.height, again.width, again.rotation) == (HEIGHT, WIDTH, -90)
    if target != ".jpg":
        assert_array_equal(pixels_of(again), pixels_of(frame))


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_is_never_turned(tmp_path, orientation, endian, dtype):
    pixels = noise(dtype, 3)
    exif = exif_block(orientation, endian)
    (tmp_path / "in.tif").write_bytes(tiff.encode(pixels, exif=exif))
    frame = photos.read(tmp_path / "in.tif")
    assert_array_equal(pixels_of(frame), pixels)
    assert frame.rotation == {3: 180, 4: 180, 5: -90, 6: -90, 7: 90, 8: 90}.get(orientation, 0)
    with Image.open(tmp_path / "in.tif") as image:
        assert image.getexif()[274] == orientation


def test_exif_block_stands_byte_for_byte_in_a_tiff():
    exif = exif_block()
    data = tiff.encode(noise(np.uint8, 3), exif=exif)
    assert data[:4] == exif[:4] and data[8 : len(exif)] == exif[8:]  # bytes 4 to 7 point to the new directory


def test_tiff_of_many_strips_is_read_by_pillow():
    pixels = np.random.default_rng(3).integers(0, 256, (2 * tiff.ROWS_PER_STRIP + 7, 9, 3)).astype(np.uint8)
    with Image.open(BytesIO(tiff.encode(pixels))) as image:
        assert_array_equal(np.asarray(image), pixels)


def test_xmp_survives_between_containers(tmp_path):
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    Image.fromarray(noise(np.uint8, 3)).save(tmp_path / "in.webp", xmp=packet)
    for name in ("a.png", "b.tif", "c.jpg", "d.webp"):
        photo_output.write(photos.read(tmp_path / "in.webp"), tmp_path / name)
        assert photos.read(tmp_path / name).side["description"].xmp == packet


def test_png_keeps_gamma_and_text_as_they_are(tmp_path):
    chunks = (
        (b"gAMA", struct.pack(">I", 100000)),
        (b"tEXt", b"Title\0Rain"),
        (b"pHYs", struct.pack(">IIB", 300, 300, 1)),
    )
    (tmp_path / "in.png").write_bytes(png.encode(noise(np.uint8, 3), chunks))
    photo_output.write(photos.read(tmp_path / "in.png"), tmp_path / "out.png")
    assert png.descriptions((tmp_path / "out.png").read_bytes()) == chunks


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparent_colour_becomes_alpha(tmp_path, dtype):
    pixels = noise(dtype, 3)
    key = tuple(int(value) for value in pixels[5, 6])
    (tmp_path / "in.png").write_bytes(png.encode(pixels, [(b"tRNS", struct.pack(">HHH", *key))]))
    frame = photos.read(tmp_path / "in.png")
    assert_array_equal(pixels_of(frame)[..., :3], pixels)
    assert frame.alpha[5, 6] == 0 and frame.alpha[0, 0] == np.iinfo(dtype).max


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_grey_of_few_bits_becomes_alpha(tmp_path, depth):
    grey = np.random.default_rng(depth).integers(0, 2**depth, (9, 16))
    bits = (grey[..., None] >> np.arange(depth)[::-1] & 1).astype(np.uint8).reshape(9, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 16, 9, depth, 0, 0, 0, 0)), (b"tRNS", struct.pack(">H", 1)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    (tmp_path / "in.png").write_bytes(png.SIGNATURE + b"".join(png._packed(*chunk) for chunk in chunks))
    frame = photos.read(tmp_path / "in.png")
    assert_array_equal(frame.planes[0], grey * (255 // (2**depth - 1)))
    assert_array_equal(frame.alpha, np.where(grey == 1, 0, 255))


def test_what_no_output_keeps_of_a_jpeg_is_said(tmp_path):
    pixels = Image.fromarray(noise(np.uint8, 3))
    pixels.save(tmp_path / "in.jpg", comment=b"hello", icc_profile=ICC, xmp=b"<x/>", exif=b"Exif\0\0" + exif_block())
    whole = (tmp_path / "in.jpg").read_bytes()
    iptc = b"\xff\xed" + struct.pack(">H", 16) + b"Photoshop 3.0\0"
    (tmp_path / "in.jpg").write_bytes(whole[:2] + iptc + whole[2:] + b"\0\0\0\x18ftypmp42")
    notes = photos.read(tmp_path / "in.jpg").side["description"].notes
    left = "Photoshop block (IPTC), comment, data after the picture (a motion photo's video?)"
    assert notes == (f"its {left} are not kept",)
    (tmp_path / "in.jpg").write_bytes(whole + bytes(100))
    assert photos.read(tmp_path / "in.jpg").side["description"].notes == ("its comment is not kept",)
    pixels.save(tmp_path / "plain.jpg", icc_profile=ICC, xmp=b"<x/>", exif=b"Exif\0\0" + exif_block())
    assert photos.read(tmp_path / "plain.jpg").side["description"].notes == ()


def test_what_only_png_keeps_of_a_png_is_said(tmp_path):
    described = png.describe(exif=exif_block(), icc=ICC, xmp=b"<x/>")
    for name, more in (("own", [(b"gAMA", bytes(4)), (b"tEXt", b"Title\0Rain")]), ("none", [])):
        (tmp_path / f"{name}.png").write_bytes(png.encode(noise(np.uint8, 3), [*described, *more]))
    own, none = (photos.read(tmp_path / f"{name}.png") for name in ("own", "none"))
    assert photo_output.lost(own, tmp_path / "out.jpg") == ["its tEXt is kept by .png alone"]
    assert photo_output.lost(own, tmp_path / "out.png") == photo_output.lost(none, tmp_path / "out.tif") == []
    (tmp_path / "gamma.png").write_bytes(png.encode(noise(np.uint8, 3), [(b"gAMA", bytes(4))]))
    assert photo_output.lost(photos.read(tmp_path / "gamma.png"), Path("out.tif")) == ["its gAMA is kept by .png alone"]


def test_palette_is_looked_up_and_said(tmp_path):
    image = Image.fromarray(noise(np.uint8, 3)).quantize(16)
    image.save(tmp_path / "in.png")
    frame = photos.read(tmp_path / "in.png")
    assert_array_equal(pixels_of(frame), np.asarray(image.convert("RGB")))
    assert frame.side["description"].notes == ("its palette became RGB",)


def test_webp_without_loss_keeps_colours_under_transparency(tmp_path):
    pixels = noise(np.uint8, 4)
    pixels[..., 3] = 0
    frame = photos.read(saved(tmp_path / "in.png", pixels))
    photo_output.write(frame, tmp_path / "out.webp")
    assert_array_equal(pixels_of(photos.read(tmp_path / "out.webp")), pixels)


def test_quality_makes_smaller_files(tmp_path):
    frame = photos.read(saved(tmp_path / "in.png", noise(np.uint8, 3)))
    for ending in (".jpg", ".webp"):
        photo_output.write(frame, tmp_path / f"low{ending}", quality=20)
        photo_output.write(frame, tmp_path / f"high{ending}")
        assert (tmp_path / f"low{ending}").stat().st_size < (tmp_path / f"high{ending}").stat().st_size / 2


@pytest.mark.parametrize("kind, save, message", [
    ("cmyk.jpg", lambda p: Image.new("CMYK", (9, 9)).save(p), "has CMYK pixels, not grey or RGB"),
    ("moving.gif", lambda p: Image.new("L", (9, 9)).save(p, save_all=True, append_images=[Image.new("L", (9, 9), 9)]),
     "holds 2 pictures; give single ones"),
    ("float.tif", lambda p: Image.new("F", (9, 9)).save(p), "is TIFF, but not 8 or 16 bits"),
    ("cmyk.tif", lambda p: Image.new("CMYK", (9, 9)).save(p), "is TIFF, but not 8 or 16 bits"),
    ("notes.png", lambda p: p.write_text("no picture"), "is not a picture that can be read"),
    ("empty.png", lambda p: p.write_bytes(b""), "is not a picture that can be read"),
    ("nothing.png", lambda p: None, "does not exist"),
    ("folder.png", lambda p: p.mkdir(), "is not a file"),
    ("large.png", lambda p: Image.new("L", (40, 40)).save(p), "has 40x40 pixels, more than 1000"),
])
def test_what_is_refused_is_told_in_one_line(tmp_path, kind, save, message):
    save(tmp_path / kind)
    with pytest.raises(DerainError, match=message) as caught:
        photos.read(tmp_path / kind, max_pixels=1000)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(png.SIGNATURE + chunk + struct.pack(">I", 0) + b"IDAT" + b"\x35\xaf\x06\x1e")
    with pytest.raises(DerainError, match=r"bomb\.png has over \d+ pixels"):
        photos.read(tmp_path / "bomb.png")


@pytest.mark.parametrize("ending, dtype", [(".jpg", np.uint8), (".png", np.uint8), (".webp", np.uint8),
                                           (".tif", np.uint8), (".png", np.uint16), (".tif", np.uint16)])
def test_a_file_cut_short_is_damage(tmp_path, ending, dtype):
    path = saved(tmp_path / f"in{ending}", noise(dtype, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DerainError) as caught:
        photos.read(path)
    if ending != ".tif":  # the directory of a TIFF may stand at its end, and then nothing says that it is a picture
        assert caught.value.exit_code == 3
        assert "is damaged or cut short" in str(caught.value)


def test_a_deflated_tiff_is_compared_with_its_checksum(tmp_path):
    whole = tiff.encode(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    sum_at = whole.index(zlib.compress(bytes(HEIGHT * WIDTH * 3))) + len(zlib.compress(bytes(HEIGHT * WIDTH * 3))) - 1
    (tmp_path / "in.tif").write_bytes(whole)
    photos.read(tmp_path / "in.tif")
    (tmp_path / "in.tif").write_bytes(whole[:sum_at] + bytes([whole[sum_at] ^ 1]) + whole[sum_at + 1 :])
    with pytest.raises(DerainError, match="is damaged or cut short") as caught:
        photos.read(tmp_path / "in.tif")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_flipped_bytes_are_never_a_crash(tmp_path, ending, seed):
    rng = np.random.default_rng(seed)
    path = saved(tmp_path / f"in{ending}", noise(np.uint8, 3)[:16, :16], exif=exif_block())
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, len(data), 4):
        data[place] = rng.integers(0, 256)
    path.write_bytes(data)
    try:
        photo_output.write(photos.read(path), tmp_path / "out.png")
    except DerainError as error:
        assert "\n" not in str(error)
        assert error.exit_code in (1, 3)


@pytest.mark.parametrize("dtype, channels, target, message", [
    (np.uint16, 3, "out.jpg", "would lose the picture's 16 bits"),
    (np.uint16, 1, "out.webp", "would lose the picture's 16 bits"),
    (np.uint8, 4, "out.jpg", "would lose the picture's transparency"),
    (np.uint8, 3, "out.bmp", "does not end in a picture format that is written"),
])
def test_a_format_that_loses_something_is_refused(tmp_path, dtype, channels, target, message):
    frame = photos.read(saved(tmp_path / "in.png", noise(dtype, channels)))
    with pytest.raises(DerainError, match=message):
        photo_output.write(frame, tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_webp_refuses_a_profile_for_grey(tmp_path):
    grey = ICC[:16] + b"GRAY" + ICC[20:]
    frame = photos.read(saved(tmp_path / "in.png", noise(np.uint8, 1), icc=grey))
    with pytest.raises(DerainError, match="profile is for grey"):
        photo_output.write(frame, tmp_path / "out.webp")


def test_sides_beyond_a_format_are_refused(tmp_path):
    Image.new("L", (16384, 1)).save(tmp_path / "in.png")
    with pytest.raises(DerainError, match="16383 pixels along a side"):
        photo_output.write(photos.read(tmp_path / "in.png"), tmp_path / "out.webp")


def test_a_damaged_exif_block_is_kept_by_png_and_refused_by_tiff(tmp_path):
    frame = photos.read(saved(tmp_path / "in.webp", noise(np.uint8, 3), exif=b"no block"))
    photo_output.write(frame, tmp_path / "out.png")
    assert photos.read(tmp_path / "out.png").side["description"].exif == b"no block"
    with pytest.raises(DerainError, match="cannot take over the picture's description"):
        photo_output.write(frame, tmp_path / "out.tif")


def test_a_full_disk_leaves_nothing_and_says_4(tmp_path, monkeypatch):
    frame = photos.read(saved(tmp_path / "in.png", noise(np.uint8, 3)))
    (tmp_path / "out.png").write_bytes(b"before")

    def full(part, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(photo_output.os, "replace", full)
    with pytest.raises(DerainError, match=r"could not be written \(No space left on device\)") as caught:
        photo_output.write(frame, tmp_path / "out.png")
    assert caught.value.exit_code == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"before"


def test_targets_are_checked_before_work(tmp_path):
    source = saved(tmp_path / "in.png", noise(np.uint8, 3))
    (tmp_path / "there.png").write_bytes(b"x")
    (tmp_path / "link.png").symlink_to(source)
    (tmp_path / "hard.png").hardlink_to(source)
    (tmp_path / "dir.png").mkdir()
    for name, overwrite, message in [
        ("in.png", True, "is the input itself"), ("link.png", True, "is the input itself"),
        ("hard.png", True, "is the input itself"), ("there.png", False, "exists; give another name or --overwrite"),
        ("dir.png", True, "is a folder"), ("no/out.png", False, "does not exist; make it first"),
        ("out.xyz", False, "does not end in a picture format"),
    ]:
        with pytest.raises(DerainError, match=message):
            photo_output.check_target(source, tmp_path / name, overwrite=overwrite)
    photo_output.check_target(source, tmp_path / "there.png", overwrite=True)
    photo_output.check_target(source, tmp_path / "new.png", overwrite=False)


def test_a_link_that_leads_nowhere_is_not_replaced_unasked(tmp_path):
    (tmp_path / "out.png").symlink_to(tmp_path / "away" / "mine.png")
    with pytest.raises(DerainError, match=r"out\.png exists"):
        photo_output.check_target(tmp_path / "in.png", tmp_path / "out.png", overwrite=False)


def test_folder_jobs_keep_stems_in_order(tmp_path):
    for name in ("b.JPG", "a.png", "c.tiff", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    assert jobs_for(tmp_path, tmp_path / "new" / "out", "tiff") == [
        (tmp_path / "a.png", tmp_path / "new" / "out" / "a.tif"),
        (tmp_path / "b.JPG", tmp_path / "new" / "out" / "b.tif"),
        (tmp_path / "c.tiff", tmp_path / "new" / "out" / "c.tif"),
    ]
    assert (tmp_path / "new" / "out").is_dir()


def test_jobs_that_make_no_sense_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(DerainError, match="holds no pictures"):
        jobs_for(folder, tmp_path / "out", None)
    (folder / "a.png").touch()
    with pytest.raises(DerainError, match="is the input folder itself"):
        jobs_for(folder, folder, None)
    (tmp_path / "file").touch()
    with pytest.raises(DerainError, match="is a file; name a folder"):
        jobs_for(folder, tmp_path / "file", None)
    with pytest.raises(DerainError, match="is not named as jpeg"):
        jobs_for(folder / "a.png", tmp_path / "out.png", "jpeg")
    (folder / "A.jpg").touch()
    with pytest.raises(DerainError, match=r"A\.jpg and a\.png in .* the same output name"):
        jobs_for(folder, tmp_path / "out", None)

    def locked(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(DerainError, match=r"cannot be read \(Permission denied\)"):
        jobs_for(folder, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_one_picture_into_a_folder_that_exists(tmp_path):
    assert jobs_for(tmp_path / "a.jpg", tmp_path, None) == [(tmp_path / "a.jpg", tmp_path / "a.png")]
