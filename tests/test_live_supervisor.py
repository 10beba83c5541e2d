"""One process per camera: begun again when it ends, apart from the others, and ended in order."""
from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading

import psutil
import pytest
from browser import Browser, needs_chromium
from live_command import Running, get, until

from streamderain.live.options import camera_options
from streamderain.live.supervisor import FIRST_WAIT_S, SILENT_SECONDS, Keeper, Supervisor, environment, how_it_ended
from streamderain.live.timing import MONOTONIC

CANARY = "canary-hunter2"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and /proc as Linux has them")
# A worker without a camera: tells a port and a status, and does what its source says.
FAKE = """
import json, os, signal, sys, threading, time
orders = json.loads(sys.stdin.readline())
what = orders["camera"]["source"].partition("=")[2]
def tell(**values): print(json.dumps(values), flush=True)
print("Traceback with", orders["camera"]["source"], file=sys.stderr, flush=True)
tell(port=4711)
tell(status={"frames_out": 5, "healthy": True, "connected": True, "threads": os.environ["OMP_NUM_THREADS"]})
tell(kind="error", text="told " + orders["camera"]["source"])
if what == "crash": os.kill(os.getpid(), signal.SIGSEGV)
if what == "end": sys.exit(3)
if what == "babble": print("no json", flush=True)
if what == "deaf": time.sleep(600)
sys.stdin.read()
tell(kind="note", text="completed")
"""


class Told:
    """A Teller that keeps everything and lets a test wait for a line."""

    def __init__(self):
        self.lines, self._changed = [], threading.Condition()

    def say(self, line, camera=""):
        self.event("note", line, camera)

    def event(self, kind, text, camera=""):
        with self._changed:
            self.lines.append((camera, kind, text))
            self._changed.notify_all()

    def status(self, facts, camera=""):
        raise AssertionError("a keeper tells no status by itself")

    def wait_for(self, part, *, count=1, seconds=60):
        with self._changed:
            assert self._changed.wait_for(lambda: self.count(part) >= count, seconds), (part, self.lines)

    def count(self, part):
        return sum(part in " ".join(line) for line in self.lines)


class QuickClock:
    """The machine's clock, but waits are short and remembered."""

    def __init__(self):
        self.ahead, self.waits = 0.0, []

    def now(self):
        return MONOTONIC.now() + self.ahead

    def wait(self, event, seconds):
        self.waits.append(seconds)
        return event.wait(min(seconds, 0.01))


@pytest.fixture
def keep(tmp_path):
    """Starts keepers of fake workers, by what their workers do, and ends them."""
    script = tmp_path / "fake_worker.py"
    script.write_text(FAKE)
    keepers = []

    def start(what="stay", *, clock=MONOTONIC, name="garden"):
        options = camera_options({"source": f"rtsp://me:{CANARY}@cam/1?do={what}"})
        told = Told()
        keeper = Keeper(name, options, environment(1), told, clock=clock, command=(sys.executable, "-S", str(script)))
        keepers.append(keeper)
        keeper.start()
        return keeper, told

    yield start
    for keeper in keepers:
        keeper.close(0.5)


# --- one worker ---
def test_a_worker_is_heard_and_ended_in_order(keep):
    keeper, told = keep()
    told.wait_for("told")
    assert keeper.port == 4711 and keeper.running and keeper.status()["frames_out"] == 5 and keeper.status()["healthy"]
    pid = keeper.pid
    keeper.close(30)
    assert told.count("completed") == 1 and not psutil.pid_exists(pid)
    assert keeper.pid is None and not keeper.running and keeper.port is None
    assert keeper.status()["healthy"] is False and keeper.status()["connected"] is False


@posix
@pytest.mark.parametrize("what, told_as", [("crash", "SIGSEGV"), ("end", "exit code 3")])
def test_a_worker_that_ends_is_begun_again_with_growing_waits(keep, what, told_as):
    clock = QuickClock()
    keeper, told = keep(what, clock=clock)
    told.wait_for(told_as, count=4)
    waits = [wait for wait in clock.waits if wait >= FIRST_WAIT_S]
    assert waits[:3] == [1.0, 2.0, 4.0]
    until(lambda: keeper.restarts >= 3)


@posix
def test_a_kill_from_outside_is_told_and_mended(keep):
    keeper, told = keep(clock=QuickClock())
    told.wait_for("told")
    first = keeper.pid
    os.kill(first, signal.SIGKILL)
    told.wait_for("SIGKILL (the system does that when memory runs out); it starts again in 1 s")
    told.wait_for("told", count=2)
    assert keeper.pid not in (first, None) and keeper.restarts == 1


def test_a_silent_worker_is_ended_and_begun_again(keep):
    clock = QuickClock()
    keeper, told = keep("deaf", clock=clock)
    told.wait_for("told")
    keeper.watch()
    assert told.count("said nothing") == 0
    clock.ahead += SILENT_SECONDS + 1
    assert keeper.status()["healthy"] is False
    keeper.watch()
    told.wait_for("said nothing for 60 s")
    told.wait_for("told", count=2)


def test_who_was_asleep_himself_ends_no_worker(tmp_path):
    script, told, stop, clock = tmp_path / "fake.py", Told(), threading.Event(), QuickClock()
    script.write_text(FAKE)
    cameras = {"a": camera_options({"source": "rtsp://cam/1?do=stay"})}
    supervisor = Supervisor(cameras, told, clock=clock, command=(sys.executable, "-S", str(script)))
    watched, looks = [], clock.wait

    def wait(event, seconds):
        """A machine that is paused once the worker has spoken."""
        if event is stop and told.count("told") and not clock.ahead:
            clock.ahead = SILENT_SECONDS + 1
        elif clock.ahead:
            watched.append(seconds)
            stop.set() if len(watched) > 3 else None
        return looks(event, seconds)

    clock.wait = wait
    supervisor.run(stop)
    assert len(watched) > 3 and told.count("said nothing") == 0


def test_a_worker_that_does_not_end_is_killed(keep):
    keeper, told = keep("deaf")
    told.wait_for("told")
    pid = keeper.pid
    keeper.close(0.2)
    assert told.count("did not end within") == 1 and not psutil.pid_exists(pid)


def test_what_is_not_understood_is_told(keep):
    _, told = keep("babble")
    told.wait_for("not understood: no json")


def test_no_secret_in_what_a_worker_says_or_can_be_seen_of_it(keep):
    keeper, told = keep()
    told.wait_for("told")
    told.wait_for("Traceback")
    seen = psutil.Process(keeper.pid)
    everything = [*map(str, told.lines), *seen.cmdline(), *seen.environ().values()]
    assert [text for text in everything if CANARY in text or keeper.token in text] == []


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path):
    told, clock = Told(), QuickClock()
    keeper = Keeper("a", camera_options({"source": "0"}), {}, told, clock=clock, command=(str(tmp_path / "nothing"),))
    keeper.start()
    told.wait_for("does not start (No such file", count=2)
    keeper.close(10)


# --- several ---
@posix
def test_the_death_of_one_leaves_the_others_alone(tmp_path):
    script, told, stop = tmp_path / "fake.py", Told(), threading.Event()
    script.write_text(FAKE)
    cameras = {name: camera_options({"source": f"testsrc={name}"}) for name in ("a", "b")}
    supervisor = Supervisor(cameras, told, command=(sys.executable, "-S", str(script)))
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    try:
        told.wait_for("told", count=2)
        first, other = (supervisor.keepers[name].pid for name in ("a", "b"))
        os.kill(first, signal.SIGKILL)
        told.wait_for("told testsrc=a", count=2)
        assert supervisor.keepers["a"].pid != first and supervisor.keepers["b"].pid == other
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive() and told.count("completed") == 2


@pytest.mark.parametrize("cameras, cores, share", [(1, 8, "8"), (2, 8, "4"), (3, 8, "2"), (9, 2, "1")])
def test_workers_share_the_cores(monkeypatch, cameras, cores, share):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    given = environment(cameras, cores=cores)
    assert given["OMP_NUM_THREADS"] == given["NUMBA_NUM_THREADS"] == share


def test_variables_that_held_secrets_are_withheld(monkeypatch):
    monkeypatch.setenv("GARDEN", CANARY)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    given = environment(2, {"GARDEN"})
    assert "GARDEN" not in given and "PATH" in given
    assert given["OMP_NUM_THREADS"] == "7"  # what the user wants goes first


@posix
@pytest.mark.parametrize("code, words", [
    (0, "ended with exit code 0"), (4, "ended with exit code 4"), (-signal.SIGSEGV, "was ended by SIGSEGV"),
    (-signal.SIGKILL, "was ended by SIGKILL (the system does that when memory runs out)"), (-250, "signal 250"),
])  # fmt: skip
def test_how_a_process_ended_in_words(code, words):
    assert how_it_ended(code).endswith(words)


# --- whole runs ---
def config(tmp_path, *tables, page='serve = "127.0.0.1:0"'):
    """A configuration of small drawn cameras."""
    file = tmp_path / "cameras.toml"
    file.write_text("\n".join([f"[page]\n{page}", *tables]))
    return file


def drawn(name, *lines):
    """The table of a camera that is drawn."""
    return "\n".join([f"[cameras.{name}]", 'source = "testsrc=160x120@10"', 'profile = "tiny"', *lines])


@posix
@pytest.mark.slow
def test_killing_one_camera_leaves_the_other_alone(tmp_path):
    file = config(tmp_path, drawn("a", f'record = "{tmp_path}/a.mkv"'), drawn("b", f'record = "{tmp_path}/b.mkv"'))
    with Running("--config", file) as run:
        url = run.url()
        until(lambda: get(f"{url}health")[0] == 200)
        until(lambda: min(recorded(url)) >= 20)  # a kill costs the last half second
        before = run.workers()
        victim = before.pop()
        (other,) = before
        os.kill(victim, signal.SIGKILL)
        run.wait_for("was ended by SIGKILL")
        until(lambda: get(f"{url}health")[0] == 503)
        until(lambda: get(f"{url}health")[0] == 200)
        after = run.workers()
        assert other in after and victim not in after and len(after) == 2
        restarts = sorted(each["restarts"] for each in json.loads(get(f"{url}api/cameras")[1]))
        assert restarts == [0, 1]
        for name in ("a", "b"):
            code, body = get(f"{url}cameras/{name}/snapshot.jpg")
            assert code == 200 and body.startswith(b"\xff\xd8")
        until(lambda: min(recorded(url)) >= 10)
        everybody = run.family()
        assert run.end(signal.SIGTERM) == 143
        assert [process for process in everybody if process.is_running()] == []
    recordings = sorted(tmp_path.glob("*.mkv"))
    assert {path.name[0] for path in recordings} == {"a", "b"} and len(recordings) == 3
    assert [path for path in recordings if played(path) < 1] == []


def recorded(url):
    """How many pictures each camera has written."""
    listed = json.loads(get(f"{url}api/cameras")[1])
    return [sum(output["taken"] for output in each["status"].get("outputs", ())) for each in listed]


def played(path):
    """How many pictures of a file can be decoded."""
    import av

    with av.open(str(path)) as found:
        return sum(1 for _ in found.decode(video=0))


@posix
@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    with Running("--config", config(tmp_path, drawn("a"), drawn("b"))) as run:
        url = run.url()
        until(lambda: get(f"{url}health")[0] == 200)
        workers = [process for process in run.family() if process.pid in run.workers()]
        assert len(workers) == 2
        run.process.kill()
        gone, alive = psutil.wait_procs(workers, timeout=60)
        for process in alive:
            process.kill()
        assert alive == [] and len(gone) == 2


@posix
@pytest.mark.slow
def test_no_password_in_lists_of_processes_logs_and_pages(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        port = closed.getsockname()[1]
        (tmp_path / "token").write_text(f"{CANARY}-page\n")
        file = config(
            tmp_path, drawn("a"), "[cameras.b]", 'source_env = "CAM"', "[cameras.c]",
            f'source = "http://me:{CANARY}@127.0.0.1:{port}/v"',
            page=f'serve = "127.0.0.1:0"\ntoken_file = "{tmp_path}/token"',
        )  # fmt: skip
        with Running("--config", file, env={"CAM": f"rtsp://me:{CANARY}@127.0.0.1:{port}/x"}) as run:
            url, proof = run.url(), {"Authorization": f"Bearer {CANARY}-page"}
            run.wait_for('"camera": "b".*refused')
            run.wait_for('"camera": "c".*refused')
            until(lambda: get(f"{url}cameras/a/snapshot.jpg", **proof)[0] == 200)
            paths = ("", "api/cameras", "metrics", "health", "cameras/b/api/status", "cameras/c/metrics", "cameras/b/")
            pages = [get(url + path, **proof)[1].decode() for path in paths]
            family = run.family()
            seen = [part for process in family for part in process.cmdline()]
            seen += [part for process in family[1:] for part in process.environ().values()]
            assert run.workers() and run.end() == 143
    everything = [*seen, *pages, run.text]
    assert "***@127.0.0.1" in run.text and [text for text in everything if CANARY in text] == []


@posix
@pytest.mark.slow
def test_an_output_that_nobody_took_shows_in_the_exit_code(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        file = config(tmp_path, drawn("a", f'push = "tcp://127.0.0.1:{closed.getsockname()[1]}"'))
        with Running("--config", file, "--duration", "12") as run:
            assert run.wait() == 4


@posix
@pytest.mark.slow
def test_a_camera_that_cannot_run_is_told_and_tried_again(tmp_path):
    with Running("--config", config(tmp_path, drawn("a"), drawn("b", 'encoder = "nosuch"', "record='x.mkv'"))) as run:
        run.wait_for('"camera": "b".*nosuch', count=2)
        url = run.url()
        until(lambda: json.loads(get(f"{url}cameras/a/api/status")[1] or "{}").get("healthy"))
        assert get(f"{url}cameras/b/")[0] == 502
        assert run.end(signal.SIGINT) == 130


@posix
@pytest.mark.slow
@needs_chromium
def test_from_the_list_to_a_cameras_live_picture_in_a_browser(tmp_path):
    with Running("--config", config(tmp_path, drawn("a"), drawn("b"))) as run, Browser() as browser:
        url = run.url()
        tab = browser.open(url)
        tab.wait_for("document.querySelectorAll('.card[data-state=live]').length === 2", 120)
        tab.click(".card")
        tab.wait_for("location.pathname === '/cameras/a/'")
        tab.wait_for("document.querySelector('.pill')?.dataset.state === 'live'", 120)
        tab.wait_for("document.querySelector('canvas')?.width > 0")
        assert run.end() == 143
