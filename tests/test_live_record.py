"""Recordings: segments by time and size, names, what is kept, kill -9, full disks."""
from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_fakes import FakeClock, make_frame
from live_peers import wait_until

from streamderain.errors import DerainError
from streamderain.live import record as module
from streamderain.live import segment
from streamderain.live.encoder import Choice, Encoder
from streamderain.live.moments import Sound
from streamderain.live.record import Keep, Recorder, Recording
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@cache
def material(pictures=200, sound=True, noise=False):
    """Encoded packets of a drawn camera at 25 pictures a second, in the order of their making."""
    chance = np.random.default_rng(0)
    encoder = Encoder(make_frame(0, width=64, height=48), Choice(), sound=(48000, 1) if sound else None)
    packets = []
    for number in range(pictures):
        frame = make_frame(number, width=64, height=48)
        if noise:
            frame.planes[0][:] = chance.integers(16, 235, frame.planes[0].shape)
        packets += encoder.picture(frame)
        piece = np.full((1, 1920), number % 2 * 0.5, np.float32)
        packets += encoder.sound(Sound(piece, 48000, number * 3600, 1))
    return tuple(packets + encoder.finish())


def record(recording, packets, *, status=None, clock=MONOTONIC, wall=None):
    """Record packets and complete; every one is taken."""
    recorder = Recorder(recording, status=status or Status(), clock=clock, ask_key=lambda: None, wall=wall or Wall())
    for packet in packets:
        recorder.put(packet)
    recorder.end()
    assert recorder.join(60)
    return recorder


class Wall:
    """A time of day that goes on by a minute with every look."""

    def __init__(self, now=NOON, step=60):
        self.now, self.step = now, timedelta(seconds=step)

    def __call__(self):
        self.now += self.step
        return self.now


def pts_of(path):
    """(pictures, sound): timestamps of a file's packets in seconds; every picture is decoded."""
    with av.open(str(path)) as container:
        video, sound = [], []
        for packet in container.demux():
            if packet.size:
                assert packet.pts is not None
                (video if packet.stream.type == "video" else sound).append(float(packet.pts * packet.time_base))
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(video)
    return video, sound


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- where and under which name ---
def test_a_place_that_takes_nothing_is_refused_before_anything_begins(tmp_path):
    (tmp_path / "file").touch()
    for path, words in ((tmp_path / "no" / "a.mkv", "does not exist"), (tmp_path / "file" / "a.mkv", "no folder"),
                        (tmp_path / "a.mp4", "end it in .mkv"), (tmp_path, "is a folder")):  # fmt: skip
        with pytest.raises(DerainError, match=words):
            Recording(path)
    assert names(tmp_path) == ["file"]


def test_names_tell_the_time_and_nothing_is_overwritten(tmp_path):
    recording = Recording(tmp_path / "garden.mkv")
    for _ in range(3):
        record(recording, material(5), wall=Wall(step=0))
    stem = "garden_2026-11-21T12-00-00Z"
    assert names(tmp_path) == [f"{stem}.mkv", f"{stem}_2.mkv", f"{stem}_3.mkv"]
    assert [path.name for path in recording.segments()] == [f"{stem}.mkv", f"{stem}_2.mkv", f"{stem}_3.mkv"]
    with av.open(str(tmp_path / f"{stem}.mkv")) as container:
        assert container.metadata["creation_time"].startswith("2026-11-21T12:00:00")
        assert container.duration == pytest.approx(200_000, abs=50_000)


# --- rotation ---
def test_segments_by_time(tmp_path):
    record(Recording(tmp_path / "a.mkv", seconds=2), material())
    segments = [pts_of(path) for path in Recording(tmp_path / "a.mkv").segments()]
    assert [len(video) for video, _ in segments] == [50, 50, 50, 50]
    for video, sound in segments:
        assert video == pytest.approx([number / 25 for number in range(50)], abs=0.001)
        assert 0 <= sound[0] < 0.05 and sound[-1] == pytest.approx(1.98, abs=0.06)


def test_segments_by_size(tmp_path):
    whole = sum(len(packet.data) for packet in material(300, noise=True))
    limit = whole // 3
    record(Recording(tmp_path / "a.mkv", size=limit), material(300, noise=True))
    segments = Recording(tmp_path / "a.mkv").segments()
    assert len(segments) >= 3
    assert all(path.stat().st_size <= limit * 1.05 for path in segments)
    assert sum(len(pts_of(path)[0]) for path in segments) == 300


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 12), st.one_of(st.none(), st.integers(1, 60_000)), st.booleans())
def test_whatever_the_cut_every_packet_is_in_exactly_one_segment(tmp_path_factory, seconds, size, sound):
    folder = tmp_path_factory.mktemp("cut")
    packets = material(sound=sound)
    recorder = record(Recording(folder / "a.mkv", seconds=seconds, size=size), packets)
    segments = [pts_of(path) for path in Recording(folder / "a.mkv").segments()]
    assert sum(len(video) for video, _ in segments) == recorder.account.taken == 200
    assert sum(len(spoken) for _, spoken in segments) == sum(not packet.is_video for packet in packets)
    for video, spoken in segments:
        assert video[0] == 0
        assert video == pytest.approx([number / 25 for number in range(len(video))], abs=0.001)
        assert all(0 <= time <= len(video) / 25 + 0.1 for time in spoken)


# --- what is kept ---
def test_the_oldest_of_its_own_segments_go(tmp_path):
    strangers = ["a.mkv", "a_2026-11-21T12-00-00Z.mp4", "b_2026-11-21T12-00-00Z.mkv", "a_x_2026-11-21T12-00-00Z.mkv"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"x")
    record(Recording(tmp_path / "a.mkv", seconds=2, keep=Keep(count=2)), material())
    kept = [path.name for path in Recording(tmp_path / "a.mkv").segments()]
    assert kept == ["a_2026-11-21T12-03-00Z.mkv", "a_2026-11-21T12-04-00Z.mkv"]
    assert set(strangers) <= set(names(tmp_path))


def test_a_clock_that_is_set_back_deletes_nothing_new(tmp_path):
    record(Recording(tmp_path / "a.mkv", seconds=2), material())
    for path in tmp_path.iterdir():  # of a time when the clock was a day ahead
        os.utime(path, (time.time() + 86_400,) * 2)
    wall = Wall(NOON - timedelta(days=1))
    record(Recording(tmp_path / "a.mkv", seconds=2, keep=Keep(count=4)), material(), wall=wall)
    assert len(names(tmp_path)) == 4 and all("2026-11-20" in name for name in names(tmp_path))


def test_kept_up_to_a_size_and_an_age(tmp_path):
    record(Recording(tmp_path / "a.mkv", seconds=2), material())
    segments = Recording(tmp_path / "a.mkv").segments()
    sizes = [path.stat().st_size for path in segments]
    for age, path in zip((4000, 3000, 2000, 1000), segments, strict=True):
        os.utime(path, (NOON.timestamp() - age,) * 2)
    record(Recording(tmp_path / "a.mkv", keep=Keep(seconds=2500)), material(5), wall=Wall(step=0))
    assert len(Recording(tmp_path / "a.mkv").segments()) == 3
    record(Recording(tmp_path / "a.mkv", keep=Keep(size=max(sizes) + 10)), material(5), wall=Wall(step=0))
    left = Recording(tmp_path / "a.mkv").segments()
    assert sum(path.stat().st_size for path in left) <= max(sizes) + 10 and left


# --- kill -9 ---
CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import numpy as np
from live_fakes import make_frame
from streamderain.live.broadcast import Broadcast
from streamderain.live.moments import SessionInfo, Shown, Sound
from streamderain.live.record import Recording
from streamderain.live.status import Status
status = Status()
status.opened(SessionInfo(1, 64, 48, None, "h264", "yuv420p", (48000, 1)))
output = Broadcast([Recording(Path(sys.argv[1]))], status=status)
begin = time.monotonic()
for number in range(100_000):
    output.hear(Sound(np.zeros((1, 1920), np.float32), 48000, number * 3600, 1))
    frame = make_frame(number, width=64, height=48)
    output.show(Shown(frame, frame, 0.0))
    print(number, flush=True)
    time.sleep(max(0, begin + (number + 1) / 25 - time.monotonic()))
"""


@pytest.mark.parametrize("pictures", [60, pytest.param(135, marks=pytest.mark.slow)])
def test_a_kill_costs_a_second_at_most(tmp_path, pictures):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "a.mkv"), str(Path(__file__).parent)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        for line in child.stdout:
            if int(line) == pictures:
                break
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        said = child.stdout.read().splitlines(keepends=True)  # on a loaded machine it had gone on meanwhile
        child.stdout.close()
    last = max([pictures, *(int(line) for line in said if line.endswith("\n"))])
    (path,) = Recording(tmp_path / "a.mkv").segments()
    video, sound = pts_of(path)
    assert last - 28 <= len(video) <= last + 2  # on a loaded machine a few more wait for the encoder
    assert sound[-1] > video[-1] - 0.6


# --- disks that refuse ---
@contextmanager
def small_disk(folder, size):
    """A file system of so many bytes; None where that is not allowed here."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True)
    try:
        yield folder if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_what_is_finished_and_goes_on_when_there_is_space(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 256 * 1024) as place:
        if place is None:
            pytest.skip("mounting a small file system needs root")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(100 * 1024))
        status, clock = Status(), FakeClock()
        recorder = Recorder(Recording(disk / "a.mkv"), status=status, clock=clock, ask_key=lambda: None, wall=Wall())
        packets = material(300, noise=True)
        for packet in packets:
            recorder.put(packet)
        wait_until(lambda: recorder.account.state == "waiting" and recorder.account.taken)
        wait_until(lambda: recorder.account.taken + recorder.account.dropped == 300)
        assert [event.text.count("the disk is full") for event in status.events] == [1]
        before = len(pts_of(recorder._recording.segments()[0])[0])
        assert 0 < before <= recorder.account.taken

        ballast.unlink()
        clock.advance(60)
        wait_until(lambda: not recorder.feed._paused)
        later = [replace(packet) for packet in packets[:120]]
        for packet in later:
            recorder.put(packet)
        recorder.end()
        assert recorder.join(30)
        assert recorder.account.restarts == 1 and "writing again" in status.events[-1].text
        counts = [len(pts_of(path)[0]) for path in recorder._recording.segments()]
        assert counts == [before, sum(packet.is_video for packet in later)]


def test_a_disk_that_refuses_is_told_once_and_tried_less_and_less_often(tmp_path, monkeypatch):
    class Refusing(segment.NewFile):
        tries = 0

        def write(self, data):
            Refusing.tries += 1
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segment, "NewFile", Refusing)
    status, clock, asked = Status(), FakeClock(), []
    recorder = Recorder(
        Recording(tmp_path / "a.mkv"), status=status, clock=clock, ask_key=lambda: asked.append(1), wall=Wall()
    )
    first = material(1, sound=False)
    for attempt in range(1, 6):
        recorder.put(first[0])
        wait_until(lambda: recorder.account.dropped == attempt)  # noqa: B023
        wait_until(lambda: recorder.feed._paused)
        clock.advance(2 ** (attempt - 1) - 0.1)
        assert len(asked) == attempt - 1
        clock.advance(0.2)
        wait_until(lambda: len(asked) == attempt)  # noqa: B023
    recorder.end()
    assert recorder.join(10)
    assert len(status.events) == 1
    assert names(tmp_path) == []
    assert (recorder.account.taken, recorder.account.dropped) == (0, 5)
    assert recorder.account.state == "failed"  # the end is missing


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be deleted there")
def test_a_file_that_is_deleted_under_the_recording_is_told_and_another_begun(tmp_path):
    folder, status, clock = tmp_path / "records", Status(), FakeClock()
    folder.mkdir()
    recorder = Recorder(Recording(folder / "a.mkv"), status=status, clock=clock, ask_key=lambda: None, wall=Wall())
    packets = material(100, sound=False)
    for packet in packets[:50]:
        recorder.put(packet)
    wait_until(lambda: recorder.account.taken == 50)
    shutil.rmtree(folder)
    clock.advance(1)
    recorder.put(packets[50])
    wait_until(lambda: recorder.account.state == "waiting")
    assert [event.text.partition(";")[0] for event in status.events] == [
        f"record {folder / 'a.mkv'} cannot be written: its file was deleted"
    ]
    folder.mkdir()
    clock.advance(2)
    wait_until(lambda: not recorder.feed._paused)
    for packet in packets:
        recorder.put(packet)
    recorder.end()
    assert recorder.join(30) and len(pts_of(*folder.iterdir())[0]) == 100
    assert "writing again" in status.events[-1].text and len(status.events) == 2


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be deleted there")
def test_a_file_that_is_deleted_before_the_end_is_no_recording(tmp_path):
    recorder = Recorder(
        Recording(tmp_path / "a.mkv"), status=Status(), clock=FakeClock(), ask_key=lambda: None, wall=Wall()
    )
    for packet in material(10):
        recorder.put(packet)
    wait_until(lambda: recorder.account.taken)
    for path in tmp_path.iterdir():
        path.unlink()
    recorder.end()
    assert recorder.join(30) and recorder.account.state == "failed"


def test_what_need_not_be_kept_makes_room_on_a_full_disk(tmp_path, monkeypatch):
    record(Recording(tmp_path / "a.mkv", seconds=2), material())
    recording = Recording(tmp_path / "a.mkv", keep=Keep(count=2))
    assert len(recording.segments()) == 4

    class Refusing(segment.NewFile):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segment, "NewFile", Refusing)
    record(recording, material(5))
    assert len(recording.segments()) == 2


def test_what_is_written_is_on_the_disk_within_a_second(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(segment.NewFile, "sync", lambda file: synced.append(clock.now()))
    clock = FakeClock()
    recorder = Recorder(Recording(tmp_path / "a.mkv"), status=Status(), clock=clock, ask_key=lambda: None, wall=Wall())
    for packet in material(50, sound=False):
        taken = recorder.account.taken
        recorder.put(packet)
        wait_until(lambda: recorder.account.taken > taken)  # noqa: B023
        clock.advance(0.1)
    assert len(synced) >= 4
    recorder.end()
    assert recorder.join(10) and recorder.account.state == "waiting"


def test_a_slow_disk_never_slows_the_encoder_and_loses_whole_groups(tmp_path, monkeypatch):
    free, stuck = threading.Event(), threading.Event()

    class Slow(segment.NewFile):
        def write(self, data):
            stuck.set()
            assert free.wait(60)
            return super().write(data)

    monkeypatch.setattr(segment, "NewFile", Slow)
    monkeypatch.setattr(module, "_QUEUE_SECONDS", 3.0)
    recorder = Recorder(
        Recording(tmp_path / "a.mkv"), status=Status(), clock=MONOTONIC, ask_key=lambda: None, wall=Wall()
    )
    packets = material(400)
    for packet in packets[:10]:
        recorder.put(packet)
    assert stuck.wait(30)
    begin = time.monotonic()
    for packet in packets[10:]:
        recorder.put(packet)
    assert time.monotonic() - begin < 10
    free.set()
    recorder.end()
    assert recorder.join(30)
    account = recorder.account
    assert account.taken + account.dropped == 400 and account.dropped > 100
    video, _ = pts_of(recorder._recording.segments()[0])
    assert len(video) == account.taken


def test_a_segment_that_cannot_be_deleted_is_told_once_and_the_recording_goes_on(tmp_path, monkeypatch):
    def refuse(self, missing_ok=False):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    status, recording = Status(), Recording(tmp_path / "b.mkv", seconds=2, keep=Keep(count=1))
    monkeypatch.setattr(Path, "unlink", refuse)
    recorder = record(recording, material(), status=status)
    assert (recorder.account.taken, recorder.account.dropped) == (200, 0)
    assert [event.text.count("cannot be deleted") for event in status.events] == [1]


def test_a_bug_in_one_recording_is_its_own(tmp_path, monkeypatch):
    def wrong(self, now):
        raise KeyError("bug")

    monkeypatch.setattr(Recording, "new_path", wrong)
    status = Status()
    recorder = record(Recording(tmp_path / "a.mkv"), material(10), status=status)
    assert recorder.account.state == "failed" and "KeyError" in status.events[-1].text
