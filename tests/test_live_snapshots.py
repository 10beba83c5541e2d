"""Snapshots: named by time, whole, not too many, and trouble with the disk is told in one line."""
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from live_fakes import FakeClock, make_frame, shown

from streamderain.errors import DerainError
from streamderain.live.controls import Controls
from streamderain.live.moments import Shown
from streamderain.live.snapshots import LEAST_SECONDS, Snapshots
from streamderain.live.status import Status

NOON = datetime(2031, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)


class Bench:
    """Snapshots with a clock and a time of day that stand still, and an event for everything told."""

    def __init__(self, folder, **options):
        self.clock, self.now = FakeClock(), NOON
        self.controls, self.status = Controls(), Status(clock=self.clock)
        self.told, self.lines = threading.Semaphore(0), []
        self.status.on_event(self._hear)
        self.snapshots = Snapshots(folder, controls=self.controls, status=self.status, clock=self.clock,
                                   now=lambda: self.now, **options)

    def _hear(self, event):
        self.lines.append(event.text)
        self.told.release()

    def take(self, picture=None):
        """Ask, show a picture, wait until it is told."""
        self.controls.ask_snapshot()
        self.clock.advance(LEAST_SECONDS)
        self.snapshots.show(picture or shown())
        assert self.told.acquire(timeout=30)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "pictures", camera="garden")
    yield bench
    bench.snapshots.close()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_clean_picture_is_kept_under_its_time_and_camera(bench, tmp_path):
    bench.take(shown(level=66))
    (name,) = files(tmp_path / "pictures")
    assert name == "garden_2031-05-01T12-00-00.250Z.png"
    picture = cv2.imread(str(tmp_path / "pictures" / name))
    assert picture.shape == (24, 32, 3)
    expected = round((66 - 5 - 16) * 255 / 219)  # "after" is 5 levels darker; limited range
    assert abs(int(picture[3, 3, 1]) - expected) <= 1
    assert bench.lines == [f"kept {tmp_path / 'pictures' / name}"]
    assert bench.status.outputs[0].taken == 1 and bench.status.outputs[0].state == "working"


def test_nothing_is_kept_unless_asked(bench, tmp_path):
    for number in range(5):
        bench.snapshots.show(shown(number))
    bench.snapshots.close()
    assert files(tmp_path / "pictures") == []


def test_it_is_upright(bench, tmp_path):
    frame = make_frame(rotation=90)
    bench.take(Shown(frame, frame, 0.0))
    (name,) = files(tmp_path / "pictures")
    assert cv2.imread(str(tmp_path / "pictures" / name), cv2.IMREAD_UNCHANGED).shape == (32, 24, 3)


def test_jpeg_where_it_is_wished_for(tmp_path):
    bench = Bench(tmp_path, kind="jpg")
    bench.take()
    bench.snapshots.close()
    (name,) = files(tmp_path)
    assert name == "camera_2031-05-01T12-00-00.250Z.jpg" and (tmp_path / name).read_bytes()[:2] == b"\xff\xd8"


def test_a_time_that_is_set_back_overwrites_nothing(bench, tmp_path):
    bench.take(shown(1))
    bench.now = NOON + timedelta(seconds=1)
    bench.take(shown(2))
    bench.now = NOON
    bench.take(shown(3))
    stem = "garden_2031-05-01T12-00-00.250Z"
    assert files(tmp_path / "pictures") == [f"{stem}-2.png", f"{stem}.png", "garden_2031-05-01T12-00-01.250Z.png"]


def test_asking_often_does_not_fill_the_disk(bench, tmp_path):
    bench.take()
    for _ in range(40):  # 25 pictures a second, a wish each
        bench.controls.ask_snapshot()
        bench.clock.advance(0.04)
        bench.now += timedelta(seconds=0.04)
        bench.snapshots.show(shown())
        threading.Event().wait(0.001)
    bench.snapshots.close()
    assert 2 <= len(files(tmp_path / "pictures")) <= 1 + 1.6 / LEAST_SECONDS


def test_a_stand_in_is_kept_but_told_apart(bench):
    bench.take(shown(live=False))
    assert "the camera is lost" in bench.lines[0]


def test_a_camera_name_cannot_lead_out_of_the_folder(tmp_path):
    bench = Bench(tmp_path / "in", camera="../../etc/x y")
    bench.take()
    bench.snapshots.close()
    assert files(tmp_path) == ["in"] and files(tmp_path / "in")[0].startswith("______etc_x_y_2031")


def test_a_full_disk_is_told_in_one_line_and_overcome(bench, tmp_path, monkeypatch):
    def refuse(path, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("streamderain.live.snapshots.write_whole", refuse)
        bench.take()
    assert "could not be written: the disk is full; make room" in bench.lines[0] and "\n" not in bench.lines[0]
    assert bench.status.outputs[0].state == "failed" and files(tmp_path / "pictures") == []
    bench.take()
    assert bench.status.outputs[0].state == "working" and len(files(tmp_path / "pictures")) == 1


def test_a_folder_that_vanished_is_told(bench, tmp_path):
    os.rmdir(tmp_path / "pictures")
    bench.take()
    assert "could not be written: no such file or directory" in bench.lines[0]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(DerainError, match="x is no folder; give a folder"):
        Bench(tmp_path / "x")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no folders on Linux only")
def test_a_folder_that_takes_no_files_is_refused_before_the_run():
    with pytest.raises(DerainError, match=r"/proc/\S+ cannot be written \(.+\); give another folder for snapshots"):
        Bench(Path("/proc/streamderain"))


def test_showing_never_waits_for_the_disk(bench, monkeypatch):
    hold, begun = threading.Event(), threading.Event()

    def slow(path, data):
        begun.set()
        assert hold.wait(30)

    monkeypatch.setattr("streamderain.live.snapshots.write_whole", slow)
    bench.controls.ask_snapshot()
    bench.snapshots.show(shown())
    assert begun.wait(30)
    for number in range(100):  # would block here
        bench.controls.ask_snapshot()
        bench.clock.advance(LEAST_SECONDS)
        bench.snapshots.show(shown(number))
    assert bench.status.outputs[0].dropped == 99  # the newest wins
    hold.set()


def test_colours_and_depths_survive_as_eight_bits(tmp_path):
    from streamderain.core.colour import PixelFormat
    from streamderain.frame import Frame

    bench = Bench(tmp_path)
    red = tuple(np.full((8, 8), value, np.uint16) for value in (1023, 0, 0))
    frame = Frame(red, PixelFormat("rgb", 10, full_range=True))
    bench.take(Shown(frame, frame, 0.0))
    bench.snapshots.close()
    (path,) = tmp_path.iterdir()
    assert (cv2.imread(str(path)) == (0, 0, 255)).all()
