"""Pushes: real receivers, peers that hang up, stall or refuse, and what the list of processes shows."""
from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_fakes import FakeClock, make_frame
from live_peers import free_port, needs_ffmpeg, wait_until
from live_receivers import FfmpegReceiver, TcpPeer, hang_up, needs_srt, probe, refuse, swallow, take_nothing

from streamderain.errors import DerainError
from streamderain.live import push as push_module
from streamderain.live.address import Address
from streamderain.live.broadcast import Broadcast
from streamderain.live.moments import SessionInfo, Shown, Sound
from streamderain.live.push import Push
from streamderain.live.record import Recording
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC
from streamderain.live.wire import Piece, pack, pack_orders, pieces, read_orders

CANARY = "hunter2canary"


class Camera:
    """Shows noisy pictures and a tone, 25 a second, in a thread until told to stop."""

    def __init__(self, output, *, width=64, height=48, sound=True, pause=0.04):
        self.output, self.shown, self.longest = output, 0, 0.0
        self.size, self.sound, self.pause = (width, height), sound, pause
        self._stop, self._chance = threading.Event(), np.random.default_rng(0)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        begin = time.monotonic()
        while not self._stop.is_set():
            frame = make_frame(self.shown, width=self.size[0], height=self.size[1])
            frame.planes[0][:] = self._chance.integers(16, 235, frame.planes[0].shape)
            if self.sound:
                at = np.arange(1920) / 48000 + self.shown / 25
                tone = (0.4 * np.sin(2 * np.pi * 440 * at))[None].astype(np.float32)
                self.output.hear(Sound(tone, 48000, self.shown * 3600, 1))
            before = time.monotonic()
            self.output.show(Shown(frame, frame, 0.0))
            self.longest = max(self.longest, time.monotonic() - before)
            self.shown += 1
            self._stop.wait(max(0.001, begin + self.shown * self.pause - time.monotonic()))

    def stop(self):
        self._stop.set()
        self._thread.join()


@contextmanager
def pushed(url, *, clock=MONOTONIC, records=(), sound=True, **options):
    """(output, its status, camera) of a run that pushes."""
    status = Status(clock=clock)
    status.opened(SessionInfo(1, 64, 48, Fraction(25), "h264", "yuv420p", (48000, 1) if sound else None))
    output = Broadcast(records, [Push(Address(url))], status=status, clock=clock)
    camera = Camera(output, sound=sound, **options)
    try:
        yield output, status, camera
    finally:
        camera.stop()
        output.close()
    assert pushers() == [] and zombies() == []


def zombies():
    """Processes like ours that have ended and nobody has waited for; a zombie has a name and no command line."""
    mine = psutil.Process()
    return [each for each in mine.children() if not command(each) and each.is_running() and each.name() == mine.name()]


def pushers():
    """The pushing processes below ours and what they have started."""
    found = [each for each in psutil.Process().children() if "streamderain.live.pusher" in " ".join(command(each))]
    for process in tuple(found):
        with suppress(psutil.Error):  # it ended meanwhile
            found += process.children(recursive=True)
    return found


def command(process):
    """Its command line; none where it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def account(status):
    return status.outputs[-1]


def everything_told(status):
    return repr(status.as_dict()) + repr(list(status.events))


# --- the pipe ---
PIECES = st.builds(Piece, st.booleans(), st.booleans(), st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62),
                   st.integers(0, 2**31), st.binary(max_size=300))  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES, max_size=5), st.binary(max_size=50))
def test_what_goes_into_the_pipe_comes_out(sent, model):
    data = pack_orders({"address": "rtsp://me:x@y/ü"}, model) + b"".join(map(pack, sent))
    pipe = io.BytesIO(data)
    orders, seen = read_orders(pipe)
    assert (orders["address"], seen) == ("rtsp://me:x@y/ü", model)
    assert list(pieces(pipe)) == sent
    if sent:  # a parent that was killed in the middle of a packet
        pipe = io.BytesIO(data[:-1])
        read_orders(pipe)
        assert list(pieces(pipe)) == sent[:-1]


@pytest.mark.parametrize("data", [b"", b'{"model"', pack_orders({}, b"model")[:-1]])
def test_a_pipe_that_ends_before_it_began(data):
    with pytest.raises(EOFError):
        read_orders(io.BytesIO(data))


# --- addresses ---
@pytest.mark.parametrize("url", ["http://h/x", "rtp://h:1", "garden.mkv", f"ftp://me:{CANARY}@h/x"])
def test_a_place_no_stream_can_go_to_is_refused(url):
    with pytest.raises(DerainError, match="cannot be pushed") as caught:
        Push(Address(url))
    assert CANARY not in str(caught.value) and "rtsp://" in str(caught.value)


def test_udp_is_sent_in_whole_transport_packets():
    assert Push(Address("udp://h:1")).orders["address"] == "udp://h:1?pkt_size=1316"
    assert Push(Address("udp://h:1?ttl=3")).orders["address"] == "udp://h:1?ttl=3&pkt_size=1316"
    assert Push(Address("udp://h:1?pkt_size=188")).orders["address"] == "udp://h:1?pkt_size=188"


@needs_srt
def test_what_srt_keeps_secret_stays_out_of_the_command():
    orders = Push(Address(f"srt://h:9?latency=200&passphrase={CANARY}&streamid=a%3Db,c&mode=caller")).orders
    assert CANARY not in " ".join(orders["program"]) and "a=b" not in " ".join(orders["program"])
    assert orders["program"][-1] == "srt://h:9?latency=200&mode=caller"
    assert orders["secrets"] == {"passphrase": CANARY, "streamid": "a=b,c"}
    for url in (f"srt://me:{CANARY}@h:9", f"srt://h:9?{CANARY}!=x", f"srt://h:9?passphrase={CANARY}%0Ax=1"):
        with pytest.raises(DerainError) as caught:
            Push(Address(url))
        assert CANARY not in str(caught.value).replace("hunter2canary!", "") or "!" in url


def test_srt_without_such_an_ffmpeg_says_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DerainError, match="apt install ffmpeg"):
        Push(Address("srt://h:9"))


# --- peers that misbehave ---
def test_a_peer_that_hangs_up_is_tried_again_and_nothing_grows():
    clock, mine = FakeClock(), psutil.Process()
    with TcpPeer(hang_up) as peer, pushed(f"tcp://127.0.0.1:{peer.port}", clock=clock) as (_, status, camera):
        wait_until(lambda: account(status).restarts >= 2, 60)
        descriptors, threads = mine.num_fds(), threading.active_count()
        wait_until(lambda: account(status).restarts >= 8, 90)
        wait_until(lambda: mine.num_fds() <= descriptors + 2 and threading.active_count() <= threads + 2)
        assert len(pushers()) <= 1
        wait_until(lambda: camera.shown > account(status).taken + account(status).dropped - 1)
    texts = [event.text for event in status.events if event.kind == "push"]
    assert 1 <= len(texts) <= 4 and len(set(texts)) == len(texts)
    assert account(status).taken + account(status).dropped == camera.shown


def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch):
    real, left = push_module.PushChild, [1, 1]

    def scarce():
        if left:
            left.pop()
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return real()

    monkeypatch.setattr(push_module, "PushChild", scarce)
    with TcpPeer(swallow) as peer, pushed(f"tcp://127.0.0.1:{peer.port}") as (_, status, _camera):
        wait_until(lambda: account(status).state == "working", 60)
    assert any("temporarily unavailable" in event.text for event in status.events)


def test_a_process_that_is_killed_is_started_again():
    with TcpPeer(swallow) as peer:
        with pushed(f"tcp://127.0.0.1:{peer.port}") as (_, status, _camera):
            wait_until(lambda: account(status).state == "working", 60)
            (child,) = pushers()
            child.kill()
            wait_until(lambda: len(peer.connections) == 2 and account(status).state == "working", 60)
            assert account(status).restarts == 1
        assert "signal 9" in next(event.text for event in status.events if event.kind == "push")


def test_a_peer_that_takes_nothing_is_left_and_tried_again():
    clock = FakeClock()
    with (
        TcpPeer(take_nothing) as peer,
        pushed(f"tcp://127.0.0.1:{peer.port}", clock=clock, width=640, height=480, pause=0.01) as (output, status, cam),
    ):
        wait_until(lambda: account(status).state == "working", 60)
        (pusher,) = output._pushers

        def stuck():  # one write, a quarter of a second long
            since, taken = pusher._writing_since, account(status).taken
            time.sleep(0.25)
            return since is not None and taken == account(status).taken

        def tried_again():
            if stuck():  # once more, where it had only been slow
                clock.advance(5.1)
            return len(peer.connections) >= 2

        wait_until(stuck, 60)
        shown = cam.shown
        wait_until(lambda: cam.shown > shown + 20)
        assert account(status).restarts == 0
        wait_until(tried_again, 60)
        assert account(status).restarts == 1 and account(status).dropped > 20
    assert "takes nothing any more" in next(event.text for event in status.events if event.kind == "push")


def test_an_end_is_near_even_with_a_peer_that_takes_nothing():
    with TcpPeer(take_nothing) as peer, pushed(f"tcp://127.0.0.1:{peer.port}", width=640, height=480, pause=0.005) as (
        output, status, camera
    ):  # fmt: skip
        wait_until(lambda: account(status).dropped > 50, 120)
        camera.stop()
        begin = time.monotonic()
        output.close()
        assert time.monotonic() - begin < 20
        assert pushers() == []


def public_texts():
    """What anybody on this machine may read of our processes: command lines, and environments of our children."""
    texts = []
    for process in pushers():
        with suppress(psutil.Error):
            texts += [*process.cmdline(), repr(process.environ())]
    return "\n".join(texts)


def test_a_password_is_seen_nowhere_while_the_peer_refuses_it():
    with TcpPeer(refuse) as peer:
        url = f"rtsp://me:{CANARY}@127.0.0.1:{peer.port}/live?token={CANARY}2"
        seen = ""
        with pushed(url, clock=FakeClock()) as (output, status, _camera):
            while account(status).restarts < 3:
                seen += public_texts()
                time.sleep(0.01)
        assert "streamderain.live.pusher" in seen
        for text in (seen, everything_told(status), output.name):
            assert CANARY not in text
        assert "refuses user and password" in everything_told(status)


def test_nobody_there_is_told_in_one_line():
    with pushed(f"rtmp://me:{CANARY}@127.0.0.1:{free_port()}/app", clock=FakeClock()) as (_, status, camera):
        wait_until(lambda: account(status).restarts >= 2, 60)
    (line,) = [event.text for event in status.events if event.kind == "push"]
    assert "refused" in line and CANARY not in line and "tried again" in line
    assert (account(status).taken, account(status).dropped) == (0, camera.shown)


PARENT = """
import sys, threading
sys.path.insert(0, sys.argv[2])
from test_live_push import pushed
with pushed(sys.argv[1], width=320, height=240) as (output, status, camera):
    print("on", flush=True)
    threading.Event().wait()
"""


@pytest.mark.slow
def test_no_orphan_stays_when_we_are_killed():
    with TcpPeer(take_nothing) as peer:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, f"tcp://127.0.0.1:{peer.port}", str(Path(__file__).parent)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until(lambda: len(peer.connections) == 1, 60)
            (child,) = psutil.Process(parent.pid).children()
            time.sleep(3)  # some buffers fill
        finally:
            parent.kill()
            parent.wait()
            parent.stdout.close()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 60)


# --- receivers ---
@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rtsp", "rtmp", "tcp", "udp", pytest.param("srt", marks=needs_srt)])
def test_a_receiver_gets_pictures_and_sound_at_their_times(kind, tmp_path):
    secret = f"&passphrase={CANARY}" if kind == "srt" else ""
    with FfmpegReceiver(kind, tmp_path, secret=secret) as receiver:
        with pushed(receiver.url) as (_, status, _camera):
            wait_until(lambda: account(status).taken >= 150, 120)
            assert account(status).state == "working"
            assert "streamderain.live.pusher" in public_texts() and CANARY not in public_texts()
        found = receiver.finish()
    lost = 15 if kind in ("udp", "srt") else 0  # what is on its way when the sender leaves
    assert account(status).taken - lost <= len(found["video"]) <= account(status).taken
    spacing = np.diff(found["video"])
    assert np.abs(spacing[1:] - 0.04).max() < 0.0021
    assert 0 < spacing[0] < 0.08  # RTSP sets its clock right when the first report comes
    assert abs(len(found["sound"]) * 1024 / 48000 - len(found["video"]) / 25) < 0.6
    assert found["errors"] == ""
    assert account(status).restarts == 0


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rtsp", "rtmp"])
def test_a_receiver_that_comes_back_gets_the_stream_again(kind, tmp_path):
    with FfmpegReceiver(kind, tmp_path) as receiver:
        with pushed(receiver.url) as (_, status, _camera):
            wait_until(lambda: receiver.receives, 60)
            receiver.kill()
            wait_until(lambda: account(status).state == "waiting", 60)
            receiver.start()
            wait_until(lambda: receiver.receives and account(status).state == "working", 60)
            taken = account(status).taken
            wait_until(lambda: account(status).taken > taken + 50, 60)
        again = receiver.finish()
    assert len(again["video"]) >= 50 and again["errors"] == ""
    texts = [event.text for event in status.events if event.kind == "push"]
    assert texts[-1].endswith("works again")


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rtsp", "tcp"])
def test_a_frozen_receiver_costs_the_recording_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("streamderain.live.broadcast._PICTURES", 10_000)  # so that only the push can cost a picture
    recording = Recording(tmp_path / "a.mkv")
    with FfmpegReceiver(kind, tmp_path) as receiver:
        with pushed(receiver.url, records=[recording], width=640, height=480) as (output, status, camera):
            wait_until(lambda: account(status).state == "working" and receiver.receives, 60)
            receiver.freeze()
            wait_until(lambda: account(status).restarts >= 1, 180)
            receiver.thaw()
            camera.stop()
            wait_until(lambda: not output._lane._waiting, 120)
        receiver.kill()
    (path,) = recording.segments()
    assert len(probe(path)["video"]) == camera.shown == status.outputs[0].taken
    assert status.outputs[0].dropped == 0
    assert any("takes nothing any more" in event.text for event in status.events)


@needs_ffmpeg
@pytest.mark.slow
def test_another_size_is_fitted_into_the_stream(tmp_path):
    with FfmpegReceiver("tcp", tmp_path) as receiver:
        with pushed(receiver.url, records=[Recording(tmp_path / "a.mkv")]) as (_, status, camera):
            wait_until(lambda: account(status).taken > 30, 60)
            camera.size = (128, 48)
            wait_until(lambda: account(status).taken > 90, 60)
        found = receiver.finish()
    assert len(found["video"]) == account(status).taken and found["errors"] == ""
    assert [event.kind for event in status.events].count("size") == 1
    assert account(status).restarts == 0 and len(Recording(tmp_path / "a.mkv").segments()) == 1


@needs_srt
@pytest.mark.slow
def test_an_srt_receiver_with_another_passphrase_gets_nothing(tmp_path):
    with FfmpegReceiver("srt", tmp_path, secret="&passphrase=quite-another-one") as receiver:
        url = receiver.url.replace("quite-another-one", CANARY)
        with pushed(url) as (_, status, _camera):
            wait_until(lambda: account(status).restarts >= 1, 60)
            assert account(status).taken + account(status).dropped > 0
        assert not receiver.receives
    assert CANARY not in everything_told(status)
    assert any(event.kind == "push" for event in status.events)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_goodbye_is_said_in_order():
    ended = threading.Event()

    def until_end(connection):
        swallow(connection)
        ended.set()

    with TcpPeer(until_end) as peer:
        with pushed(f"tcp://127.0.0.1:{peer.port}") as (_, status, _camera):
            wait_until(lambda: account(status).taken > 10, 60)
            os.kill(pushers()[0].pid, signal.SIGINT)  # Ctrl-C is not for it
            taken = account(status).taken
            wait_until(lambda: account(status).taken > taken + 10, 60)
        assert ended.wait(10)
    assert [event for event in status.events if event.kind in ("push", "error")] == []
