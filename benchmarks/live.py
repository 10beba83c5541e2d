"""How live runs bear time, load and bad networks: black-box runs of `streamderain camera`, sampled once a second.

    python benchmarks/live.py                         all scenarios (about 45 minutes), tables on stdout
    python benchmarks/live.py keep-up overload --minutes 10 --plots docs/live

Each scenario starts the command with --serve on a free port and reads /api/status, /metrics and the process's memory,
threads and descriptors. Needs ffmpeg on the PATH for network sources, psutil, and matplotlib for --plots.
"""
from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from relay import Line, tcp, udp
from watched import Run, free_port, measured, plot

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "samples" / "rain.mp4"


@contextmanager
def network() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread, for relays and servers."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def started(loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    """The result of a coroutine that runs in that loop."""
    return asyncio.run_coroutine_threadsafe(work, loop).result(10)


@cache
def clip() -> Path:
    """The sample as MPEG-TS with a key frame every second, as cameras send them."""
    path = Path(tempfile.mkdtemp()) / "rain.ts"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(SAMPLE), "-an", "-c:v", "libx264", "-preset", "veryfast", "-bf", "0",
         "-g", "25", "-f", "mpegts", str(path)], check=True,
    )  # fmt: skip
    return path


def sender(target: str, *, listen: bool = False) -> subprocess.Popen[bytes]:
    """The sample as an endless stream at its own pace."""
    url = f"{target}?listen=1" if listen else target
    return subprocess.Popen(
        ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip()), "-c", "copy", "-f", "mpegts", url],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def keep_up(minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    """25 frames a second of a size that the machine can do."""
    with Run("testsrc=480x272@25", *run_options) as run:
        return run, measured(run, 60 * minutes)


def overload(minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    """A network asked for by name that needs at least twice the time there is."""
    with Run("testsrc=1024x576@30", "--profile", "realtime", *run_options) as run:
        return run, measured(run, 60 * minutes)


def auto_overload(minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    """A camera that is too large for this machine, and --profile auto."""
    with Run("testsrc=1920x1080@25", *run_options) as run:
        return run, measured(run, 60 * minutes)


def loss(minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    """MPEG-TS over UDP of which 3 datagrams in 100 are lost."""
    return _through_udp(Line(loss=0.03), minutes, run_options)


def heavy_loss(minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    """MPEG-TS over UDP of which 30 datagrams in 100 are lost."""
    return _through_udp(Line(loss=0.3), minutes, run_options)


def jitter(minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    """MPEG-TS over TCP, each piece 20 to 120 ms late."""
    return _through_tcp(Line(delay_s=0.02, jitter_s=0.1), minutes, run_options)


def thin(minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    """MPEG-TS over TCP through a line of 70 % of the stream's bit rate."""
    rate = clip().stat().st_size / 5.0
    return _through_tcp(Line(bytes_per_s=0.7 * rate), minutes, run_options)


def _through_udp(line: Line, minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    near, far = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    with ExitStack() as stack:
        loop = stack.enter_context(network())
        started(loop, udp(near, ("127.0.0.1", far), line))
        source = sender(f"udp://127.0.0.1:{near}?pkt_size=1316")
        stack.callback(source.kill)
        run = stack.enter_context(Run(f"udp://127.0.0.1:{far}", *run_options))
        return run, measured(run, 60 * minutes)


def _through_tcp(line: Line, minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    near, far = free_port(), free_port()
    with ExitStack() as stack:
        loop = stack.enter_context(network())
        over = threading.Event()
        stack.callback(over.set)
        threading.Thread(target=_serve_again, args=(far, over), daemon=True).start()
        started(loop, tcp(near, ("127.0.0.1", far), line))
        run = stack.enter_context(Run(f"tcp://127.0.0.1:{near}", *run_options))
        return run, measured(run, 60 * minutes)


def _serve_again(port: int, over: threading.Event) -> None:
    """ffmpeg takes one connection in its life: a new one for each."""
    while not over.is_set():
        process = sender(f"tcp://127.0.0.1:{port}", listen=True)
        while process.poll() is None and not over.wait(0.1):
            pass
        process.kill()
        process.wait()


def reconnects(minutes: float, run_options: list[str], *, times: int = 500) -> tuple[Run, dict[str, Any]]:
    """A server that hangs up after a third of a second, again and again."""
    with tempfile.TemporaryDirectory() as folder, network() as loop:
        clip = Path(folder) / "clip.ts"
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(SAMPLE), "-vf", "scale=160:90", "-t", "1", "-an", "-g", "5", str(clip)],
            check=True,
        )
        data = clip.read_bytes()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for part in range(10):
                writer.write(data[len(data) * part // 10 : len(data) * (part + 1) // 10])
                await asyncio.sleep(0.03)
            writer.close()

        port = free_port()
        started(loop, asyncio.start_server(serve, "127.0.0.1", port))
        with Run(f"tcp://127.0.0.1:{port}", *run_options) as run:
            return run, measured(run, 60 * minutes, until=lambda sample: sample["reconnects"] >= times)


def recovery(minutes: float, run_options: list[str], *, times: int = 20) -> tuple[Run, dict[str, Any]]:
    """A real RTSP server that is killed and starts again after some seconds: how long until a frame leaves?"""
    waits, port = [], "0"
    with ExitStack() as stack:
        server, port = _rtsp(port)
        stack.callback(lambda: server.kill())
        run = stack.enter_context(Run(f"rtsp://127.0.0.1:{port}/cam", *run_options))
        run.wait_for_frames()
        for number in range(times):
            server.kill()
            server.wait()
            time.sleep(3 + number % 5)
            before = json.loads(run.ask("api/status"))["frames_out"]
            server, port = _rtsp(port)
            begun = time.monotonic()
            while json.loads(run.ask("api/status"))["frames_out"] == before:
                time.sleep(0.02)
            waits.append(time.monotonic() - begun)
        found = measured(run, 60 * minutes)
    waits.sort()
    return run, {**found, "seconds_to_be_back": {"median": round(waits[times // 2], 2), "worst": round(waits[-1], 2)}}


def _rtsp(port: str) -> tuple[subprocess.Popen[str], str]:
    """The server of the live tests, which the system's own Python runs; returns when it listens."""
    command = ["/usr/bin/python3", str(HERE.parent / "tests" / "rtsp_server.py"), port, "640x480"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def viewers(minutes: float, run_options: list[str]) -> tuple[Run, dict[str, Any]]:
    """Ten who watch the MJPEG stream, of whom one has stopped reading."""
    with Run("testsrc=480x272@25", *run_options) as run:
        run.wait_for_frames()
        counts = [0] * 10
        over = threading.Event()
        threads = [threading.Thread(target=_view, args=(run.port, counts, n, over), daemon=True) for n in range(10)]
        for thread in threads:
            thread.start()
        found = measured(run, 60 * minutes)
        over.set()
        found["pictures_per_viewer"] = counts
        return run, found


def _view(port: int, counts: list[int], number: int, over: threading.Event) -> None:
    """Count the pictures that arrive; the first viewer reads one piece and then no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line, suppress(OSError):
        line.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while not over.is_set():
            piece = line.recv(1 << 16)
            counts[number] += piece.count(b"\xff\xd8\xff")
            if number == 0:
                over.wait()


SCENARIOS: dict[str, tuple[Callable[..., tuple[Run, dict[str, Any]]], float]] = {
    "keep-up": (keep_up, 2), "overload": (overload, 10), "auto-overload": (auto_overload, 2), "loss": (loss, 1),
    "heavy-loss": (heavy_loss, 1), "jitter": (jitter, 1), "thin": (thin, 1), "reconnects": (reconnects, 20),
    "recovery": (recovery, 0.2),
    "viewers": (viewers, 1),
}  # fmt: skip


def main() -> None:
    """Run the scenarios that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], metavar="SCENARIO")
    parser.add_argument("--minutes", type=float, help="instead of each scenario's own")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--with", dest="options", nargs="*", default=[], help="further options of the command")
    asked = parser.parse_args()
    results = {}
    print(f"{os.cpu_count()} cores")
    for name in asked.scenarios or SCENARIOS:
        scenario, minutes = SCENARIOS[name]
        run, results[name] = scenario(asked.minutes or minutes, asked.options)
        print(name, json.dumps(results[name], indent=None), flush=True)
        if asked.plots:
            plot(name, run.samples, asked.plots)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
