"""A device whose memory is full: the cache is freed, then tiles, then the CPU; each told once, the rain the same."""
from __future__ import annotations

import pytest
import torch
from engine_fakes import single, stream
from numpy.testing import assert_allclose

from streamderain import engine, fallback
from streamderain.core.stream import reach_px
from streamderain.errors import DerainError
from streamderain.fallback import Careful

FULL = torch.OutOfMemoryError("CUDA out of memory")


class Small:
    """A device's memory: a network on it fails for frames of more pixels than have room.

    Attributes:
        room: pixels.
        seen: sizes of what was tried.
        spared: attempts that fail before that.
    """

    def __init__(self, model, room, spared=0):
        self.network = engine.entrance(model)
        self.room, self.spared, self.seen = room, spared, []
        self.place = 4 if model.family == "stream" else 1

    def __call__(self, seen, **said):
        self.seen.append(tuple(seen.shape[1:]))
        if self.spared or seen.shape[1] * seen.shape[2] * self.place > self.room:
            self.spared = max(self.spared - 1, 0)
            raise FULL
        return self.network(seen[None], **said)[0]


def careful(model, memory):
    """What is under test, with its announcements."""
    told = []
    features = engine._frame_by(getattr(model, "before_context", model), "cpu", torch.float32)
    made = Careful(memory, memory, features, model, "cpu", on_cpu=engine._on_cpu, tell=told.append)
    return made, told


def expected_of(model, seen):
    with torch.inference_mode():
        return model(seen[None])[0] if model.family != "stream" else model.from_blocks(seen[None])[0]


@pytest.fixture(params=[False, True], ids=["", "context"])
def model(request):
    return stream(blocks=(0, 0, 0, 0, 0), context=request.param)


def frame(height=320, width=640):
    return torch.rand(48, height // 2, width // 2)


def close(found, expected):
    assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)  # sums in another order


@torch.inference_mode()
def test_with_room_nothing_is_told(model):
    memory = Small(model, 320 * 640)
    made, told = careful(model, memory)
    seen = frame()
    assert torch.equal(made(seen), expected_of(model, seen))
    assert told == [] and len(memory.seen) == 1


@torch.inference_mode()
def test_memory_that_others_had_is_asked_for_again(model):
    memory = Small(model, 320 * 640, spared=1)
    made, told = careful(model, memory)
    seen = frame()
    close(made(seen), expected_of(model, seen))
    memory.spared = 1
    made(seen)
    assert told == ["the memory of cpu was full; freed what torch had kept of it and tried again"]
    assert memory.seen == [(160, 320)] * 4  # the second frame was tried as a whole again


@torch.inference_mode()
def test_a_frame_that_does_not_fit_runs_in_the_largest_tiles_that_do(model):
    memory = Small(model, 256 * 256)
    made, told = careful(model, memory)
    seen = frame()
    close(made(seen), expected_of(model, seen))
    assert told == ["the memory of cpu is full; the network runs in tiles of 256 pixels, eagerly"]
    assert memory.seen[:3] == [(160, 320), (160, 320), (160, 256)]  # whole, again, in tiles of 512, then of 256
    assert set(memory.seen[3:]) == {(128, 128)}
    tried = len(memory.seen)
    close(made(seen), expected_of(model, seen))
    assert set(memory.seen[tried:]) == {(128, 128)}  # it goes on as it is
    assert len(told) == 1


@torch.inference_mode()
def test_where_no_tile_fits_the_processor_does_it(model):
    memory = Small(model, 255 * 255)
    made, told = careful(model, memory)
    seen = frame()
    close(made(seen), expected_of(model, seen))
    tried = len(memory.seen)
    close(made(seen), expected_of(model, seen))
    assert told == ["the memory of cpu is full; the network runs on the CPU"]
    assert len(memory.seen) == tried  # the device is not asked again


@torch.inference_mode()
def test_tiles_that_no_longer_fit_become_smaller(model):
    memory = Small(model, 512 * 320)
    made, told = careful(model, memory)
    seen = frame()
    made(seen)
    memory.room = 256 * 256
    close(made(seen), expected_of(model, seen))
    assert [line.rpartition("tiles of ")[2] for line in told] == ["512 pixels, eagerly", "256 pixels, eagerly"]


@torch.inference_mode()
def test_a_network_that_looks_further_than_a_tile_goes_to_the_processor(monkeypatch, model):
    monkeypatch.setattr(fallback, "TILES_PX", (2 * reach_px(model.config),))
    made, told = careful(model, Small(model, 1))
    made(frame())
    assert told == ["the memory of cpu is full; the network runs on the CPU"]


@torch.inference_mode()
def test_a_network_that_normalises_is_never_cut():
    network = single()
    memory = Small(network, 1)
    made, told = careful(network, memory)
    seen = torch.rand(3, 40, 60)
    close(made(seen), expected_of(network, seen))
    assert told == ["the memory of cpu is full; the network runs on the CPU"]
    assert memory.seen == [(40, 60)] * 2


@torch.inference_mode()
def test_halves_are_run_in_single_precision_on_the_processor(model):
    halves = model.half()
    made, _ = careful(halves, Small(halves, 1))
    seen = frame(64, 64)
    found = made(seen)
    assert found.dtype == torch.float32
    assert next(halves.parameters()).dtype == torch.float32  # moved: a full device has no room for a copy
    close(found, expected_of(model.float(), seen))


@torch.inference_mode()
def test_no_room_for_the_frame_itself_is_the_users_trouble(model):
    class Full:
        def to(self, device):
            raise FULL

    made = Careful(
        Small(model, 1), Small(model, 1), Small(model, 1), model, "cpu",
        on_cpu=lambda _: lambda seen: Full(), tell=lambda _: None,
    )  # fmt: skip
    with pytest.raises(DerainError, match=r"no room for a single frame; .* --device cpu"):
        made(frame(64, 64))


@torch.inference_mode()
def test_other_errors_are_bugs(model):
    def broken(seen):
        raise RuntimeError("a bug")

    made, told = careful(model, broken)
    with pytest.raises(RuntimeError, match="a bug"):
        made(frame(64, 64))
    assert told == []


def test_the_engine_is_careful(monkeypatch):
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: False)
    told, network = [], stream()
    made = engine.Engine(network, "cpu", tell=told.append)
    plain, calls = network.from_blocks, []

    def failing(batch):
        calls.append(batch.shape)
        if len(calls) <= 2:
            raise FULL
        return plain(batch)

    seen = frame(64, 1104)
    expected = made.run(seen, 60, 1100)
    monkeypatch.setattr(network, "from_blocks", failing)
    again = engine.Engine(network, "cpu", tell=told.append)
    assert_allclose(again.run(seen, 60, 1100), expected, atol=1e-5)
    assert told == ["the memory of cpu is full; the network runs in tiles of 1024 pixels, eagerly"]
