"""The virtual camera, against a library that only records: no such device exists where tests run."""
import enum
import sys
import threading
import types
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
from live_fakes import FakeClock, make_frame, shown

from streamderain.errors import DerainError
from streamderain.live import virtual
from streamderain.live.moments import SessionInfo, Shown
from streamderain.live.status import Status
from streamderain.live.virtual import VirtualCamera, fitted


class Device:
    """What pyvirtualcam.Camera is, as far as it is used; checks what the real one checks."""

    opened: ClassVar[list] = []
    trouble = None  # raised by every send and open while it is set

    def __init__(self, width, height, fps, *, fmt, device=None):
        if Device.trouble:
            raise Device.trouble
        self.size, self.fps, self.fmt, self.device = (width, height), fps, fmt, device or "/dev/video9"
        self.frames, self.closed = [], False
        Device.opened.append(self)

    def send(self, frame):
        if Device.trouble:
            raise Device.trouble
        assert frame.dtype == np.uint8 and frame.shape == (self.size[1], self.size[0], 3)
        self.frames.append(frame)

    def close(self):
        self.closed = True


@pytest.fixture
def library(monkeypatch, tmp_path):
    """A fake pyvirtualcam, and one loopback device."""
    module = types.ModuleType("pyvirtualcam")
    module.Camera, module.PixelFormat = Device, enum.Enum("PixelFormat", ["BGR", "RGB"])
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "video9").mkdir()
    monkeypatch.setattr(virtual, "_LOOPBACKS", tmp_path)
    Device.opened, Device.trouble = [], None
    return module


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def status(clock):
    return Status(clock=clock)


def wait_until(true):
    for _ in range(3000):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen in 30 seconds")


def send(camera, status, picture):
    """Show a picture and wait until it is sent or lost."""
    account = status.outputs[0]
    before = account.taken + account.dropped
    camera.show(picture)
    wait_until(lambda: account.taken + account.dropped > before)


def test_the_clean_picture_is_sent_in_the_first_ones_size(library, status, clock):
    status.opened(SessionInfo(1, 32, 24, Fraction(30000, 1001), "h264", "yuv420p"))
    camera = VirtualCamera(status=status, clock=clock)
    send(camera, status, shown(level=66))
    send(camera, status, shown(level=100, width=64, height=24))
    camera.close()
    (device,) = Device.opened
    assert device.size == (32, 24) and device.fps == pytest.approx(30000 / 1001)
    assert device.fmt is library.PixelFormat.BGR
    first, second = device.frames
    assert abs(int(first[5, 5, 0]) - 52) <= 1  # (66 - 5 - 16) * 255 / 219
    assert (second[:5] == 0).all() and (second[-5:] == 0).all() and second[12].min() > 80  # bars above and below
    assert device.closed and status.outputs[0].taken == 2 and status.outputs[0].state == "working"
    assert [event.text for event in status.events] == ["other programs find the picture as /dev/video9, 32x24"]


def test_a_given_device_is_the_one_that_is_opened(library, status):
    camera = VirtualCamera("/dev/null", status=status)  # a character device
    send(camera, status, shown())
    camera.close()
    assert Device.opened[0].device == "/dev/null" and camera.name == "virtual camera /dev/null"


def test_odd_sides_are_made_even(library, status, clock):
    camera = VirtualCamera(status=status, clock=clock)
    send(camera, status, shown(width=33, height=25))
    camera.close()
    assert Device.opened[0].size == (32, 24)


def test_a_rotated_picture_is_sent_upright(library, status, clock):
    camera = VirtualCamera(status=status, clock=clock)
    frame = make_frame(rotation=90)
    send(camera, status, Shown(frame, frame, 0.0))
    camera.close()
    assert Device.opened[0].size == (24, 32)


def test_a_device_that_goes_is_opened_again_when_it_returns(library, status, clock):
    camera = VirtualCamera(status=status, clock=clock)
    send(camera, status, shown(1))
    Device.trouble = RuntimeError("'v4l2loopback' backend:\nno such device")
    for number in range(3):
        send(camera, status, shown(number))
        clock.advance(10)
    assert status.outputs[0].state == "waiting" and Device.opened[0].closed
    Device.trouble = None
    send(camera, status, shown(5))
    camera.close()
    assert len(Device.opened) == 2 and len(Device.opened[1].frames) == 1 and status.outputs[0].state == "working"
    lines = [event.text for event in status.events]
    assert lines[1] == "virtual camera failed ('v4l2loopback' backend: no such device); it is tried again"
    assert len(lines) == 3  # found, failed once, found again


def test_it_is_not_tried_with_every_picture(library, status, clock):
    camera = VirtualCamera(status=status, clock=clock)
    Device.trouble = RuntimeError("busy")
    send(camera, status, shown(1))
    Device.trouble = None
    send(camera, status, shown(2))
    assert Device.opened == []
    clock.advance(5)
    send(camera, status, shown(3))
    camera.close()
    assert len(Device.opened) == 1


def test_a_hanging_device_holds_nobody_up(library, status, clock, monkeypatch):
    hold, begun = threading.Event(), threading.Event()

    def hang(self, frame):
        begun.set()
        hold.wait(60)

    monkeypatch.setattr(Device, "send", hang)
    monkeypatch.setattr(virtual, "_CLOSE_SECONDS", 0.05)
    camera = VirtualCamera(status=status, clock=clock)
    camera.show(shown(0))
    assert begun.wait(30)
    for number in range(50):  # would block here
        camera.show(shown(number))
    assert status.outputs[0].dropped == 49  # the newest wins
    camera.close()
    assert not Device.opened[0].closed  # what another thread is writing to is not closed under it
    hold.set()


def test_without_the_library_it_says_what_to_install(monkeypatch, status, clock):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(DerainError, match=r"pyvirtualcam, which .+: pip install 'streamderain\[virtual\]'"):
        VirtualCamera(status=status, clock=clock)


def test_without_a_device_linux_is_told_to_load_the_module(library, status, clock, tmp_path):
    (tmp_path / "video9").rmdir()
    with pytest.raises(DerainError, match="there is no video loopback device; load one with `sudo modprobe v4l2loo"):
        VirtualCamera(status=status, clock=clock)
    with pytest.raises(DerainError, match="there is no /dev/video77; load one with"):
        VirtualCamera("/dev/video77", status=status)
    assert status.outputs == []


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_the_device_is_tried_before_the_run(library, status, clock, monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    VirtualCamera(status=status).close()
    assert [device.closed for device in Device.opened] == [True]
    Device.trouble = RuntimeError("'obs' backend: virtual camera output could not be started\n'unity' backend: none")
    with pytest.raises(DerainError, match=r"could not be started 'unity' backend: none\); install OBS") as caught:
        VirtualCamera(status=status, clock=clock)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(24, 32), (1, 1), (480, 640), (1000, 3), (3, 1000), (24, 33)])
def test_any_picture_fits_whole_in_the_middle(shape):
    picture = np.full((*shape, 3), 200, np.uint8)
    out = fitted(picture, (64, 48))
    assert out.shape == (48, 64, 3)
    bright = out[..., 0] > 100
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert bright[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert rows.size == 48 or columns.size == 64  # as large as it fits
    assert abs(rows[0] - (47 - rows[-1])) <= 1 and abs(columns[0] - (63 - columns[-1])) <= 1
