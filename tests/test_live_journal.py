"""The log of a live run: lines for people, lines for programs, and no password in either."""
from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading

import pytest
from live_fakes import FakeClock
from rich.console import Console

from streamderain.cli.live_run import telling
from streamderain.cli.screen import Screen, figures
from streamderain.live.address import Address
from streamderain.live.journal import Journal, every, hider, take_logging, utc_now
from streamderain.live.status import Status

CANARY = "canary-hunter2"
SOURCE = Address(f"rtsp://me:{CANARY}@cam/1")
NOW = "2031-05-01T12:00:00Z"


def journal(lines, *, as_json=False):
    return Journal(lines.append, as_json=as_json, hide=hider([SOURCE], ["page-token"]), now=lambda: NOW)


def busy_status(clock):
    """A camera that gave 20 frames of which 18 left, one output."""
    status = Status(str(SOURCE), clock)
    for number in range(20):
        clock.advance(0.1)
        status.came()
        if number < 18:
            status.left(clock.now() - 0.03)
        else:
            status.drop("newer")
    output = status.add_output("record garden.mkv")
    output.state, output.taken = "working", 18
    status.describe_network(profile="tiny", device="cpu", ms=12.5)
    return status


def test_the_status_line_has_the_counters():
    lines = []
    journal(lines).status(busy_status(FakeClock()).as_dict(), "garden")
    told = json.loads(lines[0])
    assert [told[key] for key in ("time", "camera", "event")] == [NOW, "garden", "status"]
    assert (told["frames_in"], told["frames_out"], told["dropped"]) == (20, 18, {"newer": 2, "late": 0, "corrupt": 0})
    assert told["fps_in"] == 10.0 and told["latency_ms_p99"] == 30.0
    assert told["network"] == {"profile": "tiny", "device": "cpu", "ms": 12.5}
    assert told["outputs"] == [
        {"name": "record garden.mkv", "state": "working", "taken": 18, "dropped": 0, "restarts": 0}
    ]
    assert "events" not in told and len(lines) == 1


@pytest.mark.parametrize("as_json, say, event", [
    (False, "garden: hello there", f"{NOW} garden: the camera is gone"),
    (True,
     {"time": NOW, "camera": "garden", "event": "event", "kind": "note", "text": "hello there"},
     {"time": NOW, "camera": "garden", "event": "event", "kind": "lost", "text": "the camera is gone"}),
])  # fmt: skip
def test_lines_for_people_and_for_programs(as_json, say, event):
    lines = []
    log = journal(lines, as_json=as_json)
    log.say("hello\nthere", "garden")
    log.event("lost", "the camera is gone", "garden")
    assert [json.loads(line) if as_json else line for line in lines] == [say, event]


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_in_any_line(as_json):
    lines = []
    log = journal(lines, as_json=as_json)
    log.say(f"with {SOURCE.secret} and page-token")
    log.event("error", f'401 for "{CANARY}" at "{SOURCE.secret}"', "garden")
    log.event("error", "and http://a/?token=other-secret", "garden")
    log.status({"source": SOURCE.secret, "outputs": [{"name": f"push {SOURCE.secret}", "state": "failed"}]})
    assert len(lines) == 4 and all(line and "\n" not in line for line in lines)
    assert [word for word in (CANARY, "page-token", "other-secret") for line in lines if word in line] == []
    assert not as_json or all(json.loads(line) for line in lines)


def test_a_log_that_nobody_takes_ends_nothing():
    def full(line):
        raise BrokenPipeError

    Journal(full).event("lost", "the camera is gone")
    Journal(full).status({})


@pytest.mark.parametrize("log", ["plain", "json"])
def test_a_log_that_nobody_reads_holds_nobody_up_and_says_what_it_lacks(monkeypatch, log):
    reader, writer = os.pipe()
    said, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def say():
        with telling(log, dict, str) as teller:
            for number in range(3000):
                teller.event("lost", f"line {number} " + 80 * "-")
            said.set()
            go_on.wait(20)
            teller.event("connected", "the last line")
        ended.set()

    with open(writer, "w") as stderr, open(reader) as pipe:
        monkeypatch.setattr(sys, "stderr", stderr)
        threading.Thread(target=say, daemon=True).start()
        in_time, lines = said.wait(20), []
        while not any("line 999 " in line for line in lines):  # those that waited
            lines.append(pipe.readline())
        go_on.set()
        while "the last line" not in lines[-1]:
            lines.append(pipe.readline())
        assert in_time and ended.wait(20)
    missing = [int(found[1]) for line in lines if (found := re.search(r"(\d+) lines of this log are missing", line))]
    assert missing and sum(missing) + sum("----" in line for line in lines) == 3000


def test_the_time_is_utc():
    assert len(utc_now()) == len(NOW) and utc_now().endswith("Z")


def test_every_minute_until_stopped():
    clock, stop, calls = FakeClock(), threading.Event(), []

    def do():
        calls.append(clock.now())
        if len(calls) == 3:
            stop.set()

    every(60.0, do, stop, clock).join(5)
    assert calls == [1060.0, 1120.0, 1180.0]


def test_what_libraries_log_becomes_an_event_without_secrets():
    lines = []
    undo = take_logging(journal(lines), hider([SOURCE]))
    try:
        logging.getLogger("some.library").warning("opening %s", SOURCE.secret)
        logging.getLogger("some.library").info("not worth a line")
        logging.getLogger("aiohttp.access").error("GET /?token=abc")
        logging.getLogger("libav.rtsp").error("method DESCRIBE failed")
        try:
            raise OSError(f"{SOURCE.secret} refused")
        except OSError:
            logging.getLogger("some.library").exception("it broke")
    finally:
        undo()
    assert len(lines) == 2 and "some.library: opening rtsp://***@cam/1" in lines[0]
    assert "OSError" in lines[1] and CANARY not in "".join(lines)


def test_the_traceback_of_a_bug_holds_no_secret(capsys):
    before = sys.excepthook, threading.excepthook, logging.getLogger().handlers[:]
    undo = take_logging(journal([]), hider([SOURCE]))

    def fail():
        raise RuntimeError(f"cannot open {SOURCE.secret}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    undo()
    shown = capsys.readouterr().err
    assert "RuntimeError: cannot open rtsp://***@cam/1" in shown and CANARY not in shown
    assert (sys.excepthook, threading.excepthook, logging.getLogger().handlers) == before


# --- on a terminal ---
def test_the_line_of_a_terminal():
    text = figures(busy_status(FakeClock()).as_dict(), "garden").plain
    for part in ("garden live", "10.0 > 10.0 fps", "30 ms (p99 30)", "2 dropped", "record garden.mkv ok"):
        assert part in text


@pytest.mark.parametrize("facts, state", [
    ({}, "no camera"), ({"connected": True}, "starting"), ({"connected": True, "healthy": True}, "live"),
])  # fmt: skip
def test_the_state_is_told_first(facts, state):
    assert figures(facts).plain.startswith(state)


def test_the_screen_shows_events_above_the_line():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    status = busy_status(FakeClock())
    with Screen(lambda: {"": status.as_dict()}, hide=hider([SOURCE]), console=console) as screen:
        screen.event("lost", f"gone: {SOURCE.secret} [bold]\x1b[2J")
        screen.status(status.as_dict())
    shown = out.getvalue()
    assert "gone: rtsp://***@cam/1 [bold]\\x1b[2J" in shown and CANARY not in shown
    assert shown.index("gone") < shown.rindex("live")


class Stopped(io.StringIO):
    """A terminal that takes nothing until it is let, or is gone."""

    def __init__(self, let=None):
        super().__init__()
        self._let = let

    def write(self, text):
        if self._let is None:
            raise OSError(5, "Input/output error")
        self._let.wait(30)
        return len(text)


@pytest.mark.parametrize("let", [None, threading.Event()], ids=["gone", "stopped"])
def test_a_terminal_that_is_gone_or_stopped_holds_nobody_up(let):
    status, said, drawn = busy_status(FakeClock()), threading.Event(), threading.Event()
    console = Console(file=Stopped(let), force_terminal=True, width=100)

    def look():
        drawn.set()
        return {"": status.as_dict()}

    def say():
        with Screen(look, hide=hider([SOURCE]), console=console) as screen:
            drawn.wait(20)  # it has begun, and is stuck or has failed
            for number in range(1000):
                screen.event("lost", f"line {number}")
        said.set()

    threading.Thread(target=say, daemon=True).start()
    assert said.wait(20)
    if let is not None:
        let.set()


def test_what_is_said_last_is_still_shown():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    with Screen(lambda: {"": busy_status(FakeClock()).as_dict()}, hide=hider([SOURCE]), console=console) as screen:
        for number in range(50):
            screen.say(f"line {number}.")
    assert all(f"line {number}." in out.getvalue() for number in range(50))
