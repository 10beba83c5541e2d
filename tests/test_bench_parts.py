"""What `streamderain bench` measures with: turns, counted work, ceilings, memory, energy, a network's stand-in."""
import copy
import ctypes
import mmap
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from streamderain import scene, trial
from streamderain.bench import energy, floor, gpu_search, memory, network, path, timing
from streamderain.bench.published import published
from streamderain.bench.rainless import NoRain
from streamderain.core import cuda_search, device_memory, matching
from streamderain.core.checkpoint import save_generator
from streamderain.core.colour import PixelFormat
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import PROFILES, StreamGenerator, mac_per_pixel
from streamderain.derainer import Derainer
from streamderain.engine import Engine
from streamderain.frame import Frame


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """One round of each, and ceilings of almost nothing: here it only matters that they are measured."""
    for module, name, value in (
        (network, "ROUNDS", 1), (timing, "TURN_SECONDS", 0.0), (floor, "_TRIES", 1), (floor, "_SECONDS", 0.0),
        (floor, "_CPU_SIDE", 64), (floor, "_CPU_COPY_BYTES", 4096),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def drawn(width=64, height=48, count=3):
    return [rainy for rainy, _ in scene.draw(width, height, count)]


def as_frames(pictures):
    return [Frame(tuple(rgb), PixelFormat(family="rgb", full_range=True)) for rgb in pictures]


def test_times_are_summed_up():
    times = timing.Times((5.0, 1.0, 3.0, 2.0))
    assert (times.median, times.best) == (2.5, 1.0)
    assert [times.percentile(percent) for percent in (1, 25, 26, 50, 99, 100)] == [1, 1, 2, 2, 5, 5]
    assert times.as_dict() == {"ms": 2.5, "best_ms": 1.0, "calls": 4}


def test_contenders_take_turns_after_a_call_that_does_not_count():
    calls = []
    contenders = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    found = timing.in_turns(contenders, device="cpu", rounds=3, seconds=60)
    assert "".join(calls) == "ab" + "ab" * 3
    assert {name: len(times.ms) for name, times in found.items()} == {"a": 3, "b": 3}


def test_a_fast_contender_is_called_again_within_its_turn(monkeypatch):
    monkeypatch.setattr(timing, "TURN_SECONDS", 60.0)
    found = timing.in_turns({"a": lambda: None, "b": lambda: None}, device="cpu", rounds=2, seconds=60)
    assert [len(times.ms) for times in found.values()] == [2 * timing.TURN_CALLS] * 2


def test_the_first_round_is_complete_when_the_time_is_up():
    found = timing.in_turns({"a": lambda: None, "b": lambda: None}, device="cpu", rounds=9, seconds=0)
    assert [len(times.ms) for times in found.values()] == [1, 1]


def test_work_of_a_convolution_by_hand():
    generator = SingleFrameDerainer(ResidualGenerator(4, 0), low=-1, output="rain").eval()
    layers = floor.count_layers(generator, 6, 10, value_bytes=2)
    pixels = 6 * 10
    expected = [(3, 4), (4, 4), (4, 4), (4, 3)]
    assert [layer.macs for layer in layers] == [9 * a * b * pixels for a, b in expected]
    assert [layer.bytes for layer in layers] == [2 * (a * pixels + b * pixels + 9 * a * b + b) for a, b in expected]


@pytest.mark.parametrize("profile", PROFILES)
def test_counted_work_is_that_of_the_network(profile):
    generator = StreamGenerator.from_profile(profile).eval()
    layers = floor.count_layers(generator, 1080, 1920, value_bytes=2)
    assert sum(layer.macs for layer in layers) == mac_per_pixel(generator) * 1920 * 1080  # 1080 is a multiple of 8
    assert next(generator.parameters()).device.type == "cpu"  # only a copy went to the meta device
    assert floor.count_layers(generator, 1079, 1913, value_bytes=2) == layers  # padded


def test_transposed_convolution_is_counted_by_its_input():
    class Up(nn.Module):
        in_channels = 3

        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 5, 2, stride=2, bias=False)

        def forward(self, x):
            return self.up(x)

    (layer,) = floor.count_layers(Up(), 4, 6, value_bytes=4)
    assert layer == floor.Layer("up", 3 * 5 * 4 * 24, 4 * (3 * 24 + 5 * 96 + 3 * 5 * 4))


def test_floor_takes_the_slower_of_both_in_each_layer():
    ceilings = floor.Ceilings(bytes_per_s=1e9, macs_per_s=1e12)
    layers = [floor.Layer("computes", 5 * 10**9, 10**6), floor.Layer("moves", 10**9, 3 * 10**6)]
    assert floor.floor_ms(layers, ceilings) == pytest.approx(5 + 3)
    found = floor.figures(layers, ceilings, ms=16.0, best_ms=12.0)
    assert (found["times_floor"], found["best_times_floor"]) == (pytest.approx(2), pytest.approx(1.5))
    assert (found["macs"], found["bytes"], found["copy_gb_per_s"]) == (6 * 10**9, 4 * 10**6, 1)


def test_ceilings_are_bytes_both_ways_and_cubes_over_the_best_time(monkeypatch):
    monkeypatch.setattr(floor, "_best_seconds", lambda work, device: 0.5)
    found = floor.measure_ceilings("cpu", "bf16")
    assert found == floor.Ceilings(bytes_per_s=2 * 4096 / 0.5, macs_per_s=64**3 / 0.5)
    assert floor.higher(found, floor.Ceilings(1.0, 1e12)) == floor.Ceilings(2 * 4096 / 0.5, 1e12)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_ceilings_of_this_machine(precision):
    found = floor.measure_ceilings("cpu", precision)
    assert found.bytes_per_s > 0 and found.macs_per_s > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_published_network_is_taken_as_an_engine_takes_it(precision):
    generator = published()
    assert sum(each.numel() for each in generator.parameters()) == 316_195
    engine = Engine(generator, "cpu", backend="eager", precision=precision)
    assert (engine.precision, engine.companions) == (precision, False)
    assert engine.rain(torch.rand(3, 16, 24)).shape == (3, 16, 24)


def test_rounding_of_the_published_network_is_not_taken_for_a_fault_of_an_engine():
    torch.manual_seed(0)
    exact = published()
    rounded = copy.deepcopy(exact).to(torch.bfloat16)
    frame = trial.drawn_frame(exact)[None]
    with torch.inference_mode():
        assert trial.difference(lambda seen: rounded(seen.to(torch.bfloat16)), exact, frame) is None
        assert exact(frame).std() > 1e-3


def stream_file(folder, profile="tiny"):
    weights = folder / f"{profile}.safetensors"
    save_generator(weights, StreamGenerator.from_profile(profile), profile=profile, card={})
    return weights


def test_networks_are_compared_in_one_go(tmp_path):
    networks = network.Networks(as_frames(drawn()), "cpu")
    assert networks.add(stream_file(tmp_path), "eager")
    assert not networks.add(stream_file(tmp_path), "eager")
    assert networks.add(stream_file(tmp_path, "realtime"), "eager")
    tiny, realtime = networks.measure()
    assert (tiny["network"]["profile"], realtime["network"]["profile"]) == ("tiny", "realtime")
    assert tiny["network"]["ms"] == tiny["network"]["ms_eager"]
    for found in (tiny, realtime):
        published, same = found["published_nlcl"], found["published_nlcl"]["same"]
        assert (published["backend"], published["precision"], published["parameters"]) == ("eager", "fp32", 316_195)
        assert (same["backend"], same["precision"]) == ("eager", found["network"]["precision"])
        assert published["slower"] == pytest.approx(published["ms"] / found["network"]["ms"])
        assert published["slower_fp32"] == pytest.approx(published["ms"] / found["network"]["ms_fp32"])
        assert same["slower"] == pytest.approx(same["ms"] / found["network"]["ms"])
        assert found["floor"]["times_floor"] == pytest.approx(found["network"]["ms"] / found["floor"]["ms"])
    assert tiny["published_nlcl"]["ms"] == realtime["published_nlcl"]["ms"]  # one and the same measurement
    assert tiny["floor"]["macs"] == mac_per_pixel(StreamGenerator.from_profile("tiny")) * 64 * 48


def test_precision_that_is_asked_for_is_that_of_both_networks(tmp_path):
    networks = network.Networks(as_frames(drawn()), "cpu")
    assert networks.add(stream_file(tmp_path), "eager", "fp32")
    (found,) = networks.measure()
    assert (found["network"]["precision"], found["published_nlcl"]["same"]["precision"]) == ("fp32", "fp32")
    assert found["network"]["ms"] == found["network"]["ms_fp32"] == found["network"]["ms_eager"]


def test_published_network_stays_in_floats(monkeypatch):
    monkeypatch.setattr(network, "cpu_has_bf16", lambda: True)
    assert [network._in_floats(each) for each in ("int8", "fp16", "fp32")] == ["bf16", "fp16", "fp32"]
    monkeypatch.setattr(network, "cpu_has_bf16", lambda: False)
    assert network._in_floats("int8") == "fp32"


def test_a_published_network_is_measured_without_companions(tmp_path, monkeypatch):
    def called(*_, **__):
        raise AssertionError("no companions are needed")

    weights, generator = tmp_path / "nlcl.safetensors", ResidualGenerator(4, 1)
    save_generator(weights, SingleFrameDerainer(generator, low=-1, output="rain"), profile="nlcl", card={})
    monkeypatch.setattr(matching, "search", called)
    networks = network.Networks(as_frames(drawn(46, 34, 2)), "cpu")
    networks.add(weights, "eager")
    (found,) = networks.measure()
    assert (found["network"]["profile"], found["network"]["precision"]) == ("nlcl", "fp32")
    assert found["network"]["mac_per_pixel"] == 9 * (3 * 4 + 4 * 4 * 4 + 4 * 3)
    assert found["published_nlcl"]["same"]["precision"] == "fp32"


@pytest.mark.parametrize("size", [(34, 50), (48, 64)])
def test_no_rain_has_the_shape_of_a_networks_rain(size):
    engine = Engine(StreamGenerator.from_profile("tiny").eval(), "cpu", backend="eager")
    seen = torch.rand(48, -(-size[0] // 8) * 4, -(-size[1] // 8) * 4)
    none = NoRain(engine)
    assert none.rain(seen).shape == engine.rain(seen).shape and none.rain(seen).dtype == torch.float32
    assert not none.rain(seen).any() and none.rain(seen) is none.rain(seen)
    assert none.run(seen, *size).shape == engine.run(seen, *size).shape
    assert (none.precision, none.input_dtype, none.device) == (engine.precision, engine.input_dtype, engine.device)


def test_no_rain_of_a_network_that_sees_a_frame_alone():
    generator = SingleFrameDerainer(ResidualGenerator(4, 1), low=-1, output="rain").eval()
    engine = Engine(generator, "cpu", backend="eager")
    assert NoRain(engine).run(torch.rand(3, 34, 50), 34, 50).shape == (3, 34, 50)


class Slow:
    """A derainer that only keeps account, and time by a clock of its own."""

    def __init__(self, clock):
        self.device, self.stage_ms, self.calls, self.clock = "cpu", {"network": 5.0}, [], clock

    def reset(self):
        self.calls.append("reset")

    def __call__(self, frame, following):
        self.calls.append((frame, following))
        self.stage_ms["network"] += 7.0
        self.clock[0] += 2.0
        return SimpleNamespace(on_device=False)


@pytest.mark.parametrize("asked, timed", [(2, 2), (8, 8), (100, 11)])
def test_path_goes_there_and_back_and_ends_in_time(monkeypatch, asked, timed):
    clock = [0.0]
    monkeypatch.setattr(path, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    derainer = Slow(clock)
    found = path.measure_path(derainer, "abc", count=asked, seconds=20.0)
    assert found["frames"] == timed
    assert found["fps"] == pytest.approx(0.5)
    assert found["ms_per_stage"] == {"network": pytest.approx(7.0)}  # of the frames that count alone
    assert derainer.calls[0] == "reset"
    assert "".join(frame for frame, _ in derainer.calls[1:]) == ("abcb" * 30)[: timed + path.WARM_UP_FRAMES]
    assert all(a[1] == b[0] for a, b in zip(derainer.calls[1:], derainer.calls[2:], strict=False))


def test_path_of_a_real_derainer(tmp_path):
    derainer = Derainer(model=stream_file(tmp_path), device="cpu")
    found = path.measure_path(derainer, as_frames(drawn()), count=3)
    assert found["frames"] == 3 and 0 < found["p50_ms"] <= found["p99_ms"]
    assert set(found["ms_per_stage"]) >= {"view", "search", "companions", "network", "subtract"}
    assert found["memory"]["device_mb"] is None


def test_gpu_search_carries_its_field(monkeypatch):
    seen = []

    def search(query, reference, settings, *, previous=None, seed=0):
        seen.append((query, reference, previous, settings.k))
        return f"{query}{reference}"

    monkeypatch.setattr(gpu_search, "ROUNDS", 1)
    monkeypatch.setattr(device_memory, "usable", lambda: True)
    monkeypatch.setattr(device_memory, "shared", lambda tensor: tensor)
    numbers = count()
    monkeypatch.setattr(cuda_search, "make_guide", lambda luma: next(numbers))
    monkeypatch.setattr(cuda_search, "search", search)
    found = gpu_search.measure_gpu_search([np.zeros((3, 8, 8), np.uint8)] * 4, "cpu")
    assert seen[:3] == [(1, 0, None, 8), (2, 1, "10", 8), (3, 2, "21", 8)]
    assert set(found) == {"ms", "best_ms", "exact_ms", "guide_ms"}


def test_gpu_search_without_a_compiler_is_not_measured(monkeypatch):
    monkeypatch.setattr(device_memory, "usable", lambda: False)
    assert gpu_search.measure_gpu_search([np.zeros((3, 8, 8), np.uint8)] * 3, "cpu") is None


def test_peak_of_the_memory_that_a_block_takes():
    with memory.peak_memory("cpu") as before:
        pass
    with memory.peak_memory("cpu") as found:
        # from the system itself: the allocator may have that much left from earlier tests
        np.frombuffer(mmap.mmap(-1, 40_000_000), np.uint8)[:] = 1
    assert found["device_mb"] is None
    assert found["host_mb"] >= before["host_mb"] + 20


def test_peak_where_it_cannot_begin_anew(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource", reason="Windows keeps no such count")
    monkeypatch.setattr(memory, "SELF", tmp_path / "none")
    with memory.peak_memory("cpu") as found:
        pass
    assert found["host_mb"] >= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2e6


def zone(folder, name, label, microjoules, most=1_000_000):
    (folder / name).mkdir()
    for file, value in (("name", label), ("energy_uj", microjoules), ("max_energy_range_uj", most)):
        (folder / name / file).write_text(f"{value}\n")
    return folder / name / "energy_uj"


def test_energy_of_each_package_and_of_nothing_within_it(tmp_path):
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 100_000), zone(tmp_path, "intel-rapl:1", "package-1", 0)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)
    zone(tmp_path, "intel-rapl:2", "psys", 5)
    with energy.energy_used(energy.processor_counters(tmp_path)) as joules:
        first.write_text("350000\n")
        second.write_text("20000\n")
    assert joules == {"package-0": pytest.approx(0.25), "package-1": pytest.approx(0.02)}


def test_energy_counter_that_turns_over(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000, most=1_000_000)
    with energy.energy_used(energy.processor_counters(tmp_path)) as joules:
        counter.write_text("100000\n")
    assert joules == {"package-0": pytest.approx(0.2)}


def test_energy_that_may_not_be_read_is_not_guessed(tmp_path):
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0\n")
    assert energy.processor_counters(tmp_path) == []
    assert energy.processor_counters(tmp_path / "none") == []
    with energy.energy_used([]) as joules:
        pass
    assert joules == {}


class Nvml:
    """NVML's three calls; millijoules rise by 500 at each look."""

    def __init__(self, known=b"GPU-one", fails=0):
        self.known, self.fails, self.millijoules = known, fails, 0

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):
        return 0 if uuid == self.known else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, place):
        self.millijoules += 500
        ctypes.cast(place, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.millijoules
        return self.fails


@pytest.mark.parametrize("nvml, counted", [(Nvml(), True), (Nvml(b"GPU-two"), False), (Nvml(fails=3), False),
                                           (None, False)])  # fmt: skip
def test_energy_of_the_gpu_is_nvmls(monkeypatch, nvml, counted):
    monkeypatch.setattr(energy, "_nvml", lambda: nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="one"))
    counters = energy.gpu_counters("cuda")
    with energy.energy_used(counters) as joules:
        pass
    assert joules == ({"gpu cuda": pytest.approx(0.5)} if counted else {})
