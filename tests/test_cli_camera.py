"""streamderain camera: its options, what it refuses, and whole runs."""
from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
from click.testing import CliRunner
from clips import clip
from live_command import Running, get, until

from streamderain.cli import camera as camera_command
from streamderain.cli import main
from streamderain.live.address import Address
from streamderain.live.options import PageOptions

CANARY = "canary-hunter2"
SOURCE = f"rtsp://me:{CANARY}@cam.example/live"
SMALL = "testsrc=160x120@10"


@pytest.fixture
def asked(monkeypatch):
    """What a command line asks for, without running it."""
    seen = {}

    def run_one(camera, page, **others):
        seen.update(camera=camera, page=page, **others)
        return 0

    monkeypatch.setattr(camera_command, "run_one", run_one)
    monkeypatch.delenv("STREAMDERAIN_TOKEN", raising=False)

    def ask(*arguments, code=0):
        seen.clear()
        result = CliRunner().invoke(main, ["camera", *map(str, arguments)])
        assert result.exit_code == code, result.output
        assert CANARY not in result.output
        return seen if code == 0 else result.stderr

    return ask


# --- options ---
def test_without_an_output_a_page_is_served_on_this_machine(asked):
    seen = asked(SOURCE)
    assert seen["page"] == PageOptions("127.0.0.1", 8088, next_ports=20)
    assert seen["camera"].source == Address(SOURCE) and seen["camera"].max_latency_ms == 500
    assert asked(SOURCE, "--snapshots", "dir")["page"] == seen["page"]  # where else would one be asked for


@pytest.mark.parametrize("output", [
    ["--record", "a.mkv"], ["--push", "udp://h:1"], ["--virtual-camera"], ["--show"],
])
def test_with_an_output_there_is_no_page_unless_asked_for(asked, output):
    assert asked("0", *output)["page"] is None
    seen = asked("0", *output, "--serve", "9000", "--token", "abc", "--allow-host", "cams.example")
    assert seen["page"] == PageOptions("127.0.0.1", 9000, token="abc", allow_hosts=("cams.example",))


def test_snapshots_that_nobody_could_ask_for_are_refused(asked):
    beside = ["0", "--record", "a.mkv", "--snapshots", "dir"]
    assert "--snapshots goes with --serve or --show" in asked(*beside, code=2)
    assert asked(*beside, "--serve", "9000")["page"] and asked(*beside, "--show")["page"] is None


def test_options_reach_the_camera(asked, monkeypatch):
    monkeypatch.setenv("TARGET", f"rtmp://x:{CANARY}@y/z")
    seen = asked(
        "0", "--size", "640x480", "--rate", "29.97", "--pixel-format", "mjpeg", "--transport", "udp",
        "--record", "a.mkv", "--segment", "5:00", "--segment-size", "1G", "--keep", 3,
        "--push", "udp://h:1", "--push-env", "TARGET", "--crf", 20, "--preset", "fast", "--encoder", "libx265",
        "--profile", "tiny", "--strength", 0.5, "--max-latency", 200, "--no-sound",
        "--virtual-camera", "/dev/video9", "--duration", "1:30",
    )  # fmt: skip
    camera = seen["camera"]
    assert (camera.size, str(camera.rate), camera.pixel_format) == ((640, 480), "2997/100", "mjpeg")
    assert (camera.segment, camera.segment_size, camera.keep) == (300.0, 1024**3, "3")
    assert [target.secret for target in camera.push] == ["udp://h:1", f"rtmp://x:{CANARY}@y/z"]
    assert (camera.encoder, camera.crf, camera.preset, camera.sound) == ("libx265", 20, "fast", False)
    assert (camera.profile, camera.strength, camera.max_latency_ms) == ("tiny", 0.5, 200)
    assert (camera.virtual_camera, camera.transport, seen["duration"]) == ("/dev/video9", "udp", 90.0)


def test_three_ways_to_name_the_source(asked, monkeypatch, tmp_path):
    file = tmp_path / "address"
    file.write_text(f"{SOURCE}\n")
    monkeypatch.setenv("CAM", SOURCE)
    assert asked("--source-file", file)["camera"].source.secret == SOURCE
    assert asked("--source-env", "CAM")["camera"].source.secret == SOURCE
    assert "CAM" not in os.environ  # child processes need not know it
    assert asked("--source-file", file)["warnings"] == []


def test_the_token_comes_from_the_environment(asked, monkeypatch):
    monkeypatch.setenv("STREAMDERAIN_TOKEN", "abc")
    seen = asked("0")
    assert seen["page"].token == "abc" and seen["warnings"] == [] and "STREAMDERAIN_TOKEN" not in os.environ


@pytest.mark.parametrize("arguments, word", [
    ([SOURCE], "--source-env"), (["0", "--push", SOURCE], "--push-env"),
    (["0", "--token", "abc"], "STREAMDERAIN_TOKEN"),
])  # fmt: skip
def test_a_secret_on_the_command_line_is_warned_about(asked, arguments, word):
    (line,) = asked(*arguments)["warnings"]
    assert word in line and "list of processes" in line and CANARY not in line


@pytest.mark.parametrize("arguments, code, message", [
    ([], 2, "give a SOURCE"),
    (["0", "--source-env", "CAM"], 1, "give one source"),
    (["--source-env", "NO_SUCH_VARIABLE"], 1, "holds no address"),
    (["--source-file", "/no/such/file"], 1, "cannot be read"),
    (["0", "--push-env", "NO_SUCH_VARIABLE"], 1, "NO_SUCH_VARIABLE holds no address to push to"),
    ([f"gopher://me:{CANARY}@x/"], 1, "gopher://, which is not read here"),
    (["nowhere.mp4", "--pace"], 1, "no camera, no address and no file"),
    ([__file__], 1, "is a file; give --pace"),
    (["0", "--once"], 2, "--once goes with --pace"),
    (["0", "--keep", "3"], 2, "--keep goes with --record"),
    (["0", "--segment", "5"], 2, "--segment goes with --record"),
    (["0", "--size", "big"], 2, "1280x720"),
    (["0", "--size", SOURCE], 2, "no size"),
    (["0", "--rate", "0"], 2, "no rate"),
    (["0", "--serve", "x:y"], 2, "HOST:PORT"),
    (["0", "--record", "a.mkv", "--segment", "never"], 2, "10:00"),
    (["0", "--model", "/no/such/model"], 1, "does not exist"),
    (["0", "--strength", "3"], 2, "0.0<=x<=2.0"),
    (["--config", "/no/such/file"], 1, "cannot be read"),
    (["0", "--config", "x.toml"], 2, "SOURCE does not go with --config"),
    (["--config", "x.toml", "--record", "a.mkv"], 2, "--record does not go with --config"),
    (["--config", "x.toml", "--strength", "1"], 2, "--strength does not go with --config"),
])  # fmt: skip
def test_refused_in_one_line(asked, arguments, code, message):
    told = asked(*arguments, code=code)
    assert message in told
    assert code == 2 or told.count("\n") == 1


# --- whole runs ---
def test_a_run_from_first_to_last_line(tmp_path):
    with Running(SMALL, "--serve", "127.0.0.1:0", log="plain") as run:
        url = run.url()
        until(lambda: json.loads(get(f"{url}api/status")[1] or "{}").get("frames_out"))
        assert run.end() == 143
    assert run.lines[0].startswith("profile tiny on ") and run.lines[1] == f"the page is {url}"
    told = run.status()
    assert told["frames_out"] > 0 and told["time"].endswith("Z") and told["source"] == SMALL
    assert "Traceback" not in run.text


@pytest.mark.slow
def test_it_ends_after_the_duration_with_its_recording_complete(tmp_path):
    import av

    with Running(SMALL, "--duration", 6, "--record", tmp_path / "a.mkv") as run:
        assert run.wait() == 0
    (recording,) = tmp_path.glob("a_*.mkv")
    with av.open(str(recording)) as found:
        assert found.duration is not None  # written when a recording is completed
        assert sum(1 for _ in found.decode(video=0)) == run.status()["outputs"][0]["taken"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_order(number, code):
    with Running(SMALL, "--serve", "127.0.0.1:0") as run:
        run.wait_for("connected")
        assert run.end(number) == code
    assert run.status()["frames_out"] >= 0
    assert [line for line in run.lines if not line.startswith("{")] == []  # all of it is JSON


@pytest.mark.slow
def test_a_file_that_is_played_once_ends_by_itself(tmp_path):
    clip(tmp_path / "clip.mkv", range(0, 480, 40))
    with Running(tmp_path / "clip.mkv", "--pace", "--once", "--serve", "127.0.0.1:0") as run:
        assert run.wait() == 0
    assert run.status()["connections"] == 1 and 0 < run.status()["frames_in"] <= 12


@pytest.mark.slow
def test_an_output_that_never_got_anything_through_shows_in_the_exit_code(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        target = f"tcp://me:{CANARY}@127.0.0.1:{closed.getsockname()[1]}"
        record = ("--record", tmp_path / "a.mkv")
        with Running(SMALL, "--duration", 6, "--push-env", "TARGET", *record, env={"TARGET": target}) as run:
            assert run.wait() == 4
    taken = {output["name"].split()[0]: output["taken"] for output in run.status()["outputs"]}
    assert taken["push"] == 0 < taken["record"] and CANARY not in run.text


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is of POSIX")
@pytest.mark.parametrize("several", [False, True])
def test_on_a_terminal_a_line_is_kept_up_to_date(tmp_path, several):
    (tmp_path / "cams.toml").write_text(f"[page]\nserve = 0\n[cameras.garden]\nsource = '{SMALL}'")
    what = ["--config", str(tmp_path / "cams.toml")] if several else [SMALL, "--serve", "0"]
    control, terminal = os.openpty()
    shown, asked = b"", False
    with subprocess.Popen(
        [sys.executable, "-m", "streamderain", "camera", *what], stderr=terminal, stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:  # fmt: skip
        os.close(terminal)
        with suppress(OSError):  # how a pseudo-terminal ends
            while piece := os.read(control, 65536):
                shown += piece
                if not asked and b"mlive\x1b" in shown:  # in its colour
                    process.terminate()  # a second time would end it at once
                    asked = True
    os.close(control)
    text = shown.decode()
    assert process.returncode == 143 and "Traceback" not in text
    assert "profile tiny on" in text and " dropped" in text and ("garden" in text) == several
    assert text.rstrip().endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_a_window_shows_the_picture_and_ends_in_order():
    read, write = os.pipe()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    try:
        display = {"DISPLAY": f":{os.read(read, 16).decode().strip()}"}
        with Running(SMALL, "--show", "--serve", "127.0.0.1:0", env=display) as run:
            url = run.url()
            until(lambda: json.loads(get(f"{url}api/status")[1])["outputs"][0]["taken"] > 2)
            assert run.end() == 143
    finally:
        os.close(read)
        screen.kill()
        screen.wait(30)


@pytest.mark.slow
def test_the_default_port_gives_way_to_the_next(tmp_path):
    with Running(SMALL, "--duration", 30) as first, Running(SMALL, "--duration", 30) as second:
        assert first.url() != second.url()
        assert {get(f"{run.url()}api/status")[0] for run in (first, second)} == {200}


@pytest.mark.slow
def test_no_password_anywhere_while_a_camera_refuses():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        source = f"rtsp://me:{CANARY}@127.0.0.1:{closed.getsockname()[1]}/live?token=zz{CANARY}"
        for log in ("plain", "json"):
            with Running("--source-env", "CAM", "--serve", "127.0.0.1:0", env={"CAM": source}, log=log) as run:
                run.wait_for("refused")
                url = run.url()
                pages = [get(url + path)[1] for path in ("", "api/status", "metrics", "health", "snapshot.jpg")]
                seen = [part for process in run.family() for part in process.cmdline()]
                children = [part for child in run.family()[1:] for part in child.environ().values()]
                assert run.end() == 143
            everything = [*seen, *children, run.text, *(page.decode() for page in pages)]
            assert pages[1] and [text for text in everything if CANARY in text] == []


@pytest.mark.slow
def test_the_page_needs_its_package_and_says_so(tmp_path):
    (tmp_path / "aiohttp.py").write_text("raise ImportError('not here', name='aiohttp')")
    with Running(SMALL, "--duration", 5, env={"PYTHONPATH": str(tmp_path)}, log="plain") as run:
        assert run.wait() == 1
    assert "pip install 'streamderain[live]'" in run.lines[-1] and "Traceback" not in run.text


def test_the_cameras_of_this_machine(monkeypatch):
    from streamderain.live import cameras

    for found, said in ((["0  Webcam"], "0  Webcam\n"), ([], "no camera here")):
        monkeypatch.setattr(cameras, "list_cameras", lambda found=found: found)
        result = CliRunner().invoke(main, ["camera", "--list"])
        assert result.exit_code == 0 and said in result.stdout
