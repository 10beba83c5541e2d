"""The window: what it draws and what its keys do, by a fake toolkit; and once for real, on a screen in memory."""
import contextlib
import os
import shutil
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from live_fakes import FakeClock, make_frame, shown
from numpy.testing import assert_array_equal

from streamderain import compare
from streamderain.errors import DerainError
from streamderain.live import window
from streamderain.live.controls import Controls, Settings
from streamderain.live.moments import Shown
from streamderain.live.pictures import to_bgr
from streamderain.live.status import Status
from streamderain.live.window import Window

SIZE = (320, 240)


class Toolkit:
    """In place of OpenCV's windows."""

    def __init__(self, monkeypatch):
        self.keys, self.pictures, self.title, self.mouse = [], [], None, None
        self.size, self.visible, self.calls = None, False, []
        for name in ("namedWindow", "resizeWindow", "setMouseCallback", "imshow", "waitKey", "setWindowTitle",
                     "getWindowProperty", "setWindowProperty", "getWindowImageRect", "destroyWindow"):
            monkeypatch.setattr(cv2, name, getattr(self, name))

    def namedWindow(self, name, style):
        self.visible, self.thread = True, threading.get_ident()
        assert style & cv2.WINDOW_GUI_NORMAL and not style & cv2.WINDOW_AUTOSIZE  # resizable, without tool bars

    def resizeWindow(self, name, width, height):
        self.size = (width, height)

    def setMouseCallback(self, name, callback):
        self.mouse = callback

    def imshow(self, name, picture):
        assert picture.dtype == np.uint8 and picture.flags.c_contiguous
        assert threading.get_ident() == self.thread
        self.pictures.append(picture)

    def waitKey(self, ms):
        return ord(self.keys.pop(0)) if self.keys else -1

    def setWindowTitle(self, name, title):
        self.title = title

    def getWindowProperty(self, name, property):
        if not self.visible:
            raise cv2.error("NULL guiReceiver (please create a window)")
        return 1.0

    def setWindowProperty(self, name, property, value):
        self.calls.append((property, value))

    def getWindowImageRect(self, name):
        return (0, 0, *self.size)

    def destroyWindow(self, name):
        self.visible = False


class Bench:
    def __init__(self, toolkit):
        self.toolkit, self.clock = toolkit, FakeClock()
        self.controls, self.status = Controls(Settings(strength=1.0)), Status("rtsp://***@cam/x", self.clock)
        self.window = Window(controls=self.controls, status=self.status, clock=self.clock)

    def press(self, key):
        self.toolkit.keys.append(key)
        assert self.window.pump()  # the key is read after drawing
        return self.draw()

    def draw(self):
        """Pump once, after all messages are gone; the newest picture that was drawn."""
        self.clock.advance(10)
        assert self.window.pump()
        return self.toolkit.pictures[-1]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(window, "check_display", lambda: None)
    bench = Bench(Toolkit(monkeypatch))
    assert bench.window.pump()
    return bench


def picture(number=0):
    width, height = SIZE
    return shown(number, width=width, height=height)


def test_it_waits_for_the_camera_and_says_so(bench):
    assert bench.toolkit.pictures[-1].max() > 200  # letters
    assert bench.window.pump() and len(bench.toolkit.pictures) == 1  # drawn once


def test_it_begins_with_the_clean_picture_in_its_own_size(bench):
    bench.window.show(picture())
    drawn = bench.draw()
    assert bench.toolkit.size == SIZE
    assert_array_equal(drawn, to_bgr(picture().after))
    assert bench.status.outputs[0].taken == 1


def test_a_large_picture_is_scaled_to_what_fits_on_a_screen(bench):
    bench.window.show(shown(width=3840, height=2160))
    assert bench.draw().shape == (720, 1280, 3) and bench.toolkit.size == (1280, 720)


def test_only_the_newest_is_drawn(bench):
    for number in range(5):
        bench.window.show(picture(number))
    assert_array_equal(bench.draw(), to_bgr(picture(4).after))
    assert bench.status.outputs[0].dropped == 4 and bench.status.outputs[0].taken == 1
    bench.draw()  # in the new size of the window
    count = len(bench.toolkit.pictures)
    bench.draw()
    assert len(bench.toolkit.pictures) == count  # nothing new, nothing drawn


def test_c_goes_through_all_views(bench):
    both = picture()
    bench.window.show(both)
    assert_array_equal(bench.draw(), to_bgr(both.after))
    for expected in (
        compare.wipe(both.before, both.after, 0.5),
        None,
        compare.rain(both.before, both.after),
        both.before,
        both.after,
    ):
        drawn = bench.press("c")
        if expected is not None:
            assert_array_equal(drawn, to_bgr(expected))
        else:  # side by side is wider than the window, and gets bars above and below
            assert drawn.shape == (240, 320, 3) and not drawn[:58].any() and not drawn[-58:].any()
            side = to_bgr(compare.side(both.before, both.after), SIZE[0])
            assert_array_equal(drawn[60:180], side)


def test_the_name_of_the_view_is_shown_for_a_moment(bench):
    bench.window.show(picture())
    plain = bench.draw().copy()
    bench.toolkit.keys.append("c")
    assert bench.window.pump() and bench.window.pump()  # read, then drawn
    named = bench.toolkit.pictures[-1].copy()
    later = bench.draw()
    assert (named[-60:] != later[-60:]).any() and (later != plain).any()


def test_the_line_of_the_wipe_follows_the_mouse(bench):
    both = picture()
    bench.window.show(both)
    bench.press("c")
    bench.toolkit.mouse(cv2.EVENT_MOUSEMOVE, 80, 5, 0, None)  # no button
    assert_array_equal(bench.draw(), to_bgr(compare.wipe(both.before, both.after, 0.5)))
    for x, share in ((80, 0.25), (-50, 0.0), (5000, 1.0)):
        bench.toolkit.mouse(cv2.EVENT_MOUSEMOVE, x, 5, cv2.EVENT_FLAG_LBUTTON, None)
        assert_array_equal(bench.draw(), to_bgr(compare.wipe(both.before, both.after, share)))


def test_space_freezes_and_lets_go(bench):
    bench.window.show(picture(1))
    bench.draw()
    bench.press(" ")
    bench.window.show(picture(2))
    assert_array_equal(bench.draw(), to_bgr(picture(1).after))
    assert "frozen" in bench.toolkit.title
    bench.press(" ")
    assert_array_equal(bench.draw(), to_bgr(picture(2).after))
    assert "frozen" not in bench.toolkit.title


def test_a_frozen_picture_can_be_compared(bench):
    both = picture(1)
    bench.window.show(both)
    bench.draw()
    bench.press(" ")
    bench.window.show(picture(2))
    assert_array_equal(bench.press("c"), to_bgr(compare.wipe(both.before, both.after, 0.5)))


def test_s_asks_for_a_snapshot_where_there_is_a_place_for_it(bench):
    bench.window.show(picture())
    bench.press("s")
    assert bench.controls.take_snapshots() == 0  # nobody would take it until somebody asks for a folder
    bench.status.add_output("snapshots pictures")
    bench.press("s")
    assert bench.controls.take_snapshots() == 1


@pytest.mark.parametrize("keys, strength", [("+", 1.1), ("++", 1.2), ("=", 1.1), ("-", 0.9), ("-" * 15, 0.0),
                                            ("+" * 15, 2.0), ("+++---", 1.0)])
def test_plus_and_minus_change_the_strength(bench, keys, strength):
    for key in keys:
        bench.press(key)
    assert bench.controls.settings.strength == strength


def test_f_fills_the_screen_and_returns(bench):
    bench.press("f")
    bench.press("f")
    full = cv2.WND_PROP_FULLSCREEN
    assert bench.toolkit.calls == [(full, cv2.WINDOW_FULLSCREEN), (full, cv2.WINDOW_NORMAL)]


@pytest.mark.parametrize("key", ["q", "Q", "\x1b"])
def test_q_and_escape_end(bench, key):
    bench.toolkit.keys.append(key)
    assert not bench.window.pump()
    bench.window.close()
    assert not bench.toolkit.visible


def test_other_keys_do_nothing(bench):
    for key in "xyz\r\t\xff":
        bench.press(key)
    assert bench.controls.settings == Settings(strength=1.0) and bench.controls.take_snapshots() == 0


def test_closing_the_window_ends(bench):
    bench.toolkit.visible = False
    assert not bench.window.pump()
    bench.window.close()  # and does not trip over it


@pytest.mark.parametrize("space, inner", [((640, 240), (320, 240)), ((320, 480), (320, 240)), ((160, 240), (160, 120)),
                                          ((1600, 1200), (320, 240))])
def test_whatever_the_window_is_drawn_to_the_shape_stays(bench, space, inner):
    bench.window.show(picture(100))
    bench.draw()
    bench.toolkit.size = space
    drawn = bench.draw()
    assert drawn.shape[1] / drawn.shape[0] == pytest.approx(space[0] / space[1], rel=0.02)  # the toolkit stretches none
    bright = drawn[..., 0] > 10
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert (columns.size, rows.size) == inner


def test_the_title_tells_how_it_goes_and_no_password(bench):
    bench.status.connected = True
    for number in range(11):
        bench.clock.advance(0.04)
        bench.status.left(bench.clock.now() - 0.063)
        bench.window.show(picture(number))
    bench.clock.advance(1)
    assert bench.window.pump()
    assert bench.toolkit.title == "rtsp://***@cam/x - 25.0 fps - 63 ms"
    bench.status.connected = False
    bench.draw()
    assert bench.toolkit.title == "rtsp://***@cam/x - no camera"


def test_a_stand_in_and_a_rotated_picture_are_drawn(bench):
    frame = make_frame(width=320, height=240, rotation=90)
    bench.window.show(Shown(frame, frame, 0.0, live=False))
    assert bench.draw().shape == (320, 240, 3)


# --- whether there is a screen ---
def without_screen(monkeypatch, **variables):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


linux = pytest.mark.skipif(sys.platform != "linux", reason="screens have no names elsewhere")


@linux
def test_without_a_screen_one_line_says_what_to_do(monkeypatch):
    without_screen(monkeypatch)
    with pytest.raises(DerainError, match=r"no display: .+; use --serve 8088 and look with a browser") as caught:
        Window(controls=Controls(), status=Status())
    assert "\n" not in str(caught.value)


@linux
def test_a_screen_that_does_not_answer_aborts_nobody(monkeypatch):
    without_screen(monkeypatch, DISPLAY=":2347")
    with pytest.raises(DerainError, match=r"no display: .*(connect|display).*; use --serve") as caught:
        window.check_display()
    assert "\n" not in str(caught.value)


@linux
def test_the_command_loads_opencv_before_pyav():
    """Else Qt finds PyAV's X libraries instead of its own, and the first window hangs for ever."""
    code = "import streamderain.live.assemble, sys; print(*(name for name in sys.modules if name in ('av', 'cv2')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["cv2", "av"]


def test_an_opencv_without_windows_is_told(monkeypatch):
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    with pytest.raises(DerainError, match="the installed OpenCV is built without windows; use --serve 8088"):
        window.check_display()


# --- for real ---
PERSON = r"""
import os, sys, time
sys.path.insert(0, sys.argv[1])
import streamderain.live.assemble  # as the command does: the order in which libraries are loaded matters to windows
from live_fakes import shown
from streamderain.live.controls import Controls
from streamderain.live.status import Status
from streamderain.live.window import Window

controls, status = Controls(), Status("testsrc")
window = Window(controls=controls, status=status)
status.add_output("snapshots folder")
told, number = None, 0
while window.pump():
    number += 1
    window.show(shown(number % 50, width=640, height=360))
    state = (window._view, window._frozen, controls.settings.strength, controls.take_snapshots())
    if state != told:
        print(*state, flush=True)
        told = state[:3] + (0,)
    time.sleep(0.01)
window.close()
print("ended", flush=True)
"""


@contextlib.contextmanager
def screen():
    """An X server in memory; its name."""
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
                              pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs Xvfb and xdotool")
@pytest.mark.skipif(sys.platform != "linux" or not cv2.currentUIFramework(), reason="this OpenCV has no windows")
def test_a_person_at_a_real_window(tmp_path):
    with screen() as name:
        environment = {**os.environ, "DISPLAY": name}
        command = [sys.executable, "-c", PERSON, os.path.dirname(__file__)]
        run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

        def do(*words):
            return subprocess.run(["xdotool", *words], env=environment, capture_output=True, text=True, timeout=60)

        def says(line):
            for said in run.stdout:
                if said.strip() == line:
                    return
            raise AssertionError(f"the window ended without saying {line!r}")

        guard = threading.Timer(120, run.kill)
        guard.start()
        try:
            says("after False 1.0 0")
            found = do("search", "--sync", "--onlyvisible", "--name", "^testsrc").stdout.split()
            do("windowfocus", "--sync", found[0])
            for key, line in (("c", "wipe False 1.0 0"), ("plus", "wipe False 1.1 0"), ("minus", "wipe False 1.0 0"),
                              ("space", "wipe True 1.0 0"), ("s", "wipe True 1.0 1"), ("space", "wipe False 1.0 0")):
                do("key", "--clearmodifiers", key)
                says(line)
            geometry = do("getwindowgeometry", "--shell", found[0]).stdout
            assert "WIDTH=640\nHEIGHT=360" in geometry
            do("key", "q")
            says("ended")
            assert run.wait(60) == 0
        finally:
            guard.cancel()
            run.kill()
            run.wait(60)
