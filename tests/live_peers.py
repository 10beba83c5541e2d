"""Real peers of live tests: an RTSP server, an MPEG-TS sender, a line that loses; all end with their `with` block."""
from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "samples" / "rain.mp4"
SYSTEM_PYTHON = "/usr/bin/python3"

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@cache
def _has_rtsp_server():
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


needs_rtsp_server = pytest.mark.skipif(not _has_rtsp_server(), reason="gir1.2-gst-rtsp-server-1.0 is not installed")


def free_port(kind=socket.SOCK_STREAM):
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(true, seconds=30.0, what="it"):
    """Wait for a condition; fails the test when it does not come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


class RtspServer:
    """gst-rtsp-server as a process that can be killed, frozen and started again on its port."""

    def __init__(self, size="160x120", user=None, password=None, key_every=25, sound=True):
        self.size, self.login, self.port = size, [user or "", password or ""], 0
        self.stream = [str(key_every), "yes" if sound else "no"]
        self.process = None
        self.start()

    def start(self, size=None):
        """Listen; returns when connections are taken."""
        self.size = size or self.size
        command = [SYSTEM_PYTHON, str(HERE / "rtsp_server.py"), str(self.port), self.size, *self.login, *self.stream]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = int(self.process.stdout.readline())

    @property
    def url(self):
        """Without user and password."""
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def freeze(self):
        """Stop answering, with all connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """Vanish."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


@contextmanager
def ts_sender(target, *, size="160x90", key_every=5):
    """ffmpeg sends the sample as endless MPEG-TS, at its own pace."""
    command = [
        "ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", SAMPLE, "-map", "0:v", "-vf",
        f"scale={size.replace('x', ':')}", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
        "-g", str(key_every), "-f", "mpegts", target,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def lossy_line(target_port, loss, seed=0):
    """Pass datagrams on to 127.0.0.1:target_port, all but a share of them; gives the port to send to."""
    chance, over = random.Random(seed), threading.Event()
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.bind(("127.0.0.1", 0))
    near.settimeout(0.2)

    def work():
        while not over.is_set():
            try:
                data = near.recv(65536)
            except TimeoutError:
                continue
            if chance.random() >= loss:
                near.sendto(data, ("127.0.0.1", target_port))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield near.getsockname()[1]
    finally:
        over.set()
        thread.join()
        near.close()
