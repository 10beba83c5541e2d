"""A live run for Prometheus: counters that only rise; what to alarm on is frames out standing still."""
from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from streamderain.live.status import Histogram, OutputStatus, Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(status: Status, camera: str = "") -> bytes:
    """Everything a run counts, in Prometheus's text format.

    Args:
        status: of the run.
        camera: label on every sample, none where it is empty.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(status, {"camera": camera} if camera else {}))
    return generate_latest(registry)


class _Collector:
    """Reads the counters when it is asked, so that counting itself costs nothing."""

    def __init__(self, status: Status, labels: dict[str, str]) -> None:
        self._status, self._labels = status, labels

    def collect(self) -> Iterator[Metric]:
        """All families of samples."""
        status = self._status
        for name, text, value in (
            ("frames_in", "Frames that came from the camera.", status.frames_in),
            ("frames_out", "Camera frames that went to the outputs; alarm when this stands still.", status.frames_out),
            ("stand_ins", "Marked pictures shown while there was no camera.", status.stand_ins),
            ("connections", "Connections to the camera that brought a frame.", status.connections),
            ("connection_failures", "Attempts to connect that failed.", status.failed_connections),
            ("losses", "Connections that were lost.", status.losses),
        ):
            yield self._family(CounterMetricFamily, name, text, [({}, value)])
        dropped = [({"reason": reason}, count) for reason, count in status.lost.items()]
        yield self._family(CounterMetricFamily, "frames_dropped", "Frames that were not shown, and why.", dropped)
        for name, text, value in (
            ("connected", "1 while a connection to the camera stands.", status.connected),
            ("healthy", "1 while a camera frame left in the last 5 seconds.", status.healthy),
        ):
            yield self._family(GaugeMetricFamily, name, text, [({}, float(value))])
        facts = {key: str(status.network.get(key, "")) for key in ("profile", "scale", "device", "precision")}
        yield self._family(GaugeMetricFamily, "network_info", "What derains now.", [(facts, 1.0)])
        yield self._latency(status.latency)
        yield from self._outputs(list(status.outputs))

    def _outputs(self, outputs: list[OutputStatus]) -> Iterator[Metric]:
        names = _distinct([each.name for each in outputs])
        for name, text, field in (
            ("output_taken", "Pictures that an output has written.", "taken"),
            ("output_dropped", "Pictures that an output was too slow for.", "dropped"),
            ("output_restarts", "Times an output began anew after a failure.", "restarts"),
        ):
            samples = [({"output": n}, getattr(each, field)) for n, each in zip(names, outputs, strict=True)]
            yield self._family(CounterMetricFamily, name, text, samples)
        working = [({"output": n}, float(each.state == "working")) for n, each in zip(names, outputs, strict=True)]
        yield self._family(GaugeMetricFamily, "output_working", "1 while an output works.", working)

    def _family(self, kind: type, name: str, text: str, samples: Sequence[tuple[dict[str, str], float]]) -> Metric:
        names = [*self._labels, *(samples[0][0] if samples else {})]
        family = kind(f"streamderain_{name}", text, labels=names)
        for labels, value in samples:
            family.add_metric([*self._labels.values(), *map(_readable, labels.values())], value)
        return family

    def _latency(self, histogram: Histogram) -> Metric:
        family = HistogramMetricFamily(
            "streamderain_latency_seconds", "From capture to the outputs.", labels=list(self._labels)
        )
        buckets, below = [], 0
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            below += count
            buckets.append((bound, below))
        family.add_metric(list(self._labels.values()), buckets, histogram.total)
        return family


def _readable(value: str) -> str:
    """A label as UTF-8 can hold it: a file's name may be any bytes, and those that are no text are shown as such."""
    return value.encode(errors="backslashreplace").decode()


def _distinct(names: list[str]) -> list[str]:
    """The names, numbered where several are alike: masked addresses may be, and Prometheus refuses such twins."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name} ({number})" if number > 1 else name for number in itertools.count(1))
        found.append(next(each for each in numbered if each not in found))
    return found
