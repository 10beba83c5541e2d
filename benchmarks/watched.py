"""One `streamderain camera` process under observation: sampled once a second from outside, summed up and plotted."""
from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

Sample = dict[str, Any]


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Run:
    """One `streamderain camera` process, and what was seen of it.

    Args:
        arguments: of the command, the source first.
    """

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "streamderain", "camera", *arguments, "--log", "json"]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self.process = psutil.Popen([*command, "--serve", str(self.port)], stderr=self._log, stdout=subprocess.DEVNULL)
        self.samples: list[Sample] = []

    def ask(self, path: str) -> bytes:
        """The answer to GET path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
            return answer.read()

    def wait_for_frames(self, seconds: float = 180) -> None:
        """Until pictures leave; the first start on a machine compiles the search."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError, ValueError):
                if json.loads(self.ask("api/status"))["frames_out"] > 20:
                    return
            time.sleep(0.2)
        self.close()
        self._log.seek(0)
        raise SystemExit(f"no frames came:\n{self._log.read()}")

    def watch(self, seconds: float, until: Callable[[Sample], bool] = lambda sample: False) -> None:
        """Sample once a second."""
        begun = time.monotonic()
        while (at := time.monotonic() - begun) < seconds:
            sample = {"at": at, **json.loads(self.ask("api/status"))}
            with self.process.oneshot():
                sample |= {
                    "rss_mb": self.process.memory_info().rss / 2**20,
                    "descriptors": self.process.num_fds(),
                    "threads": self.process.num_threads(),
                }
            self.samples.append(sample)
            if until(sample):
                return
            time.sleep(max(0.0, 1 - (time.monotonic() - begun - at)))

    def buckets(self) -> dict[float, float]:
        """Cumulative counts of the latency histogram by upper bound in seconds."""
        found = {}
        for line in self.ask("metrics").decode().splitlines():
            if line.startswith("streamderain_latency_seconds_bucket"):
                labels, _, count = line.rpartition(" ")
                bound = labels.split('le="')[1].split('"')[0]
                found[float(bound)] = float(count)
        return found

    def close(self) -> str:
        """End it as a service manager would; what it wrote."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except psutil.TimeoutExpired:
            self.process.kill()
        self._log.seek(0)
        return self._log.read()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def share_within(before: dict[float, float], after: dict[float, float], seconds: float) -> float:
    """Share of the frames between two readings that left within so many seconds."""
    total = after[float("inf")] - before[float("inf")]
    return (after[seconds] - before[seconds]) / max(1.0, total)


def summary(run: Run, before: dict[float, float], after: dict[float, float]) -> dict[str, Any]:
    """What a table shows of a run: differences between its first and last sample."""
    first, last = run.samples[0], run.samples[-1]
    seconds = last["at"] - first["at"]
    late = [s["latency_ms_p99"] for s in run.samples if s["latency_ms_p99"] is not None]
    half = run.samples[len(run.samples) // 2 :]
    return {
        "seconds": round(seconds),
        "in_fps": round((last["frames_in"] - first["frames_in"]) / seconds, 1),
        "out_fps": round((last["frames_out"] - first["frames_out"]) / seconds, 1),
        "newer": last["dropped"]["newer"] - first["dropped"]["newer"],
        "late": last["dropped"]["late"] - first["dropped"]["late"],
        "corrupt": last["dropped"]["corrupt"] - first["dropped"]["corrupt"],
        "within_150_ms": round(share_within(before, after, 0.15), 4),
        "within_500_ms": round(share_within(before, after, 0.5), 4),
        "worst_p99_ms": max(late, default=None),
        "median_p99_ms": sorted(late)[len(late) // 2] if late else None,
        "reconnects": last["reconnects"] - first["reconnects"],
        "rss_mb": [round(run.samples[i]["rss_mb"]) for i in (0, -1)],
        "rss_growth_second_half_mb": round(half[-1]["rss_mb"] - half[0]["rss_mb"], 1),
        "most_descriptors_per_half": _most_per_half(run.samples, "descriptors"),
        "most_threads_per_half": _most_per_half(run.samples, "threads"),
        "network": last["network"],
    }


def _most_per_half(samples: list[Sample], key: str) -> list[int]:
    """The most in the first and in the second half: what grows is larger in the second."""
    half = max(1, len(samples) // 2)
    return [max(sample[key] for sample in part) for part in (samples[:half], samples[-half:])]


def measured(run: Run, seconds: float, **rules: Any) -> dict[str, Any]:
    """Wait until it runs, let it settle, watch it, sum it up."""
    run.wait_for_frames()
    time.sleep(5)
    before = run.buckets()
    run.watch(seconds, **rules)
    return summary(run, before, run.buckets())


def plot(name: str, samples: list[Sample], folder: Path) -> None:
    """Latency, frames and drops, memory and descriptors over time, as one SVG."""
    from matplotlib import pyplot

    at = [s["at"] / 60 for s in samples]
    steps = [after["at"] - before["at"] for before, after in pairwise(samples)]

    def rate(*keys: str) -> list[float]:
        values = [float(s["dropped"][keys[1]] if len(keys) > 1 else s[keys[0]]) for s in samples]
        return [(after - before) / step for (before, after), step in zip(pairwise(values), steps, strict=True)]

    figure, axes = pyplot.subplots(3, 1, figsize=(8, 7), sharex=True, layout="constrained")
    for key, label in (("latency_ms_p50", "median"), ("latency_ms_p99", "99th percentile")):
        axes[0].plot(at, [s[key] for s in samples], label=label)
    axes[0].set_ylabel("latency, ms")
    axes[0].set_ylim(bottom=0)
    axes[1].plot(at[1:], rate("frames_in"), label="in")
    axes[1].plot(at[1:], rate("frames_out"), label="out")
    for why in ("newer", "late", "corrupt"):
        axes[1].plot(at[1:], rate("dropped", why), label=f"dropped: {why}", linewidth=0.8)
    axes[1].set_ylabel("frames a second")
    axes[2].plot(at, [s["rss_mb"] for s in samples], label="memory, MiB")
    axes[2].plot(at, [s["descriptors"] for s in samples], label="descriptors")
    axes[2].plot(at, [s["threads"] for s in samples], label="threads")
    axes[2].set_yscale("log")
    axes[2].set_xlabel("minutes")
    for axis in axes:
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.suptitle(name)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg")
