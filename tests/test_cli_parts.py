"""The parts of the command line that need no video: text, option values, progress, destinations, report file."""
import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from io import StringIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

import streamderain
from streamderain.cli import COMMANDS, main
from streamderain.cli.bar import Bar
from streamderain.cli.common import RATE, TIME, check_model_file, network_options
from streamderain.cli.destinations import destinations, make_folder
from streamderain.cli.interrupt import Interruptions
from streamderain.cli.progress import JsonLines, Pace, Plain, Silent, clock_time, make_progress
from streamderain.cli.report import check_report_path, write_report
from streamderain.cli.text import one_line
from streamderain.derainer import Derainer
from streamderain.errors import DerainError
from streamderain.report import Report

ROOT = Path(streamderain.__file__).parent.parent


class Clock:
    """Time that passes only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["image", "a.png", ""],
        ["video", "a.mp4", "--out-dir", ""],
        ["compile", "--model", ""],
        ["models", ""],
        ["bench", "--out", ""],
        ["train", "rdmc", "--clean", "", "--out", "x"],
    ],
)
def test_an_empty_name_is_not_the_current_folder(arguments):
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "the name is empty." in done.output


def test_importing_the_command_line_loads_nothing_heavy():
    heavy = "{'torch', 'numba', 'av', 'cv2', 'numpy', 'rich'}"
    code = "import sys, streamderain, streamderain.cli, streamderain.cli.video"
    assert python(f"{code}; print({heavy} & set(sys.modules))") == "set()\n"


def test_public_names_are_there_when_asked_for():
    code = "import sys, streamderain; streamderain.Frame; print('torch' in sys.modules, dir(streamderain.Frame) != [])"
    assert python(code) == "False True\n"
    with pytest.raises(AttributeError, match="no attribute 'Rain'"):
        streamderain.Rain  # noqa: B018


@pytest.mark.parametrize("argument, expected", [("--help", list(COMMANDS)), ("--version", [streamderain.__version__])])
def test_the_group_answers_without_importing_a_command(argument, expected):
    result = CliRunner().invoke(main, [argument])
    assert result.exit_code == 0
    assert all(word in result.stdout for word in expected)


def test_an_unknown_command_is_a_usage_error():
    result = CliRunner().invoke(main, ["rainbow"])
    assert result.exit_code == 2 and "No such command 'rainbow'" in result.stderr


@pytest.mark.parametrize("raised, exit_code, stderr", [
    (DerainError("x.mp4 has no video; give another"), 1, "Error: x.mp4 has no video; give another.\n"),
    (DerainError("two\nlines \x1b[31m", exit_code=3), 3, "Error: two lines \\x1b[31m.\n"),
    (KeyboardInterrupt(), 130, ""),
])
def test_the_users_trouble_is_told_in_one_line_in_one_place(monkeypatch, raised, exit_code, stderr):
    @click.command()
    def command():
        raise raised

    monkeypatch.setattr("streamderain.cli.LazyGroup.get_command", lambda *_: command)
    result = CliRunner().invoke(main, ["video"])
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, stderr, "")


@pytest.mark.parametrize("arguments", [
    ["image", "{}.jpg", "out.png"], ["video", "{}.mp4", "out.mp4"], ["eval", "--clean", "{}"], ["models", "{}"],
    ["image", "in.jpg", "out.png", "--model", "{}"],
])  # fmt: skip
def test_a_name_that_the_system_refuses_is_told_in_one_line(arguments):
    result = CliRunner().invoke(main, [each.format("x" * 300) for each in arguments])
    assert result.exit_code == 1
    assert "cannot be used (file name too long); give another path" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch):
    @click.command()
    def command():
        raise ZeroDivisionError

    monkeypatch.setattr("streamderain.cli.LazyGroup.get_command", lambda *_: command)
    assert isinstance(CliRunner().invoke(main, ["video"]).exception, ZeroDivisionError)


@pytest.mark.parametrize("text, expected", [
    ("rain.mp4", "rain.mp4"),
    ("Regen über Köln.mp4", "Regen über Köln.mp4"),
    ("a\nb\tc", "a b c"),
    ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ("\u202egpj.exe", "\\u202egpj.exe"),
    (os.fsdecode(b"\xff.mp4"), "\\udcff.mp4"),
])
def test_one_line_shows_what_could_steer_a_terminal(text, expected):
    assert one_line(text) == expected


@pytest.mark.parametrize("text, rate", [
    ("25", Fraction(25)), ("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001)), ("1e1", Fraction(10)),
])
def test_rates_are_exact(text, rate):
    assert RATE.convert(text, None, None) == rate


@pytest.mark.parametrize("text", ["", "fast", "0", "-25", "1/0", "1001", "nan", "inf", "1e-300", "25/"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(click.BadParameter, match="is no rate"):
        RATE.convert(text, None, None)


@pytest.mark.parametrize("text, seconds", [
    ("12.5", 12.5), ("0", 0.0), ("1:30", 90.0), ("1:02:03.5", 3723.5), ("90:00", 5400.0), ("7.", 7.0),
])
def test_times_are_seconds_or_clock(text, seconds):
    assert TIME.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:", ":30", "1.5:30", "1:2:3:4", "nan", "inf", "1e9", "1 m", "\u0663"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(click.BadParameter, match="is no time"):
        TIME.convert(text, None, None)


def test_network_options_mean_the_same_everywhere():
    @click.command()
    @network_options
    def command(**values):
        click.echo(json.dumps(values, default=str))

    assert json.loads(CliRunner().invoke(command).stdout) == {
        "profile": "auto", "device": "auto", "model": None, "strength": 1.0, "backend": "auto",
        "precision": "auto", "cache_dir": None,
    }
    given = ["--profile", "tiny", "--device", "cpu", "--model", "m.safetensors", "--strength", "0.5"]
    given += ["--backend", "compile", "--precision", "bf16", "--cache-dir", "kept"]
    assert json.loads(CliRunner().invoke(command, given).stdout) == {
        "profile": "tiny", "device": "cpu", "model": "m.safetensors", "strength": 0.5, "backend": "compile",
        "precision": "bf16", "cache_dir": "kept",
    }


@pytest.mark.parametrize("strength", ["-0.1", "2.1", "much", "nan", "inf"])
def test_a_strength_that_makes_no_sense_is_a_usage_error(strength):
    assert CliRunner().invoke(strength_alone, ["--strength", strength]).exit_code == 2


@pytest.mark.parametrize("strength, code", [(-0.1, 2), (0, 0), (2, 0), (2.1, 2), (float("nan"), 2)])
def test_command_and_derainer_agree_on_strengths(tmp_path, strength, code):
    assert CliRunner().invoke(strength_alone, [f"--strength={strength}"]).exit_code == code
    with pytest.raises(DerainError, match="is not a file" if code == 0 else "from 0 .* to 2"):
        Derainer(strength=strength, model=tmp_path / "none")


@click.command()
@network_options
def strength_alone(**values):
    pass


def test_a_model_that_is_not_there_is_refused_early(tmp_path):
    with pytest.raises(DerainError, match=r"model .*none\.safetensors does not exist"):
        check_model_file(tmp_path / "none.safetensors")
    with pytest.raises(DerainError, match="is a folder"):
        check_model_file(tmp_path)
    check_model_file(None)


def test_pace_counts_intervals_and_not_frames():
    clock = Clock()
    pace = Pace(11, clock)
    clock.now += 60  # loading does not count
    pace.advance(1)
    assert pace.fps is None and pace.seconds_left is None
    clock.now += 2
    pace.advance(5)
    assert pace.fps == 2.0 and pace.seconds_left == 3.0
    clock.now += 4
    pace.advance(13)  # more than was announced
    assert pace.fps == 2.0 and pace.seconds_left == 0.0


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (3723, "1:02:03")])
def test_clock_time(seconds, text):
    assert clock_time(seconds) == text


def play(progress, clock, *, total):
    progress.begin("rain.mp4", total)
    for done in range(1, 13):
        clock.now += 1
        progress.advance(done)
    progress.say("a\nwarning")
    progress.end()


@pytest.mark.parametrize("total, expected", [
    (20, ["rain.mp4: frame 5 of 20, 1.0 fps, 0:15 left", "rain.mp4: frame 10 of 20, 1.0 fps, 0:10 left", "a warning",
          "rain.mp4: frame 12 of 20, 1.0 fps, 0:08 left"]),
    (None, ["rain.mp4: frame 5, 1.0 fps", "rain.mp4: frame 10, 1.0 fps", "a warning", "rain.mp4: frame 12, 1.0 fps"]),
])
def test_plain_progress_is_a_line_every_five_seconds(capsys, total, expected):
    clock = Clock()
    play(Plain(clock), clock, total=total)
    out, err = capsys.readouterr()
    assert err.splitlines() == expected and out == ""


@pytest.mark.parametrize("total", [20, None])
def test_json_progress_parses(capsys, total):
    clock = Clock()
    play(JsonLines(clock), clock, total=total)
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [event["event"] for event in events] == ["start", *["progress"] * 12, "note", "end"]
    assert events[0] == {"event": "start", "input": "rain.mp4", "total": total}
    assert events[5] == {"event": "progress", "frame": 5, "total": total, "fps": 1.0,
                         "seconds_left": total and 15.0}
    assert events[-2:] == [{"event": "note", "text": "a warning"},
                           {"event": "end", "frame": 12, "total": total, "fps": 1.0}]


def test_silent_progress_still_says_what_must_be_said(capsys):
    clock = Clock()
    play(Silent(), clock, total=20)
    assert capsys.readouterr().err == "a warning\n"


@pytest.mark.parametrize("total", [12, None, 5])
def test_the_bar_shows_frame_speed_and_name(total):
    clock, shown = Clock(), StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    play(Bar(console, clock), clock, total=total)
    last = shown.getvalue().splitlines()[-2]
    assert "rain.mp4" in last and (f"12/{total}" if total else "12") in last and "1.0 fps" in last
    assert "a warning" in shown.getvalue()
    assert shown.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_the_bar_takes_names_literally():
    clock, shown = Clock(), StringIO()
    bar = Bar(Console(file=shown, force_terminal=True, width=100), clock)
    bar.begin("[red]rain[/red] [/].mp4", 2)
    bar.say("[bold] is no markup [/bold] [/]")
    bar.advance(1)
    bar.end()
    bar.end()
    assert "[red]rain[/red] [/].mp4" in shown.getvalue() and "[bold] is no markup [/bold] [/]" in shown.getvalue()


@pytest.mark.parametrize("kind, kept", [("auto", Plain), ("plain", Plain), ("json", JsonLines), ("none", Silent)])
def test_progress_kinds_without_a_terminal(kind, kept):
    assert type(make_progress(kind)) is kept


def test_auto_progress_is_a_bar_on_a_terminal(monkeypatch):
    class Terminal(StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(make_progress("auto"), Bar)
    assert isinstance(make_progress("plain"), Plain)


@pytest.mark.parametrize("path, container_format, name", [
    ("a/rain.mp4", None, "rain.mp4"),
    ("a/rain.mp4", "matroska", "rain.mkv"),
    ("rain.v2.mov", None, "rain.v2.mov"),
    ("rain", None, "rain.mkv"),
    ("frames/%06d.png", None, "pictures.mkv"),
    ("frames/night_%06d.png", None, "night.mkv"),
    ("frames/*.png", "mp4", "pictures.mp4"),
])
def test_outputs_in_a_folder_keep_their_names(path, container_format, name):
    assert destinations((path,), Path("out"), container_format) == [(path, str(Path("out") / name))]


def test_a_folder_of_pictures_becomes_a_file_of_its_name(tmp_path):
    folder = tmp_path / "night.d"
    folder.mkdir()
    assert destinations((str(folder),), Path("out"), None) == [(str(folder), str(Path("out/night.d.mkv")))]


@pytest.mark.parametrize("paths", [("a.mp4",), ("a.mp4", "b.mp4", "c.mp4")])
def test_in_and_out_are_two(paths):
    assert destinations(("a", "b"), None, None) == [("a", "b")]
    with pytest.raises(click.UsageError, match=f"got {len(paths)} path"):
        destinations(paths, None, None)


def test_two_inputs_of_one_name_and_stdin_are_refused_in_a_folder():
    with pytest.raises(DerainError, match=r"a/x.mp4 and b/x.mp4 would both become out.x\.mp4"):
        destinations(("a/x.mp4", "b/x.mp4"), Path("out"), None)
    with pytest.raises(click.UsageError, match="stdin has no name"):
        destinations(("a/x.mp4", "-"), Path("out"), None)


def test_the_folder_is_made_or_refused(tmp_path):
    assert make_folder(tmp_path / "new") is True
    assert make_folder(tmp_path / "new") is False
    (tmp_path / "file").touch()
    with pytest.raises(DerainError, match="a file has that name"):
        make_folder(tmp_path / "file")
    with pytest.raises(DerainError, match="no such file or directory"):
        make_folder(tmp_path / "not" / "there")


def test_the_report_is_written_whole_and_replaced(tmp_path):
    path = tmp_path / "report.json"
    for frames in (1, 2):
        report = Report("in.mp4", "out.mp4", frames_in=frames, frames_out=frames, seconds=0.5)
        write_report(path, report.as_dict())
    loaded = json.loads(path.read_text())
    assert (loaded["frames_in"], loaded["frames_out"], loaded["fps"]) == (2, 2, 4.0)
    assert loaded["complete"] is False and loaded["error"] is None
    assert set(loaded["versions"]) == {"streamderain", "torch", "av", "numba"}
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DerainError, match="could not be written \\(No space left on device\\)") as raised:
        write_report(path, {})
    assert raised.value.exit_code == 4
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["report.json"]


def test_report_places_that_are_refused(tmp_path):
    taken = tmp_path / "in.mp4"
    taken.touch()
    (tmp_path / "link.json").symlink_to(taken)
    for path, reason in [
        (tmp_path, "no ordinary file"),
        (tmp_path / "not" / "r.json", "make .* first"),
        (taken, "also read or written"),
        (tmp_path / "link.json", "also read or written"),
        (tmp_path / "out.mp4", "also read or written"),
    ]:
        with pytest.raises(DerainError, match=reason):
            check_report_path(path, [taken, tmp_path / "out.mp4"])
    check_report_path(tmp_path / "r.json", [taken])


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_ends_a_run_in_order_and_the_handlers_go(number, code):
    outer = signal.signal(number, signal.SIG_DFL)  # whatever the tests were started with: nohup ignores one of them
    try:
        with Interruptions() as interruptions:
            assert interruptions.exit_code is None
            with interruptions.orderly():
                signal.raise_signal(number)
            assert interruptions.stop.is_set() and interruptions.exit_code == code
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, outer)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_the_run_a_signal_interrupts_at_once(number, code):
    seen = []
    with pytest.raises(SystemExit) as raised, Interruptions():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            seen.append("interrupted")
            raise
    assert seen == ["interrupted"] and raised.value.code == code


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptions():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_closes_is_told_twice_and_the_run_ends_in_order():
    program = """
import signal
from streamderain.cli.interrupt import Interruptions
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with Interruptions() as interruptions, interruptions.orderly():
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    print("completed")
raise SystemExit(interruptions.exit_code)
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (129, "completed\n")


@pytest.mark.parametrize("second, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_second_signal_ends_the_process_at_once(second, code):
    program = f"""
import signal
from streamderain.cli.interrupt import Interruptions
with Interruptions() as i, i.orderly():
    signal.raise_signal(signal.SIGINT)
    print("still here", flush=True)
    signal.raise_signal(signal.{second})
    print("too long")
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (code, "still here\n", "")


def test_progress_needs_no_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # `2>&-`
    assert isinstance(make_progress("auto"), Plain)


def run_closed(*arguments, close):
    """Run the command with some of the descriptors 0, 1 and 2 closed; its exit code and what the others heard."""
    program = "import os, sys; [os.close(int(n)) for n in sys.argv[1]]; os.execv(sys.argv[2], sys.argv[2:])"
    command = [sys.executable, "-c", program, close, sys.executable, "-m", "streamderain", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_no_file_takes_the_place_of_a_closed_stream():
    program = """
import os
[os.close(n) for n in range(3)]
from streamderain.cli import main
first, taken = os.open("setup.cfg", os.O_RDONLY), [os.path.realpath(f"/proc/self/fd/{n}") for n in range(3)]
os._exit(0 if first > 2 and taken == ["/dev/null"] * 3 else 1)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("/proc is Linux's")
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0


@pytest.mark.parametrize("arguments, close, line", [
    (["video", "-", "{}/out.mkv"], "0", "Error: stdin is closed; pipe a video into it or name a file.\n"),
    (["video", "samples/rain.mp4", "-"], "1", "Error: stdout is closed; pipe it into a program or name a file.\n"),
    (["doctor"], "2", "ok"),
])
def test_a_closed_stream_is_refused_where_it_is_needed(tmp_path, arguments, close, line):
    code, told = run_closed(*(each.format(tmp_path) for each in arguments), close=close)
    assert code == (0 if arguments == ["doctor"] else 1) and line in told and "NoneType" not in told


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full does not exist here")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "streamderain", "models", "--json"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 4
    reason = "the output cannot be written (no space left on device); make room or send it elsewhere"
    assert done.stderr == f"Error: {reason}.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the folder that a program is in")
def test_a_current_folder_that_was_deleted_is_refused(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = CliRunner().invoke(main, ["models"])
    assert (result.exit_code, result.stderr) == (
        1, "Error: the current folder was deleted; cd to another and start again.\n"
    )  # fmt: skip
