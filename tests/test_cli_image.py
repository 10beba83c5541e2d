"""`streamderain image` from the command line, with a derainer that does nothing or something simple."""
import os
import signal
import sys
from types import ModuleType

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from PIL import Image

from streamderain.cli import main
from streamderain.errors import DerainError
from streamderain.photos import read


class FakeDerainer:
    """Takes 1 off every pixel that has it; keeps what it was asked for."""

    made: list["FakeDerainer"]
    profile, device, backend, precision = "tiny", "cpu", "eager", "bf16"

    def __init__(self, **options):
        self.options, self.resets, self.frames = options, 0, 0
        type(self).made.append(self)

    def reset(self):
        self.resets += 1

    def __call__(self, frame, following=None):
        self.frames += 1
        return frame.with_planes(tuple(np.maximum(plane, 1) - 1 for plane in frame.planes))


@pytest.fixture(autouse=True)
def derainer(monkeypatch):
    FakeDerainer.made = []
    module = ModuleType("streamderain.derainer")
    module.Derainer = FakeDerainer
    monkeypatch.setitem(sys.modules, "streamderain.derainer", module)
    return FakeDerainer


def run(*arguments):
    return CliRunner().invoke(main, ["image", *map(str, arguments)])


def picture(path, seed=0, mode="RGB"):
    shape = (24, 32, len(mode)) if len(mode) > 1 else (24, 32)
    pixels = np.random.default_rng(seed).integers(1, 256, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.mark.parametrize("given, taken", [([], "realtime"), (["--profile", "tiny"], "tiny")])
def test_a_photo_gets_the_larger_network_unless_told_otherwise(tmp_path, derainer, given, taken):
    picture(tmp_path / "in.png")
    assert run(tmp_path / "in.png", tmp_path / "out.png", *given).exit_code == 0
    assert derainer.made[0].options["profile"] == taken


def test_one_picture(tmp_path, derainer, capsys):
    pixels = picture(tmp_path / "in.png", mode="RGBA")
    result = run(tmp_path / "in.png", tmp_path / "out.tif", "--profile", "tiny", "--strength", "0.5")
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "profile tiny on cpu, eager in bf16\n"
        f"{tmp_path / 'in.png'} -> {tmp_path / 'out.tif'}, 32x24\n"
    )
    assert result.stdout == ""
    frame = read(tmp_path / "out.tif")
    assert_array_equal(np.stack(frame.planes, -1), pixels[..., :3] - 1)
    assert_array_equal(frame.alpha, pixels[..., 3])
    options = derainer.made[0].options
    given = {"profile": "tiny", "device": "auto", "model": None, "strength": 0.5, "backend": "auto", "cache_dir": None}
    assert options.items() >= given.items()
    options["tell"]("building")
    assert capsys.readouterr().err == "building\n"


def test_a_folder_becomes_png_and_every_picture_starts_anew(tmp_path, derainer):
    (tmp_path / "in").mkdir()
    for seed in range(3):
        picture(tmp_path / "in" / f"{seed}.jpg", seed)
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png"]
    assert len(derainer.made) == 1 and derainer.made[0].resets == derainer.made[0].frames == 3


def test_pictures_of_other_kinds_in_a_folder_are_not_passed_over_in_silence(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in" / "c.JXL").write_bytes(b"jxl")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 0
    assert result.stderr.startswith("c.JXL is passed over: JPEG XL")
    assert "notes" not in result.stderr


@pytest.mark.parametrize("kind, ending", [("png", "png"), ("jpeg", "jpg"), ("webp", "webp"), ("tiff", "tif")])
def test_a_folder_in_another_format(tmp_path, kind, ending):
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "a.png")
    assert run(tmp_path / "in", tmp_path / "out", "--format", kind).exit_code == 0
    with Image.open(tmp_path / "out" / f"a.{ending}") as image:
        assert image.format == kind.upper()


def test_one_that_fails_does_not_stop_the_rest(tmp_path):
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "a.png")
    whole = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "c.png").write_text("no picture")
    picture(tmp_path / "in" / "d.png")
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "d.png"]
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert [word in line for word, line in zip(("b.png is damaged", "c.png is not a picture", "2 of 4"), errors,
                                               strict=True)] == [True] * 3


def test_existing_outputs_are_kept_unless_told(tmp_path, derainer):
    picture(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"mine")
    result = run(tmp_path / "in.png", tmp_path / "out.png")
    assert (result.exit_code, derainer.made) == (1, [])
    assert result.stderr == f"Error: {tmp_path / 'out.png'} exists; give another name or --overwrite.\n"
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    assert run(tmp_path / "in.png", tmp_path / "out.png", "--overwrite").exit_code == 0
    assert read(tmp_path / "out.png").width == 32


@pytest.mark.parametrize("arguments, code, message", [
    (["missing.png", "out.png"], 1, "does not exist"),
    (["notes.png", "out.png"], 1, "is not a picture that can be read"),
    (["cut.png", "out.png"], 3, "is damaged or cut short"),
    (["in.png", "in.png", "--overwrite"], 1, "is the input itself"),
    (["in.png", "no/out.png"], 1, "does not exist; make it first"),
    (["in.png", "out.txt"], 1, "does not end in a picture format"),
    (["empty", "out"], 1, "holds no pictures"),
    (["in.png", "out.png", "--max-pixels", "100"], 1, "more than 100; allow it with --max-pixels"),
    (["in.png", "out.png", "--model", "none.safetensors"], 1, "none.safetensors does not exist"),
    (["in.png", "out.png", "--quality", "90"], 2, "--quality is for JPEG and WebP"),
    (["in.png", "out.jpg", "--quality", "0"], 2, "0 is not in the range"),
    (["in.png"], 2, "Missing argument 'OUT'"),
])
def test_trouble_is_one_line_before_the_network_is_loaded(tmp_path, monkeypatch, derainer, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in.png")
    whole = (tmp_path / "in.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    result = run(*arguments)
    assert result.exit_code == code
    errors = [line for line in result.stderr.splitlines() if not line.startswith(("Usage:", "Try ")) and line]
    assert len(errors) == 1 and errors[0].startswith("Error: ") and message in errors[0]
    assert derainer.made == []
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "in.png").read_bytes() == whole


def test_a_network_that_cannot_be_loaded_ends_the_run(tmp_path, monkeypatch, derainer):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)

    def refuse(self, **options):
        raise DerainError("the quality profile has no weights yet; take realtime.")

    monkeypatch.setattr(derainer, "__init__", refuse)
    result = run(tmp_path / "in", tmp_path / "out", "--profile", "quality")
    assert result.exit_code == 1
    assert result.stderr == "Error: the quality profile has no weights yet; take realtime.\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_compare_side_and_rain(tmp_path):
    pixels = picture(tmp_path / "in.png")
    assert run(tmp_path / "in.png", tmp_path / "side.png", "--compare", "side").exit_code == 0
    assert run(tmp_path / "in.png", tmp_path / "rain.png", "--compare", "rain").exit_code == 0
    side, rain = (np.stack(read(tmp_path / name).planes, -1) for name in ("side.png", "rain.png"))
    assert_array_equal(side[12:], np.concatenate([pixels, pixels - 1], axis=1)[12:])  # letters may stand above
    assert_array_equal(rain[12:], np.full((12, 32, 3), 128 + 4))


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_finishes_the_picture_under_way(tmp_path, monkeypatch, number, code):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "in" / name)

    def interrupted(self, frame, following=None):
        self.frames += 1
        if self.frames == 2:
            os.kill(os.getpid(), number)
        return frame

    monkeypatch.setattr(FakeDerainer, "__call__", interrupted)
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == code
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


def test_a_converted_palette_is_said(tmp_path):
    picture(tmp_path / "rgb.png")
    with Image.open(tmp_path / "rgb.png") as image:
        image.quantize(8).save(tmp_path / "in.gif")
    result = run(tmp_path / "in.gif", tmp_path / "out.png")
    assert result.exit_code == 0
    assert "its palette became RGB" in result.stderr


def test_the_real_derainer_takes_photos_of_any_depth(tmp_path, monkeypatch):
    from streamderain.core.checkpoint import save_generator
    from streamderain.core.stream import StreamGenerator

    monkeypatch.delitem(sys.modules, "streamderain.derainer")
    save_generator(tmp_path / "tiny.safetensors", StreamGenerator.from_profile("tiny"), profile="tiny", card={})
    deep = np.random.default_rng(0).integers(0, 65536, (40, 44, 4)).astype(np.uint16)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    (tmp_path / "in" / "grey.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(deep[..., 0])))
    result = run(tmp_path / "in", tmp_path / "out", "--strength", "0", "--model", tmp_path / "tiny.safetensors",
                 "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert_array_equal(imagecodecs.png_decode((tmp_path / "out" / "deep.png").read_bytes()), deep)
    assert_array_equal(imagecodecs.png_decode((tmp_path / "out" / "grey.png").read_bytes()), deep[..., 0])
