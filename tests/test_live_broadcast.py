"""The encoder of recordings and pushes: pictures of any kind, their times, key frames, sound, failures."""
from __future__ import annotations

import threading
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_fakes import FakeClock, make_frame
from live_peers import wait_until

from streamderain.core import colour
from streamderain.core.colour import PixelFormat
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.live import broadcast as module
from streamderain.live.audio import SoundTrack
from streamderain.live.broadcast import Broadcast
from streamderain.live.canvas import Canvas
from streamderain.live.encoder import Choice, Encoder, check
from streamderain.live.moments import SessionInfo, Shown, Sound
from streamderain.live.record import Recording
from streamderain.live.status import Status
from streamderain.live.timing import LIVE_UNIT

TICKS = 3600  # a 25th of a second


def show(output, frame, live=True):
    output.show(Shown(frame, frame, 0.0, live))
    wait_until(lambda: not output._lane._waiting)


def tone(seconds, *, rate=48000, channels=1, at=0.0, level=0.5, session=1):
    """A loud piece of sound that begins at so many seconds."""
    time = np.arange(round(seconds * rate)) / rate
    samples = np.tile(level * np.sin(2 * np.pi * 440 * time), (channels, 1)).astype(np.float32)
    return Sound(samples, rate, round(at / LIVE_UNIT), session)


def session(number=1, sound=None):
    return SessionInfo(number, 64, 48, Fraction(25), "h264", "yuv420p", sound)


def read(path):
    """(pts of pictures in seconds, pictures as RGB, pts of sound, samples (C, N)) of a file."""
    with av.open(str(path)) as container:
        pictures, pieces = [], []
        for frame in container.decode():
            (pictures if isinstance(frame, av.VideoFrame) else pieces).append(frame)
    samples = np.concatenate([piece.to_ndarray() for piece in pieces], axis=1) if pieces else np.zeros((1, 0))
    return ([float(p.pts * p.time_base) for p in pictures], [p.to_ndarray(format="rgb24") for p in pictures],
            [float(p.pts * p.time_base) for p in pieces], samples)  # fmt: skip


# --- the canvas ---
@pytest.mark.parametrize("format", [
    PixelFormat("yuv", 8, (1, 1), "bt601"), PixelFormat("yuv", 8, (1, 1), "bt601", full_range=True),
    PixelFormat("yuv", 8, (1, 0), "bt601", full_range=True), PixelFormat("yuv", 8, (0, 0), "bt709"),
    PixelFormat("yuv", 10, (1, 1), "bt709"), PixelFormat("yuv", 10, (1, 0), "bt709", full_range=True),
    PixelFormat("yuv", 12, (0, 0), "bt2020"), PixelFormat("rgb", 8, (0, 0), full_range=True),
    PixelFormat("grey", 8, (0, 0), full_range=True), PixelFormat("grey", 10, (0, 0)), PixelFormat("grey", 8, (0, 0)),
])  # fmt: skip
def test_every_format_keeps_its_colours(format):
    rgb = np.empty((3, 48, 64), np.uint8)
    for channel, level in enumerate((60, 60, 60) if format.family == "grey" else (200, 120, 40)):
        rgb[channel] = level
    frame = Frame(planes_of(rgb, format), format, pts=0, time_base=LIVE_UNIT)
    canvas = Canvas(frame)
    picture = canvas.draw(frame)
    assert (picture.format.name, picture.color_range) == ("yuv420p", 1)
    limited = PixelFormat("yuv", 8, (1, 1), format.matrix)
    planes = tuple(np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width].copy() for p in picture.planes)
    seen, wanted = colour.to_rgb(planes, limited), colour.to_rgb(frame.planes, format)
    assert np.abs(seen.astype(int) - wanted).max() <= 3  # 8 bits and a smaller range


def planes_of(rgb, format):
    """One colour in any format: found by looking which code shows it."""
    top = (1 << format.bit_depth) - 1
    dtype = np.uint8 if format.bit_depth == 8 else np.uint16
    height, width = rgb.shape[1:]
    red, green, blue = rgb[:, 0, 0] / 255
    if format.family == "rgb":
        return tuple(np.full((height, width), round(value * top), dtype) for value in (red, green, blue))
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[format.matrix]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    scale = 1 << format.bit_depth - 8
    low, span, chroma_span = (0, top, top) if format.full_range else (16 * scale, 219 * scale, 224 * scale)
    codes = [low + luma * span, *(128 * scale + (c - luma) / (2 - 2 * k) * chroma_span
                                  for c, k in ((blue, kb), (red, kr)))]  # fmt: skip
    across, down = format.subsampling
    shapes = [(height, width), *[(-(-height // 2**down), -(-width // 2**across))] * 2]
    count = 1 if format.family == "grey" else 3
    return tuple(np.full(shape, round(code), dtype) for shape, code in list(zip(shapes, codes, strict=True))[:count])


@pytest.mark.parametrize("width, height, canvas", [(33, 25, (34, 26)), (32, 25, (32, 26)), (1, 1, (2, 2))])
def test_an_odd_size_is_grown_by_its_edge(width, height, canvas):
    frame = make_frame(width=width, height=height, level=90)
    drawn = Canvas(frame).draw(frame)
    assert (drawn.width, drawn.height) == canvas
    assert np.unique(drawn.to_ndarray()[: canvas[1]]).tolist() == [90]


@pytest.mark.parametrize("rotation", [90, 180, 270, -90])
def test_a_rotation_is_turned(rotation):
    frame = make_frame(width=64, height=48, level=20, rotation=rotation)
    frame.planes[0][:24, :32] = 200  # the upper left
    canvas = Canvas(frame)
    assert (canvas.width, canvas.height) == ((64, 48) if rotation == 180 else (48, 64))
    luma = canvas.draw(frame).to_ndarray()[: canvas.height]
    expected = np.rot90(frame.planes[0], rotation // 90)
    np.testing.assert_array_equal(luma, expected)


def test_another_size_is_fitted_between_black_bars():
    canvas = Canvas(make_frame(width=64, height=48))
    luma = canvas.draw(make_frame(width=128, height=32, level=150)).to_ndarray()[:48]
    assert luma.shape == (48, 64)
    assert luma[:15].max() == 16 and luma[-15:].max() == 16
    assert abs(int(luma[24, 32]) - 150) <= 1


# --- pictures ---
def test_times_are_exact_and_nothing_is_held_back():
    pts = [0, 3600, 7201, 7300, 20000, 90_000 * 86_400 * 40]
    encoder = Encoder(make_frame(0), Choice())
    for time in pts:
        (packet,) = encoder.picture(replace(make_frame(0), pts=time))
        assert (packet.pts, packet.dts, packet.unit) == (time, time, LIVE_UNIT)
    assert encoder.finish() == []


@pytest.mark.parametrize("ticks", [1500, 3600, 45000])
def test_a_key_frame_every_two_seconds_and_when_asked(ticks):
    encoder, keys = Encoder(make_frame(0), Choice()), []
    for number in range(round(6.5 * 90_000 / ticks)):
        (packet,) = encoder.picture(replace(make_frame(number % 3), pts=number * ticks), key=number == 3)
        if packet.key:
            keys.append(number * ticks)
    assert 3 * ticks in keys
    assert all(later - earlier <= 2.5 * 90_000 for earlier, later in pairwise(keys))
    assert len(keys) <= 6


@pytest.mark.parametrize("choice, words", [
    (Choice("nonsense"), "there is no encoder nonsense"),
    (Choice("aac"), "does not encode video"),
    (Choice(preset="nonsense"), "libx264 has no preset .nonsense.; give --preset ultrafast"),
    (Choice("mjpeg", crf=3), "choose another --encoder"),
])  # fmt: skip
def test_an_encoder_that_does_not_work_is_refused(choice, words):
    with pytest.raises(DerainError, match=words) as caught:
        check(choice)
    assert "\n" not in str(caught.value)


# --- sound as one track ---
PIECES = st.lists(st.tuples(st.integers(-3000, 9000), st.integers(0, 3000), st.sampled_from([8000, 44100, 48000]),
                            st.integers(1, 2)), max_size=12)  # fmt: skip


@settings(deadline=None)
@given(PIECES)
def test_a_track_has_no_gaps_whatever_comes(pieces):
    track, pts, expected = SoundTrack(48000, 1, 500), 500, 0
    for jump, size, rate, channels in pieces:
        pts = max(0, pts + jump)
        track.take(Sound(np.ones((channels, size), np.float32), rate, pts, 1))
        pts += size * 90_000 // rate
        for number, block in track.blocks(256):
            assert (number, block.shape, block.dtype) == (expected, (1, 256), np.float32)
            expected += 256
    track.fill(pts + 90_000)
    rest = list(track.blocks(256, last=True))
    assert [number for number, _ in rest] == [expected + 256 * i for i in range(len(rest))]
    assert expected + 256 * len(rest) >= (pts + 45_000 - 500) * 48 // 90


def samples_of(track):
    return np.concatenate([block for _, block in track.blocks(480, last=True)], axis=1)


def test_a_gap_is_silent_and_an_overlap_cut():
    track = SoundTrack(48000, 2, 0)
    track.take(tone(0.5, channels=2))
    track.take(tone(0.5, channels=2, at=1.0))
    track.take(tone(0.5, channels=2, at=1.3))  # its first 0.2 s are told already
    samples = samples_of(track)
    assert samples.shape == (2, 48000 * 18 // 10)
    loud = [np.abs(samples[0, round(48000 * t) : round(48000 * t) + 480]).max() > 0.3 for t in np.arange(0, 1.8, 0.05)]
    assert loud == [not 0.5 <= t < 0.999 for t in np.arange(0, 1.8, 0.05)]


def test_sound_before_the_first_picture_is_cut():
    track = SoundTrack(48000, 1, 90_000)
    track.take(tone(0.5, at=0.2))
    track.take(tone(0.5, at=0.8))
    assert samples_of(track).shape == (1, 14_400)


def test_another_rate_and_layout_becomes_the_first():
    track = SoundTrack(48000, 1, 0)
    track.take(tone(0.5))
    track.take(tone(0.5, rate=16000, channels=2, at=0.5, session=2))
    samples = samples_of(track)
    assert abs(samples.shape[1] - 48000) <= 480
    assert np.abs(samples[0, 40_000:40_480]).max() > 0.3


def test_pictures_without_sound_get_silence_and_a_long_pause_no_hours_of_it():
    encoder = Encoder(make_frame(0), Choice(), sound=(8000, 1))
    spoken = []
    for number in range(50):
        spoken += [packet for packet in encoder.picture(make_frame(number)) if not packet.is_video]
    assert 1.3 < max(packet.seconds for packet in spoken) < 1.6
    assert all(b.pts - a.pts == 1024 for a, b in pairwise(spoken))
    late = encoder.picture(replace(make_frame(0), pts=90_000 * 86_400))
    assert len(late) < 60
    spoken = [packet for packet in encoder.picture(replace(make_frame(0), pts=90_000 * 86_402)) if not packet.is_video]
    assert len(spoken) > 10 and all(packet.seconds > 86_399 for packet in spoken[2:])  # two were held back


# --- the whole ---
@pytest.fixture
def status():
    made = Status()
    made.opened(session())
    return made


def recorded(folder):
    return sorted(folder.glob("a_*.mkv"))


def test_what_is_shown_is_recorded_stand_ins_too(tmp_path, status):
    output = Broadcast([Recording(tmp_path / "a.mkv")], status=status)
    frames = [make_frame(number, width=64, height=48, level=40 + 3 * number) for number in range(50)]
    for number, frame in enumerate(frames):
        show(output, frame, live=number < 40)
    output.close()
    (path,) = recorded(tmp_path)
    times, pictures, _, samples = read(path)
    assert times == pytest.approx([number / 25 for number in range(50)], abs=0.001)
    assert samples.shape[1] == 0
    for number, picture in enumerate(pictures):
        assert abs(picture.mean() - (40 + 3 * number - 16) * 255 / 219) < 4
    account = status.outputs[0]
    assert (account.taken, account.dropped, account.name) == (50, 0, f"record {tmp_path}/a.mkv")


def test_sound_goes_along_and_is_silent_where_it_is_missing(tmp_path, status):
    status.opened(session(sound=(16000, 1)))
    output = Broadcast([Recording(tmp_path / "a.mkv")], status=status)
    for number in range(75):
        if not 25 <= number < 50:
            output.hear(tone(0.04, rate=16000, at=number / 25))
        show(output, make_frame(number, width=64, height=48))
    output.close()
    times, _, spoken, samples = read(recorded(tmp_path)[0])
    assert len(times) == 75
    assert spoken[0] == pytest.approx(0, abs=0.03) and spoken[-1] == pytest.approx(2.98, abs=0.1)
    loud = [np.abs(samples[0, round(48000 * t) : round(48000 * (t + 0.1))]).max() > 0.2 for t in (0.3, 0.6, 2.3, 2.7)]
    silent = [np.abs(samples[0, round(48000 * t) : round(48000 * (t + 0.1))]).max() < 0.02 for t in (1.3, 1.6)]
    assert all(loud) and all(silent)


def test_sound_heard_before_the_first_frame_makes_a_track_and_false_makes_none(tmp_path, status):
    for sound in (True, False):
        folder = tmp_path / str(sound)
        folder.mkdir()
        output = Broadcast([Recording(folder / "a.mkv")], status=status, sound=sound)
        output.hear(tone(0.2))
        for number in range(5):
            show(output, make_frame(number))
        output.close()
        assert bool(read(recorded(folder)[0])[2]) == sound


def test_sound_that_comes_later_begins_a_segment_with_it(tmp_path, status):
    output = Broadcast([Recording(tmp_path / "a.mkv")], status=status)
    for number in range(40):
        if number == 10:
            status.opened(session(2, sound=(48000, 1)))
        if 11 <= number < 20 or number >= 30:  # the connection between them has none again
            output.hear(tone(0.04, at=number / 25, session=2))
        show(output, make_frame(number, width=64, height=48))
    output.close()
    found = [read(path) for path in sorted(recorded(tmp_path), key=lambda path: path.stat().st_mtime_ns)]
    assert [(len(times), bool(spoken)) for times, _, spoken, _ in found] == [(11, False), (29, True)]
    assert np.abs(found[1][3][0, 48000 * 8 // 10 :]).max() > 0.3
    assert [event.text for event in status.events if event.kind == "sound"] == [
        "the camera now sends sound: recordings and pushes begin anew, with it"
    ]


def test_another_size_is_another_segment(tmp_path, status):
    output = Broadcast([Recording(tmp_path / "a.mkv")], status=status)
    for number in range(20):
        show(output, make_frame(number, width=64 if number < 10 else 97, height=48))
    output.close()
    found = [read(path) for path in recorded(tmp_path)]
    assert sorted((len(times), pictures[0].shape) for times, pictures, *_ in found) == [
        (10, (48, 64, 3)), (10, (48, 98, 3))
    ]  # fmt: skip


def test_an_encoder_that_dies_is_announced_and_started_again(tmp_path, status, monkeypatch):
    class Dying(Encoder):
        pictures = 0

        def picture(self, frame, *, key=False):
            Dying.pictures += 1
            if Dying.pictures in (5, 6):
                raise ValueError("no memory left")
            return super().picture(frame, key=key)

    monkeypatch.setattr(module, "Encoder", Dying)
    clock = FakeClock()
    output = Broadcast([Recording(tmp_path / "a.mkv")], status=status, clock=clock)
    for number in range(40):
        show(output, make_frame(number))
        clock.advance(0.1)
        account = status.outputs[0]
        wait_until(lambda: account.taken + account.dropped > number)  # noqa: B023
    output.close()
    told = [event.text for event in status.events if event.kind == "encoder"]
    assert len(told) == 1 and "no memory left" in told[0]
    assert len(read(recorded(tmp_path)[0])[0]) == 4
    assert sum(len(read(path)[0]) for path in recorded(tmp_path)) == account.taken > 20
    assert account.taken + account.dropped == 40


def test_showing_never_waits_for_an_encoder(tmp_path, status, monkeypatch):
    free = threading.Event()

    class Stuck(Encoder):
        def picture(self, frame, *, key=False):
            assert free.wait(60)
            return super().picture(frame, key=key)

    monkeypatch.setattr(module, "Encoder", Stuck)
    output = Broadcast([Recording(tmp_path / "a.mkv")], status=status)
    done = threading.Event()

    def camera():
        for number in range(200):
            output.show(Shown(make_frame(number), make_frame(number), 0.0))
            output.hear(tone(0.04, at=number / 25))
        done.set()

    threading.Thread(target=camera, daemon=True).start()
    assert done.wait(20)
    free.set()
    output.close()
    assert status.outputs[0].taken + status.outputs[0].dropped == 200
    assert status.outputs[0].dropped > 150


def test_a_bug_completes_the_recording_and_says_so(tmp_path, status, monkeypatch):
    class Wrong(Encoder):
        def picture(self, frame, *, key=False):
            if frame.pts > 10 * TICKS:
                raise KeyError("bug")
            return super().picture(frame, key=key)

    monkeypatch.setattr(module, "Encoder", Wrong)
    output = Broadcast([Recording(tmp_path / "a.mkv")], status=status)
    for number in range(15):
        show(output, make_frame(number))
    wait_until(lambda: status.outputs[0].state == "failed")
    output.close()
    assert len(read(recorded(tmp_path)[0])[0]) == 11
    assert "KeyError" in status.events[-1].text


def test_nothing_shown_leaves_nothing(tmp_path, status):
    output = Broadcast([Recording(tmp_path / "a.mkv")], status=status)
    output.close()
    output.close()
    assert list(tmp_path.iterdir()) == []
