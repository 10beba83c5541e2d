"""Every kind of source: opened by its address, refused in one line, and unable to reach where it should not."""
from __future__ import annotations

import gc
import http.server
import socket
import threading
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from typing import ClassVar

import cv2
import numpy as np
import psutil
import pytest
from clips import clip
from live_fakes import FakeClock
from live_peers import SAMPLE, RtspServer, free_port, lossy_line, needs_ffmpeg, needs_rtsp_server, ts_sender

from streamderain.diagnosis import Camera
from streamderain.live import cameras, local
from streamderain.live.address import Address
from streamderain.live.cameras import is_local, list_cameras, open_camera
from streamderain.live.connection import CameraError, Heard, Picture, Wish
from streamderain.live.timing import MONOTONIC


def opened(text, clock=MONOTONIC, **wish):
    return open_camera(Address(text), Wish(**wish), clock)


def pictures(connection, count):
    """So many pictures; closes the connection."""
    try:
        return list(islice((each for each in connection if isinstance(each, Picture)), count))
    finally:
        connection.close()


@pytest.mark.parametrize("text, message", [
    ("none.mp4", "no camera, no address and no file"),
    (str(SAMPLE), "use --pace"),
    ("srt://127.0.0.1:9", "srt://, which is not read here"),
    ("file:///etc/passwd", "file://, which is not read here"),
    ("concat:a|b", "no camera"),
    ("testsrc=1x1", "too small"),
    ("testsrc=9999x9999", "too large"),
    ("testsrc=huge", "cannot be drawn"),
    ("testsrc=640x480@0", "too fast|too small"),
    ("testsrc=640x480@25/0", "cannot be drawn"),
    ("98", "not there|does not open"),
    ("/dev/video98", "not there"),
])  # fmt: skip
def test_what_cannot_be_opened_is_said_in_one_line(text, message):
    with pytest.raises(CameraError, match=message) as caught:
        opened(text)
    assert caught.value.trouble == "absent" and "\n" not in str(caught.value) and is_local(Address(text))


@pytest.mark.parametrize("scheme", ["tcp", "http", "rtsp", "rtmp"])
def test_nobody_listens(scheme):
    with pytest.raises(CameraError) as caught:
        opened(f"{scheme}://me:canary99@127.0.0.1:{free_port()}/x")
    assert caught.value.trouble == "unreachable" and "canary99" not in repr(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None  # the library's error has the password


def test_testsrc_draws_what_was_asked():
    clock = FakeClock()
    found = pictures(opened("testsrc=64x48@10", clock), 12)
    assert [float(each.own) for each in found] == pytest.approx([n / 10 for n in range(12)])
    assert found[0].frame.planes[0].shape == (48, 64) and not np.array_equal(
        found[0].frame.planes[0], found[1].frame.planes[0]
    )
    assert clock.now() - 1000 == pytest.approx(1.1)
    assert opened("testsrc", clock, width=64, height=32, rate=Fraction(5)).info.rate == 5


def test_testsrc_leaves_out_what_nobody_had_time_for():
    clock = FakeClock()
    stream = iter(opened("testsrc=64x48@10", clock))
    next(stream)
    clock.advance(1.05)
    assert float(next(stream).own) == pytest.approx(1.0)


def test_a_paced_file_that_is_no_video_is_not_taken_for_a_camera_that_is_off(tmp_path):
    (tmp_path / "no.mp4").write_bytes(bytes(3000))
    with pytest.raises(CameraError, match="give a file that plays as video"):
        opened(str(tmp_path / "no.mp4"), pace=True)


def test_a_paced_file_keeps_its_pace_and_begins_again():
    clock = FakeClock()
    connection = opened(str(SAMPLE), clock, pace=True, sound=False)
    found = pictures(connection, 130)
    owns = [each.own for each in found]
    assert {after - before for before, after in pairwise(owns)} == {Fraction(1, 25)}
    assert clock.now() - 1000 == pytest.approx(129 / 25, abs=0.05)
    assert np.array_equal(found[0].frame.planes[0], found[125].frame.planes[0])
    assert found[0].frame.side == {}


def test_a_connection_that_ends_takes_its_decoders_threads_with_it(tmp_path):
    clip(tmp_path / "a.ts", range(0, 1000, 40))
    data = (tmp_path / "a.ts").read_bytes()
    listener = socket.create_server(("127.0.0.1", 0))
    port, counts = listener.getsockname()[1], []

    def hang_up():
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                line.sendall(data)
                line.close()

    threading.Thread(target=hang_up, daemon=True).start()
    gc.collect()
    gc.disable()  # nothing may have to wait for it
    try:
        for _ in range(4):
            connection = opened(f"tcp://127.0.0.1:{port}")
            try:
                with pytest.raises(CameraError, match="ended the stream"):
                    for _ in connection:
                        pass
            finally:
                connection.close()
            counts.append(psutil.Process().num_threads())
    finally:
        gc.enable()
        listener.close()
    assert counts[-1] <= counts[0]


def test_a_file_that_is_gone_at_the_next_turn_is_said(tmp_path):
    clip(tmp_path / "a.mkv")
    connection = opened(str(tmp_path / "a.mkv"), FakeClock(), pace=True)
    try:
        with pytest.raises(CameraError, match=r"a\.mkv"):
            for _ in connection:
                (tmp_path / "a.mkv").unlink(missing_ok=True)
    finally:
        connection.close()


def test_a_machine_too_slow_for_a_file_plays_it_slower_and_not_late():
    clock = FakeClock()
    owns, lags = [], []
    connection = opened(str(SAMPLE), clock, pace=True, sound=False)
    for arrival in islice((each for each in connection if isinstance(each, Picture)), 60):
        owns.append(arrival.own)
        lags.append(clock.now() - 1000 - float(arrival.own))
        clock.advance(0.1)  # a machine that does ten frames a second
    connection.close()
    assert max(lags) < 0.4 and owns[-1] > 5


def test_a_paced_file_once_ends_and_brings_its_sound():
    connection = opened(str(SAMPLE), FakeClock(), pace=True, loop=False)
    arrivals = []
    with pytest.raises(CameraError, match="ended"):
        for arrival in connection:
            arrivals.append(arrival)
    sounds = [each for each in arrivals if isinstance(each, Heard)]
    assert sum(isinstance(each, Picture) for each in arrivals) == 125 and connection.info.sound is not None
    assert sounds[0].samples.dtype == np.float32 and sounds[0].samples.shape[0] == connection.info.sound[1]
    total = sum(each.samples.shape[1] for each in sounds) / sounds[0].rate
    assert total == pytest.approx(5, abs=0.2)


# --- http ---
class Mjpeg(http.server.BaseHTTPRequestHandler):
    """Ten JPEGs as multipart, and a playlist that points at a file of this machine."""

    hits: ClassVar[list[str]] = []

    def do_GET(self):
        self.hits.append(self.path)
        self.send_response(200)
        if self.path == "/evil.m3u8":
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.end_headers()
            line = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{SAMPLE}\n#EXT-X-ENDLIST\n"
            self.wfile.write(line.encode())
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
        self.end_headers()
        for number in range(10):
            _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 20 * number, np.uint8))
            head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_mjpeg_over_http_has_no_time_of_its_own(web):
    found = pictures(opened(f"{web}/video"), 8)
    assert [each.own for each in found] == [None] * 8
    assert [round(float(each.frame.planes[0].mean()) / 20) for each in found] == list(range(8))
    assert found[0].frame.format.full_range


def test_a_playlist_cannot_make_us_read_our_own_disk(web):
    with pytest.raises(CameraError):
        pictures(opened(f"{web}/evil.m3u8"), 1)
    assert "/evil.m3u8" in Mjpeg.hits


@pytest.fixture
def files(tmp_path):
    """A web server with a film of two seconds, a playlist of three such pieces, and one that points at our own disk."""
    clip(tmp_path / "film.ts", range(0, 2000, 40), container_format="mpegts")
    clip(tmp_path / "film.mkv", range(0, 2000, 40))
    piece = "#EXT-X-DISCONTINUITY\n#EXTINF:2,\nfilm.ts\n"
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{3 * piece}#EXT-X-ENDLIST\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class Files(http.server.SimpleHTTPRequestHandler):
    def handle(self):
        with suppress(OSError):  # whoever asked has gone
            super().handle()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("name, count", [("list.m3u8", 120), ("film.mkv", 120)])
def test_what_is_read_faster_than_it_happens_is_given_at_its_own_pace(files, name, count):
    clock = FakeClock()
    found = pictures(opened(f"{files}/{name}", clock), count)
    assert [float(each.own) for each in found] == pytest.approx([n / 25 for n in range(count)], abs=0.1)
    assert clock.now() - 1000 == pytest.approx((count - 1) / 25, abs=0.2)


# --- rtsp ---
@needs_rtsp_server
def test_the_first_key_frame_is_not_lost():
    with RtspServer(key_every=1000, sound=False) as server:  # the next one comes after 40 seconds
        connection = opened(server.url, connect_seconds=20.0, read_seconds=20.0)
        assert any(isinstance(each, Picture) for each in islice(connection, 60))
        connection.close()


# --- udp ---
@needs_ffmpeg
def test_mpegts_over_udp_with_losses_flags_what_it_conceals():
    port = free_port(socket.SOCK_DGRAM)
    with lossy_line(port, 0.1) as near, ts_sender(f"udp://127.0.0.1:{near}?pkt_size=188", size="640x360", key_every=10):
        connection = opened(f"udp://127.0.0.1:{port}", connect_seconds=20.0, read_seconds=20.0)
        found = pictures(connection, 60)
    assert found[0].frame.width == 640
    assert any(each.frame.corrupt for each in found) or connection.damaged


# --- of this machine ---
def test_cameras_are_listed(monkeypatch):
    found = [Camera("/dev/video0", "Webcam", True), Camera("/dev/video2", "Grabber", False)]
    monkeypatch.setattr(cameras.probes, "v4l2_cameras", lambda: found)
    monkeypatch.setattr(cameras.sys, "platform", "linux")
    first, second = list_cameras()
    assert first == "/dev/video0  Webcam" and second.startswith("/dev/video2  Grabber; this user may not")


class FakeCapture:
    """cv2.VideoCapture of a camera that gives three pictures and is then unplugged."""

    def __init__(self, index):
        self.index, self.left, self.set_to, self.released = index, 3, {}, False

    def isOpened(self):
        return self.index == 0

    def set(self, key, value):
        self.set_to[key] = value

    def read(self):
        self.left -= 1
        return (True, np.full((24, 32, 3), (10, 20, 30), np.uint8)) if self.left >= 0 else (False, None)

    def getBackendName(self):
        return "FAKE"

    def release(self):
        self.released = True


def test_a_local_camera_through_opencv(monkeypatch):
    monkeypatch.setattr(local.cv2, "VideoCapture", FakeCapture)
    camera = local.open_local(0, Wish(width=640, height=480, rate=Fraction(30), pixel_format="mjpg"))
    assert camera._capture.set_to[cv2.CAP_PROP_FRAME_WIDTH] == 640
    found = []
    with pytest.raises(CameraError, match="camera 0 is gone"):
        for each in camera:
            found.append(each)
    camera.close()
    assert len(found) == 3 and [int(p[0, 0]) for p in found[0].frame.planes] == [30, 20, 10]
    assert camera._capture.released and camera.info.codec == "fake"
    with pytest.raises(CameraError, match="camera 1 does not open"):
        local.open_local(1, Wish())
