"""The small parts of a live run: addresses that hide their passwords, lanes, counters, settings."""
from __future__ import annotations

import json
import logging
import threading
from fractions import Fraction

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from live_fakes import FakeClock, shown

from streamderain.errors import DerainError
from streamderain.live.address import Address, Redaction, given, mask
from streamderain.live.controls import Controls, Settings
from streamderain.live.lane import Lane
from streamderain.live.moments import SessionInfo, Sound
from streamderain.live.status import Status

CANARY = "hunter2%40x"
WORDS = st.text("abcXYZ019-_.~!$", min_size=4, max_size=12)


# --- addresses ---
@pytest.mark.parametrize("text, shown_as", [
    ("rtsp://me:hunter2@cam/1", "rtsp://***@cam/1"),
    ("rtsps://me@cam:322/a?b=1", "rtsps://***@cam:322/a?b=1"),
    ("http://cam/video?user=me&pwd=hunter2&n=1", "http://cam/video?user=***&pwd=***&n=1"),
    ("http://nvr:81/mjpg/cam/video.mjpg?user=joe&pw=hunter2", "http://nvr:81/mjpg/cam/video.mjpg?user=***&pw=***"),
    ("srt://host:9?passphrase=hunter22222&mode=caller", "srt://host:9?passphrase=***&mode=caller"),
    ("rtsp://me:p@ss@cam/1", "rtsp://***@cam/1"),
    ("rtsp://me:pa/ss?#x@cam/1", "rtsp://***@cam/1"),
    ("rtsp://me:pa[ss]@cam/1", "rtsp://***@cam/1"),
    ("rtsp://cam/user=admin_password=XYZ_channel=1_stream=0", "rtsp://cam/user=***"),
    ("rtmp://live.example/app/abcd-efgh", "rtmp://live.example/app/***"),
    ("0", "0"),
    ("/dev/video0", "/dev/video0"),
    ("udp://239.0.0.1:5000", "udp://239.0.0.1:5000"),
])  # fmt: skip
def test_the_masked_form(text, shown_as):
    address = Address(text)
    assert (str(address), address.secret) == (shown_as, text)
    assert address.has_secret == (shown_as != text)
    assert mask(f"x {text} y") == f"x {shown_as} y"


@hypothesis_settings(deadline=None)
@hypothesis_given(WORDS, WORDS)
def test_no_password_in_any_form_of_an_address(user, password):
    password = f"QQ{password}"
    address = Address(f"rtsp://{user}:{password}@cam.example/live?token=ZZ{password}")
    error = f"cannot open {address.secret}: 401 for {password}"
    for text in (str(address), repr(address), f"{address}", address.hide(error), repr([address])):
        assert password not in text


@pytest.mark.parametrize("password", ["it's-secret", 'a "secret"', "two secrets", "<secret>", "a[secret", "100%secret"])
def test_whatever_a_password_holds_it_is_not_shown(password):
    address = Address(f"rtsp://me:{password}@cam/1")
    for text in (str(address), repr(address), address.hide(f"cannot open {address.secret}"), address.hide(password)):
        assert "secret" not in text
    assert str(address) == "rtsp://***@cam/1" and address.has_secret


def test_an_encoded_password_is_hidden_in_both_forms():
    hidden = Address(f"rtsp://me:{CANARY}@cam/").hide(f"auth {CANARY} or hunter2@x failed")
    assert "hunter2" not in hidden


def test_the_logging_filter_masks_arguments_and_tracebacks(caplog):
    logger = logging.getLogger("streamderain.test")
    logger.addFilter(Redaction())
    try:
        raise OSError("rtsp://me:hunter2@cam/ refused")
    except OSError:
        logger.exception("with %s", "http://a:hunter2@b/")
    assert "hunter2" not in caplog.text and "***@b" in caplog.text and "OSError" in caplog.text


def test_three_ways_to_give_an_address(tmp_path, monkeypatch):
    file = tmp_path / "address"
    file.write_text("rtsp://a:b@c/\nsecond line")
    monkeypatch.setenv("CAM", " rtsp://d:e@f/ ")
    assert given("0").secret == "0"
    assert given(None, variable="CAM").secret == "rtsp://d:e@f/"
    assert given(None, file=file).secret == "rtsp://a:b@c/"


@pytest.mark.parametrize("ways, message", [
    ({"text": None}, "give one source"),
    ({"text": "0", "variable": "CAM"}, "give one source"),
    ({"text": None, "variable": "NO_SUCH_VARIABLE"}, "holds no address"),
    ({"text": "a\nb"}, "line break"),
    ({"text": " "}, "empty"),
])  # fmt: skip
def test_addresses_that_cannot_be(ways, message):
    with pytest.raises(DerainError, match=message):
        given(ways.pop("text"), **ways)


def test_a_file_without_an_address(tmp_path):
    with pytest.raises(DerainError, match="cannot be read"):
        given(None, file=tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DerainError, match="first line"):
        given(None, file=tmp_path / "empty")


# --- lanes ---
def piece(number):
    return Sound(samples=None, rate=8000, pts=number, session=1)


def test_a_slow_lane_keeps_the_newest_picture_and_counts_the_rest():
    gate, taken, lost = threading.Event(), [], []
    begun = threading.Event()

    def take(item):
        begun.set()
        gate.wait(20)
        taken.append(item)

    lane = Lane(take, name="t", dropped=lost.append)
    pictures = [shown(n) for n in range(10)]
    lane.put(pictures[0])
    assert begun.wait(20)
    for picture in pictures[1:]:
        lane.put(picture)
    gate.set()
    assert lane.close(20)
    assert taken == [pictures[0], pictures[9]] and sum(lost) == 8


def test_a_lane_keeps_the_order_of_sound_and_pictures():
    gate, taken = threading.Event(), []
    lane = Lane(lambda item: (gate.wait(20), taken.append(item)), name="t", pictures=3, sounds=2)
    items = [shown(0), piece(0), shown(1), piece(1), shown(2)]
    for item in items:
        lane.put(item)
    gate.set()
    assert lane.close(20) and taken == items


def test_a_failing_lane_tells_once_and_takes_no_more():
    failures, dead = [], threading.Event()

    def take(item):
        raise OSError("full")

    lane = Lane(take, name="t", failed=lambda error: (failures.append(error), dead.set()))
    lane.put(shown(0))
    assert dead.wait(20) and lane.close(20)
    lane.put(shown(1))
    assert [str(error) for error in failures] == ["full"]


def test_a_lane_whose_worker_hangs_is_left_behind():
    gate = threading.Event()
    lane = Lane(lambda item: gate.wait(20), name="t")
    lane.put(shown(0))
    assert not lane.close(0.05)
    gate.set()


# --- counters ---
def test_rates_percentiles_and_health():
    clock = FakeClock()
    status = Status("rtsp://***@cam", clock)
    assert not status.healthy and status.recent()["fps_out"] is None
    for number in range(101):
        clock.advance(0.04)
        status.came()
        status.left(clock.now() - 0.001 * number)
    recent = status.recent()
    assert recent["fps_in"] == pytest.approx(25) and recent["fps_out"] == pytest.approx(25)
    assert recent["latency_ms_p50"] == pytest.approx(50, abs=1) and recent["latency_ms_p99"] == pytest.approx(99, abs=1)
    assert status.healthy
    clock.advance(5.1)
    status.stood_in()
    assert not status.healthy
    clock.advance(10)
    assert status.recent()["fps_in"] is None


def test_as_dict_is_json_and_complete():
    status = Status("testsrc", FakeClock())
    status.opened(SessionInfo(1, 640, 480, Fraction(30000, 1001), "h264", "yuv420p", (8000, 1)))
    status.lost_camera()
    status.failed_to_connect()
    status.opened(SessionInfo(2, 640, 480, None, "h264", "yuv420p"))
    status.drop("late")
    account = status.add_output("record x.mkv")
    account.state, account.taken = "working", 7
    status.tell("lost", "camera lost")
    told = json.loads(json.dumps(status.as_dict()))
    assert told["reconnects"] == 1 and told["losses"] == 1 and told["failed_connections"] == 1
    assert told["dropped"]["late"] == 1 and told["session"]["number"] == 2 and told["session"]["rate"] is None
    assert told["outputs"][0]["taken"] == 7 and told["events"][0]["text"] == "camera lost"


def test_listeners_hear_every_event_and_few_are_kept():
    status, heard = Status("x", FakeClock()), []
    status.on_event(heard.append)
    for number in range(80):
        status.tell("n", str(number))
    assert len(heard) == 80 and [event.text for event in status.events] == [str(n) for n in range(30, 80)]


def test_the_histogram_counts_each_value_once():
    status = Status("x", FakeClock())
    for age in (0.0, 0.02, 0.021, 0.5, 0.51, 99.0):
        status.left(status.began - age)
    counts, bounds = status.latency.counts, status.latency.bounds
    assert sum(counts) == 6 and counts[-1] == 1
    assert sum(counts[: bounds.index(0.5) + 1]) == 4 and counts[0] == 2


# --- settings ---
@pytest.mark.parametrize("changes", [
    {"strength": 2.1}, {"strength": -0.1}, {"strength": float("nan")}, {"strength": "1"}, {"strength": True},
    {"strength": None}, {"profile": "huge"}, {"profile": "quality"}, {"profile": 3}, {"colour": 1}, {"_lock": 1},
])  # fmt: skip
def test_settings_that_cannot_be_leave_all_as_it_was(changes):
    controls = Controls(profiles=("auto", "tiny"))
    with pytest.raises(ValueError):
        controls.ask(**changes)
    assert controls.settings == Settings()


def test_settings_and_snapshots_are_taken_once():
    controls = Controls()
    assert controls.ask(strength=0.5) == Settings(strength=0.5)
    assert controls.ask(profile="tiny") == controls.settings == Settings("tiny", 0.5)
    controls.ask_snapshot()
    controls.ask_snapshot()
    assert (controls.take_snapshots(), controls.take_snapshots()) == (2, 0)
