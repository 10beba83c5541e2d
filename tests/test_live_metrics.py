"""What a run counts, as Prometheus reads it: by its own parser."""
from __future__ import annotations

import pytest
from live_fakes import FakeClock
from prometheus_client.parser import text_string_to_metric_families

from streamderain.live.address import Address
from streamderain.live.metrics import exposition
from streamderain.live.moments import SessionInfo
from streamderain.live.status import Status

CANARY = "canary-Pa55word"


def read(status, camera=""):
    """Values by (name, labels); fails where one stands there twice, as Prometheus does."""
    found = {}
    for family in text_string_to_metric_families(exposition(status, camera).decode()):
        for sample in family.samples:
            key = sample.name.removeprefix("streamderain_"), frozenset(sample.labels.items())
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def value(status, name, **labels):
    return read(status)[name, frozenset(labels.items())]


@pytest.fixture
def clock():
    return FakeClock()


def test_a_run_that_saw_much_is_told_exactly(clock):
    status = Status("cam", clock)
    status.failed_to_connect()
    status.opened(SessionInfo(1, 640, 480, None, "h264", "yuv420p"))
    for _ in range(7):
        status.came()
    for age in (0.01, 0.09, 0.09, 5.0):
        status.left(clock.now() - age)
    status.drop("newer")
    status.drop("newer")
    status.drop("late")
    status.stood_in()
    status.lost_camera()
    status.opened(SessionInfo(2, 640, 480, None, "h264", "yuv420p"))
    status.describe_network(profile="tiny", scale=2, device="cpu", backend="eager", precision="bf16", ms=20.0)
    expected = {
        "frames_in_total": 7, "frames_out_total": 4, "stand_ins_total": 1, "connections_total": 2,
        "connection_failures_total": 1, "losses_total": 1, "connected": 1, "healthy": 1, "latency_seconds_count": 4,
    }  # fmt: skip
    assert {name: value(status, name) for name in expected} == expected
    reasons = {why: value(status, "frames_dropped_total", reason=why) for why in ("newer", "late", "corrupt")}
    assert reasons == {"newer": 2, "late": 1, "corrupt": 0}
    assert value(status, "network_info", profile="tiny", scale="2", device="cpu", precision="bf16") == 1
    assert value(status, "latency_seconds_sum") == pytest.approx(5.19)
    buckets = [value(status, "latency_seconds_bucket", le=le) for le in ("0.02", "0.08", "0.1", "2.0", "+Inf")]
    assert buckets == [1, 1, 3, 3, 4]


def test_health_ends_when_only_stand_ins_come(clock):
    status = Status("cam", clock)
    assert value(status, "healthy") == 0
    status.left(clock.now())
    assert value(status, "healthy") == 1
    clock.advance(5.1)
    status.stood_in()
    assert value(status, "healthy") == 0 and value(status, "stand_ins_total") == 1


def test_a_run_that_saw_nothing_is_told_too(clock):
    found = read(Status("cam", clock))
    assert found["frames_out_total", frozenset()] == 0 and found["latency_seconds_count", frozenset()] == 0
    assert not any("None" in str(labels) for _, labels in found)


def test_every_sample_carries_the_camera(clock):
    status = Status("cam", clock)
    status.add_output("record garden.mkv")
    assert all(("camera", "garden") in labels for _, labels in read(status, "garden"))
    assert not any(name == "camera" for _, labels in read(status) for name, _ in labels)


def test_outputs_whose_masked_names_are_alike_stay_apart(clock):
    status = Status("cam", clock)
    for taken, password in ((3, CANARY), (4, "other")):
        account = status.add_output(f"push {Address(f'rtsp://me:{password}@recorder/live')}")
        account.taken, account.dropped, account.restarts, account.state = taken, 1, 2, "working"
    name = "push rtsp://***@recorder/live"
    assert value(status, "output_taken_total", output=name) == 3
    assert value(status, "output_taken_total", output=f"{name} (2)") == 4
    assert value(status, "output_working", output=name) == 1
    assert value(status, "output_dropped_total", output=name) == 1
    assert value(status, "output_restarts_total", output=name) == 2
    status.add_output(f"{name} (2)")
    assert value(status, "output_taken_total", output=f"{name} (2) (2)") == 0
    assert CANARY.encode() not in exposition(status)


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "ü☔", 'record "x\\n".mkv', ""])
def test_any_name_of_an_output_survives(clock, name):
    status = Status("cam", clock)
    status.add_output(name).taken = 1
    assert value(status, "output_taken_total", output=name) == 1


def test_names_that_are_no_utf8_are_told_too(clock):
    status = Status("cam", clock)
    status.add_output("record g\udce4rten.mkv").taken = 1
    status.describe_network(profile="n\udce4tz", scale=1, device="cpu", precision="bf16")
    assert value(status, "output_taken_total", output=r"record g\udce4rten.mkv") == 1
    assert value(status, "network_info", profile=r"n\udce4tz", scale="1", device="cpu", precision="bf16") == 1


def test_there_are_counters_and_no_rates(clock):
    names = {name for name, _ in read(Status("cam", clock), "garden")}
    assert not [name for name in names if "rate" in name or "fps" in name or "per_second" in name]
    families = text_string_to_metric_families(exposition(Status("cam", clock)).decode())
    assert all(family.documentation for family in families)
