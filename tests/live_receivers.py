"""Receivers of pushed streams: ffmpeg listening for RTSP, RTMP, SRT, UDP and TCP, and small peers that misbehave."""
from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
from functools import cache
from pathlib import Path

import pytest
from live_peers import free_port, wait_until

LISTENING = {
    "rtsp": ("rtsp://127.0.0.1:{port}/live", ("-rtsp_flags", "listen")),
    "rtmp": ("rtmp://127.0.0.1:{port}/app/live", ("-listen", "1", "-f", "flv")),
    "tcp": ("tcp://127.0.0.1:{port}?listen=1", ("-f", "mpegts")),
    "udp": ("udp://127.0.0.1:{port}", ("-f", "mpegts")),
    "srt": ("srt://127.0.0.1:{port}?mode=listener{secret}", ()),
}  # fmt: skip


@cache
def _protocols():
    if shutil.which("ffmpeg") is None:
        return ()
    return subprocess.run(["ffmpeg", "-protocols"], capture_output=True, text=True, timeout=60).stdout.split()


needs_srt = pytest.mark.skipif("srt" not in _protocols(), reason="no ffmpeg with SRT is installed")


class FfmpegReceiver:
    """ffmpeg as the peer of a push; what it receives it copies into a Matroska file."""

    def __init__(self, kind, folder, *, secret=""):
        self.kind, self.folder, self.secret = kind, folder, secret
        self.port = free_port(socket.SOCK_DGRAM if kind in ("udp", "srt") else socket.SOCK_STREAM)
        self.files, self.process = [], None
        self.start()

    @property
    def url(self):
        """For the side that pushes."""
        url = LISTENING[self.kind][0].format(port=self.port, secret=self.secret)
        return url.replace("?listen=1", "").replace("?mode=listener&", "?").replace("?mode=listener", "")

    def start(self):
        """Listen; returns when connections are taken, as far as can be seen from outside."""
        url, options = LISTENING[self.kind]
        self.files.append(self.folder / f"{self.kind}{len(self.files)}.mkv")
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *options, "-i",
                   url.format(port=self.port, secret=self.secret), "-c", "copy", "-flush_packets", "1",
                   "-cluster_time_limit", "100", str(self.files[-1])]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        kind = "udp" if self.kind in ("udp", "srt") else "tcp"
        wait_until(lambda: _listens(kind, self.port) or self.process.poll() is not None, what="listening")

    @property
    def receives(self):
        """Whether packets have come."""
        return self.files[-1].exists() and self.files[-1].stat().st_size > 5000

    def freeze(self):
        """Take nothing any more, with the connection open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """Vanish."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def finish(self):
        """What came, as `probe` returns it: it ends by itself when the sender says goodbye, UDP is told to."""
        try:
            self.process.wait(2 if self.kind == "udp" else 20)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        return probe(self.files[-1])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.kill()


def _listens(kind, port):
    lines = Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    wanted = "0A" if kind == "tcp" else "07"
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == wanted for line in lines)


def probe(path):
    """Decode a file: {"video": [pts in seconds], "sound": [the same], "errors": what the decoder complained of}."""
    found = {"video": [], "sound": []}
    command = ["ffprobe", "-v", "error", "-show_entries", "frame=media_type,pts_time", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    for frame in json.loads(done.stdout).get("frames", []):
        found["video" if frame["media_type"] == "video" else "sound"].append(float(frame["pts_time"]))
    return {**found, "errors": done.stderr}


class TcpPeer:
    """A listening socket whose connections a function deals with, each in a thread; counts them."""

    def __init__(self, serve):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port, self._serve = self._listener.getsockname()[1], serve
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._guarded, args=(connection,), daemon=True).start()

    def _guarded(self, connection):
        try:
            self._serve(connection)
        except OSError:
            connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._listener.close()
        for connection in self.connections:
            connection.close()


def hang_up(connection):
    """Take a little and close."""
    connection.recv(4096)
    connection.close()


def swallow(connection):
    """Take everything."""
    while connection.recv(65536):
        pass


def take_nothing(connection):
    """Leave the connection open and read nothing."""


def refuse(connection):
    """An RTSP server that knows no user."""
    while request := connection.recv(65536).decode(errors="replace"):
        number = next((line for line in request.splitlines() if line.lower().startswith("cseq")), "CSeq: 1")
        answer = f'RTSP/1.0 401 Unauthorized\r\n{number}\r\nWWW-Authenticate: Basic realm="cam"\r\n\r\n'
        connection.sendall(answer.encode())
