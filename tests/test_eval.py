"""`streamderain eval` from files to figures and page, on tiny drawn pictures with a derainer that is none."""
import errno
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from streamderain import derainer, evaluation
from streamderain.cli import main
from streamderain.errors import DerainError
from streamderain.evalpage import Gallery
from streamderain.evaluation import IDENTICAL_DB, Flicker, Row, Sample, Scores, mean_row
from streamderain.pairs import pair_pictures

RAIN = 20


class Darker:
    """Takes a constant off every frame and remembers how it was called."""

    profile, device, backend, precision = "fake", "cpu", "none", "fp32"

    def __init__(self, amount=RAIN):
        self.amount, self.calls, self.resets = amount, [], 0

    def __call__(self, frame, following=None):
        self.calls.append((frame, following))
        return frame.with_planes(tuple(plane - np.uint8(self.amount) for plane in frame.planes))

    def reset(self):
        self.resets += 1


def picture(seed, height=32, width=40):
    return np.random.default_rng(seed).integers(30, 200, (height, width, 3)).astype(np.uint8)


def write(path, rgb):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


@pytest.fixture
def folders(tmp_path):
    """Three pairs; the rain brightens all by RAIN, in the last picture by three times as much."""
    for number in (1, 2, 3):
        clean = picture(number)
        write(tmp_path / "clean" / f"norain-{number}.png", clean)
        write(tmp_path / "rainy" / f"rain-{number}.png", clean + RAIN // 2 * (4 if number == 3 else 2))
    return tmp_path


@pytest.fixture
def fake(monkeypatch):
    made = Darker()

    def make(**options):
        made.options = options
        return made

    monkeypatch.setattr(derainer, "Derainer", make)
    return made


def run(*arguments):
    return CliRunner().invoke(main, ["eval", *map(str, arguments)])


@pytest.mark.parametrize(
    "rainy, clean",
    [
        (["a.png", "b.jpg"], ["a.jpg", "b.png"]),
        (["rain-001.png", "rain-002.png"], ["norain-001.png", "norain-002.png"]),
        (["3.jpg", "12.jpg"], ["3_gt.png", "012_gt.png"]),
        (["rain-1x2.png", "rain-11x2.png"], ["norain-1x2.png", "norain-11x2.png"]),
        (["set2_rain_07.png", "set2_rain_08.png"], ["7.png", "8.png"]),
        (["rainy.png"], ["truth.png"]),
    ],
)
def test_pairs_find_each_other(tmp_path, rainy, clean):
    for side, names in (("rainy", rainy), ("clean", clean)):
        (tmp_path / side).mkdir()
        for name in [*names, "notes.txt", ".hidden.png"]:
            (tmp_path / side / name).touch()
    found = {(one.name, other.name) for one, other in pair_pictures(tmp_path / "rainy", tmp_path / "clean")}
    assert found == set(zip(rainy, clean, strict=True))


@pytest.mark.parametrize(
    "rainy, clean, message",
    [
        (["1.png", "2.png"], ["1.png"], "has 2 pictures and .* has 1"),
        (["1.png", "2.png"], ["1.png", "3.png"], "2.png has no partner"),
        (["a1.png", "b1.png"], ["x1.png", "y1.png"], "a1.png has no partner"),
        ([], ["1.png"], "has no pictures"),
    ],
)
def test_pairs_that_do_not_match_are_told(tmp_path, rainy, clean, message):
    for side, names in (("rainy", rainy), ("clean", clean)):
        (tmp_path / side).mkdir()
        for name in names:
            (tmp_path / side / name).touch()
    with pytest.raises(DerainError, match=message):
        pair_pictures(tmp_path / "rainy", tmp_path / "clean")


def test_photos_are_each_a_stream_of_one_frame(folders):
    fake = Darker()
    samples = list(evaluation.evaluate_photos(fake, pair_pictures(folders / "rainy", folders / "clean")))
    assert [sample.row.name for sample in samples] == ["rain-1.png", "rain-2.png", "rain-3.png"]
    assert fake.resets == 3
    assert all(following is None for _, following in fake.calls)
    assert all(sample.row.flicker is None for sample in samples)
    np.testing.assert_array_equal(samples[0].input.transpose(1, 2, 0), picture(1) + RAIN)


def test_figures_are_those_of_the_known_rain(folders):
    pairs = pair_pictures(folders / "rainy", folders / "clean")
    first, _, last = (sample.row for sample in evaluation.evaluate_photos(Darker(), pairs))
    assert first.output == Scores(IDENTICAL_DB, pytest.approx(1), IDENTICAL_DB, pytest.approx(1))
    assert first.input.psnr_rgb == pytest.approx(20 * math.log10(255 / RAIN))
    assert first.input.psnr_y == pytest.approx(20 * math.log10(255 / (RAIN * 219 / 255)))
    assert last.output.psnr_rgb == pytest.approx(20 * math.log10(255 / RAIN))  # twice the rain, taken off once
    assert last.gain_db == pytest.approx(20 * math.log10(2))


def test_grey_pictures_keep_their_own_scale(tmp_path):
    clean = picture(1)[..., 0]
    for name, grey in (("clean", clean), ("rainy", clean + RAIN)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), grey)
    pairs = pair_pictures(tmp_path / "rainy", tmp_path / "clean")
    (sample,) = evaluation.evaluate_photos(Darker(0), pairs)
    assert sample.row.input.psnr_y == pytest.approx(20 * math.log10(255 / RAIN))


def test_other_sizes_are_told(tmp_path):
    write(tmp_path / "rainy" / "1.png", picture(1, 32, 40))
    write(tmp_path / "clean" / "1.png", picture(1, 40, 32))
    with pytest.raises(DerainError, match=r"1\.png is 40x32 and its clean side 32x40"):
        list(evaluation.evaluate_photos(Darker(), pair_pictures(tmp_path / "rainy", tmp_path / "clean")))


def test_pictures_below_the_window_are_told(tmp_path):
    write(tmp_path / "1.png", picture(1, 10, 40))
    with pytest.raises(DerainError, match="SSIM needs at least 11 pixels"):
        list(evaluation.evaluate_photos(Darker(), [(None, tmp_path / "1.png")]))


def sequence(folder, count, *, rain=0, shift=3):
    """A scene that moves right by `shift` pixels each frame under constant rain that flickers by 4."""
    wide = cv2.GaussianBlur(picture(9, 64, 160), (0, 0), 2)
    wide = cv2.normalize(wide.astype(np.float32), None, 30, 200, cv2.NORM_MINMAX).astype(np.uint8)
    for number in range(count):
        start = 60 - shift * number
        write(folder / f"{number:03d}.png", wide[:, start : start + 96] + (rain + 4 * (number % 2) if rain else 0))


@pytest.mark.parametrize("live", [False, True])
def test_video_sees_the_following_frame_unless_live(tmp_path, live):
    sequence(tmp_path / "clean", 3)
    fake = Darker(0)
    samples = list(evaluation.evaluate_video(fake, None, tmp_path / "clean", live=live))
    assert [sample.row.name for sample in samples] == ["frame 0", "frame 1", "frame 2"]
    assert fake.resets == 1
    frames = [frame for frame, _ in fake.calls]
    assert [following for _, following in fake.calls] == ([None] * 3 if live else [*frames[1:], None])


def test_flicker_is_measured_along_the_motion_of_the_truth(tmp_path):
    sequence(tmp_path / "clean", 4)
    sequence(tmp_path / "rainy", 4, rain=RAIN)
    samples = list(evaluation.evaluate_video(Darker(), tmp_path / "rainy", tmp_path / "clean"))
    assert samples[0].row.flicker is None
    for sample in samples[1:]:
        flicker = sample.row.flicker
        assert flicker.clean < 1.5  # what the flow itself misses
        assert flicker.input == pytest.approx(4 * 219 / 255, abs=0.6)
        assert flicker.output == pytest.approx(flicker.input, abs=1e-9)  # a constant taken off changes no flicker


@pytest.mark.parametrize("rainy, clean, short", [(2, 3, "rainy"), (3, 2, "clean")])
def test_videos_of_two_lengths_are_told(tmp_path, rainy, clean, short):
    sequence(tmp_path / "rainy", rainy)
    sequence(tmp_path / "clean", clean)
    with pytest.raises(DerainError, match=f"{short} ends after 2 frames") as caught:
        list(evaluation.evaluate_video(Darker(0), tmp_path / "rainy", tmp_path / "clean"))
    assert caught.value.exit_code == 3


def test_nothing_is_flicker_of_a_scene_that_was_never_seen():
    still = np.zeros((3, 32, 32), np.uint8)
    flow, seen = evaluation.clean_motion(still, still)
    assert flow.shape == (32, 32, 2)
    assert seen.all()


def row(name, gain, flicker=None):
    return Row(name, Scores(20, 0.5, 19, 0.4), Scores(20 + gain, 0.6, 19 + gain, 0.5), flicker)


def test_mean_is_taken_field_by_field():
    mean = mean_row([row("a", 2), row("b", 4, Flicker(3, 2, 1)), row("c", 6, Flicker(5, 3, 2))])
    assert mean.output.psnr_y == pytest.approx(24)
    assert mean.gain_db == pytest.approx(4)
    assert mean.flicker == Flicker(4, 2.5, 1.5)  # of the two that have one
    assert mean_row([replace(row("a", 2), input=None)]).gain_db is None
    with pytest.raises(ValueError, match="no rows"):
        mean_row([])


def test_gallery_keeps_the_worst():
    flat = np.zeros((3, 16, 16), np.uint8)
    gallery = Gallery(limit=3)
    for name, gain in zip("abcdefg", (5, 1, 7, -2, 3, 9, 1), strict=True):
        gallery.add(Sample(row(name, gain), flat, flat, flat))
    assert [kept.name for kept, _ in gallery.worst_first()] == ["d", "b", "g"]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.titles, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.images += [value for name, value in attributes if tag == "img" and name == "src"]
        self.links += [value for name, value in attributes if name in ("href", "src", "srcset", "action")]


@pytest.mark.parametrize("kind, profile", [([], "realtime"), (["--sequence"], "auto")])
def test_photos_are_scored_with_the_network_that_image_takes(folders, fake, kind, profile):
    assert run("--rainy", folders / "rainy", "--clean", folders / "clean", *kind).exit_code == 0
    assert fake.options["profile"] == profile


def test_command_writes_table_figures_and_page(folders, fake):
    result = run("--rainy", folders / "rainy", "--clean", folders / "clean", "--json", folders / "out.json",
                 "--html", folders / "out.html", "--profile", "tiny", "--strength", "0.5")
    assert result.exit_code == 0, result.output
    given = {"profile": "tiny", "device": "auto", "model": None, "strength": 0.5, "backend": "auto", "cache_dir": None}
    assert fake.options.items() >= given.items()
    assert "rain-3.png" in result.output and "+6.02" in result.output and "mean" in result.output
    assert not set("│┃┏") & set(result.output)  # plain columns, as README shows them and other programs read them

    document = json.loads((folders / "out.json").read_text())
    assert [each["name"] for each in document["files"]] == ["rain-1.png", "rain-2.png", "rain-3.png"]
    assert document["kind"] == "photos" and document["profile"] == "fake" and document["backend"] == "none"
    gains = [each["gain_db"] for each in document["files"]]
    assert document["mean"]["gain_db"] == pytest.approx(sum(gains) / 3)
    assert set(document["mean"]["output"]) == {"psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"}

    text = (folders / "out.html").read_text()
    page = Page(text)
    assert len(page.images) == 3 * 5  # input, output with its input below, truth, rain
    assert re.findall(r"<h3>(\S+) ", text) == ["rain-3.png", "rain-1.png", "rain-2.png"]
    for link in page.links:
        assert (folders / link).is_file()  # nothing from elsewhere
    assert not re.search(r"https?:|//", text)
    assert "script" not in page.tags


def test_page_shows_the_rain_four_times(folders, fake):
    run("--rainy", folders / "rainy", "--clean", folders / "clean", "--html", folders / "out.html")
    shown = cv2.imread(str(folders / "out_pictures" / "001_rain.jpg"))
    assert abs(shown.astype(int) - 4 * RAIN).max() <= 2


def test_page_escapes_names(tmp_path, fake):
    write(tmp_path / "clean" / "<b>&.png", picture(1))
    assert run("--clean", tmp_path / "clean", "--html", tmp_path / "out.html").exit_code == 0
    text = (tmp_path / "out.html").read_text()
    assert "&lt;b&gt;&amp;.png" in text and "<b>&" not in text


def test_command_without_rainy_side_measures_the_change(folders, fake):
    fake.amount = 1
    result = run("--clean", folders / "clean", "--json", folders / "out.json")
    assert result.exit_code == 0, result.output
    mean = json.loads((folders / "out.json").read_text())["mean"]
    assert mean["input"] is None and mean["gain_db"] is None
    assert mean["output"]["psnr_rgb"] == pytest.approx(20 * math.log10(255))


def test_command_takes_folders_as_one_video(tmp_path, fake):
    fake.amount = 0
    sequence(tmp_path / "clean", 3)
    result = run("--clean", tmp_path / "clean", "--sequence", "--live", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["kind"] == "live video"
    assert document["files"][0]["flicker"] is None and document["files"][1]["flicker"]["output"] < 1.5
    assert document["mean"]["output"]["psnr_y"] == IDENTICAL_DB


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--clean", "nowhere"], 1, "nowhere does not exist"),
        (["--clean", "clean", "--rainy", "nowhere"], 1, "nowhere does not exist"),
        (["--clean", "clean", "--json", "none/out.json"], 1, "cannot be written"),
        (["--clean", "clean", "--html", "clean"], 1, "is a folder"),
        (["--clean", "clean/norain-1.png", "--json", "clean/norain-1.png"], 1, "is an input"),
        (["--clean", "clean", "--json", "clean/norain-1.png"], 1, "is an input"),
        (["--clean", "clean", "--json", "out", "--html", "./out"], 1, "is named twice"),
        (["--clean", "clean", "--live"], 2, "--live needs a video"),
        (["--clean", "clean", "--model", "none.safetensors"], 1, "does not exist"),
        ([], 2, "--clean"),
    ],
)
def test_command_tells_trouble_before_any_work(folders, fake, monkeypatch, arguments, code, message):
    monkeypatch.chdir(folders)
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.output and "Traceback" not in result.output
    assert fake.calls == []


def test_a_full_disk_does_not_take_the_table(folders, fake, monkeypatch):
    def refuse(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("streamderain.cli.eval.write_whole", refuse)
    result = run("--clean", folders / "clean", "--json", folders / "out.json")
    assert result.exit_code == 4
    assert "mean" in result.stdout and result.stderr.endswith(
        "Error: the figures could not be written (the disk is full); make room or choose another place.\n"
    )


def test_a_damaged_video_keeps_its_figures_and_says_so(tmp_path, fake):
    sequence(tmp_path / "clean", 4)
    (tmp_path / "clean" / "002.png").write_bytes(b"no picture")
    result = run("--clean", tmp_path / "clean", "--sequence", "--json", tmp_path / "out.json")
    assert result.exit_code == 3
    assert "is damaged or short: 1 damaged frames or packets; the figures are of what could be read" in result.stderr
    assert len(json.loads((tmp_path / "out.json").read_text())["files"]) == 3


def test_figures_up_to_the_end_of_the_shorter_video_are_kept(tmp_path, fake):
    sequence(tmp_path / "clean", 3)
    sequence(tmp_path / "rainy", 2)
    result = run("--clean", tmp_path / "clean", "--rainy", tmp_path / "rainy", "--sequence", "--json",
                 tmp_path / "out.json")
    assert result.exit_code == 3 and "ends after 2 frames" in result.stderr
    assert len(json.loads((tmp_path / "out.json").read_text())["files"]) == 2
