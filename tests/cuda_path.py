"""Whole frames through a device's stages against the host's; test_cuda.py runs this as it does cuda_kernels.py."""
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from cuda_kernels import DEVICE, planes_of
from numpy.testing import assert_array_equal

from streamderain import Derainer, Frame, cuda_stages, stages
from streamderain.core import exposure
from streamderain.core.checkpoint import save_generator
from streamderain.core.colour import PixelFormat
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import StreamConfig, StreamGenerator
from streamderain.cuda_stages import CudaStages
from streamderain.engine import entrance
from streamderain.frame import on_host
from streamderain.transfers import Transfers

YUV = PixelFormat("yuv", 8, (1, 1))
torch.set_num_threads(1)


class Engine:
    """The network in float32 on inputs in float16, so that both ways see the same."""

    form = None

    def __init__(self, model, device):
        self.device, self.companions, self.input_dtype = str(device), isinstance(model, StreamGenerator), torch.float32
        self.recurrent = self.companions and model.config.recurrent
        self._estimate = entrance(model.to(device).eval())

    @torch.inference_mode()
    def rain(self, seen):
        half = seen.half() if self.companions else seen
        return self._estimate(half.float()[None].to(self.device))[0]

    def run(self, seen, height, width):
        return self.rain(seen)[:, :height, :width].cpu().contiguous().numpy()


@pytest.fixture(autouse=True)
def narrow_window(monkeypatch):
    monkeypatch.setattr(stages, "SEARCH", replace(stages.SEARCH, radius=2))


def network(recurrent=False):
    torch.manual_seed(1)
    model = StreamGenerator(StreamConfig(widths=(6, 6, 6), blocks=(0, 0, 0, 0, 0), recurrent=recurrent))
    torch.nn.init.normal_(model.tail.weight, std=0.1)
    return model


def alone():
    torch.manual_seed(2)
    return SingleFrameDerainer(ResidualGenerator(4, 1, norm="none"), low=-1, output="background")


def derain(tmp_path, model, frames, *, on_device, ahead=True, **options):
    """Frames through a Derainer whose stages are the device's or the host's."""
    path = tmp_path / "model.safetensors"
    save_generator(path, model, profile="tiny", card={})
    used = Derainer(model=path, device="cpu", **options)
    used._engine = Engine(model, DEVICE if on_device else "cpu")
    used._stages = (CudaStages if on_device else stages.HostStages)(used._engine)
    following = [*frames[1:], None] if ahead else [None] * len(frames)
    return [used(frame, after) for frame, after in zip(frames, following, strict=True)]


def scene(count, pixel_format=YUV, size=(9, 14), **options):
    """Frames of a camera that moves over one texture of noise."""
    height, width = size
    wide = planes_of(pixel_format, 3, (height + 8, width + 8))
    made = []
    for t in range(count):
        own = [2 * t >> shift for shift in (0, *pixel_format.subsampling[1:] * 2)]
        shapes = [plane.shape for plane in planes_of(pixel_format, 0, size)]
        cut = [plane[y : y + h, :w] for plane, y, (h, w) in zip(wide, own, shapes, strict=False)]
        made.append(Frame(tuple(np.ascontiguousarray(plane) for plane in cut), pixel_format, pts=t, **options))
    return made


def assert_same(tmp_path, model, frames, **options):
    """The device gives what the host gives, to the bit; and the rain was not nothing."""
    expected = derain(tmp_path, model(), frames, on_device=False, **options)
    found = derain(tmp_path, model(), frames, on_device=True, **options)
    level = 0 if DEVICE.type == "cpu" else 1  # a GPU adds up a convolution in another order
    for before, one, other in zip(frames, expected, found, strict=True):
        assert (one.planes[0] != before.planes[0]).any()
        assert replace(other, planes=one.planes) == one
        for plane, twin in zip(other.planes, one.planes, strict=True):
            assert plane.dtype == twin.dtype and isinstance(plane, np.ndarray)
            assert np.abs(plane.astype(int) - twin.astype(int)).max() <= level


def test_two_frames(tmp_path):
    assert_same(tmp_path, network, scene(2))


def test_the_frame_before_is_shown_derained(tmp_path):
    frames = scene(3, size=(24, 40))  # large enough to be known again
    assert_same(tmp_path, partial(network, recurrent=True), frames)
    once, again = (derain(tmp_path, network(recurrent), frames, on_device=True) for recurrent in (False, True))
    assert_array_equal(once[0].planes[0], again[0].planes[0])
    assert (once[2].planes[0] != again[2].planes[0]).any()


def test_a_neighbour_is_seen_in_the_light_of_the_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(exposure, "LEAST", 0)  # so small a picture would not be trusted
    (frame,) = scene(1, size=(24, 40))
    lit = [np.clip(np.rint(frame.planes[0] * gain), 0, 255).astype(np.uint8) for gain in (1, 1.1, 0.95)]
    frames = [frame.with_planes((luma, *frame.planes[1:])) for luma in lit]
    assert_same(tmp_path, partial(network, recurrent=True), frames)
    host = stages.HostStages(None)
    views = [host.view(frame, 1) for frame in frames[:2]]
    assert host.search(views[1], views[0], None, 0).tones is not None


@pytest.mark.slow
def test_the_engine_itself(tmp_path):
    """It sees float16 on the device and float32 on the host, which may tip a rounding."""
    path, frames = tmp_path / "model.safetensors", scene(2)
    save_generator(path, network(), profile="tiny", card={})
    expected, found = (
        Derainer(model=path, device=kind, backend="eager", precision="fp32") for kind in ("cpu", DEVICE.type)
    )
    found._stages = CudaStages(found._engine)
    for frame, after in ((frames[0], frames[1]), (frames[1], None)):
        for plane, twin in zip(found(frame, after).planes, expected(frame, after).planes, strict=True):
            assert np.abs(plane.astype(int) - twin.astype(int)).max() <= 1


class DoneAlready:
    """An event of the simulator."""

    def wait(self): ...

    def synchronize(self): ...


class Watched(Transfers):
    """Says of each event whether the current stream has met it, and which memory was lent to that stream."""

    def __init__(self, device):
        super().__init__(device)
        self.inside, self.unmet, self.lent = False, set(), set()

    @contextmanager
    def beside(self):
        self.inside = True
        with super().beside():
            yield
        self.inside = False

    def mark(self):
        event = super().mark() if DEVICE.type == "cuda" else DoneAlready()
        if self.inside:
            self.unmet.add(event)
        return event

    def meet(self, event):
        super().meet(event)
        self.unmet.discard(event)

    def lend(self, *tensors):
        assert not self.inside
        super().lend(*tensors)
        self.lent |= {tensor.data_ptr() for tensor in tensors}


@pytest.mark.slow
def test_what_is_made_beside_the_stream_is_met_and_lent_to_it():
    used = CudaStages(Engine(network(), DEVICE))
    used._transfers = watched = Watched(DEVICE)
    views = [used.view(frame, 1) for frame in scene(2)]
    assert len(watched.unmet) == 2
    made = [tensor for view in views for tensor in (view.rgb, view.guide.words, view.guide.coarse)]
    made += [plane for _, planes in used._uploads for plane in planes]
    assert {shared.tensor.data_ptr() for shared in made} <= watched.lent and len(made) == 12
    used.search(views[0], views[1], None, 0)
    assert not watched.unmet


@pytest.mark.slow
def test_planes_on_the_device_are_fetched_where_they_were_made(monkeypatch):
    used, fetched = CudaStages(Engine(network(), DEVICE)), []
    used._transfers = watched = Watched(DEVICE)

    def fetch(frame):
        assert not watched.inside
        fetched.append(frame)
        return on_host(frame)

    monkeypatch.setattr(cuda_stages, "on_host", fetch)
    (frame,) = scene(1)
    there = frame.with_planes(tuple(torch.from_numpy(plane).to(DEVICE) for plane in frame.planes))
    assert used.view(there, 2).size == (5, 7) and used.view(there, 1).ready is None
    assert fetched == [there]


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [True, False])
def test_a_moving_scene_and_a_cut(tmp_path, ahead):
    strangers = [Frame(planes_of(YUV, seed, (9, 14)), YUV) for seed in (20, 21)]
    assert_same(tmp_path, network, [*scene(3), *strangers], ahead=ahead)


@pytest.mark.slow
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_scene(tmp_path, rotation):
    pixel_format = PixelFormat("yuv", 10, (1, 0), "bt2020", transfer="pq")
    assert_same(tmp_path, network, scene(2, pixel_format, rotation=rotation))


def test_a_network_that_looks_at_a_frame_alone(tmp_path):
    assert_same(tmp_path, alone, scene(2, PixelFormat("grey", 10)))


@pytest.mark.slow
@pytest.mark.parametrize("rotation", [0, 90])
def test_a_smaller_look(tmp_path, rotation):
    assert_same(tmp_path, network, scene(2, size=(18, 27), rotation=rotation), scale=2)


def test_planes_on_the_device_stay_there(tmp_path):
    frames = scene(1)
    (expected,) = derain(tmp_path, network(), frames, on_device=False)
    luma, blue, red = frames[0].planes
    both = torch.from_numpy(np.stack((blue, red), axis=-1)).to(DEVICE)
    planes = (torch.from_numpy(luma).to(DEVICE), both[..., 0], both[..., 1])
    (found,) = derain(tmp_path, network(), [frames[0].with_planes(planes)], on_device=True)
    for plane, twin in zip(found.planes, expected.planes, strict=True):
        assert isinstance(plane, torch.Tensor) and plane.device.type == DEVICE.type
        assert np.abs(plane.cpu().numpy().astype(int) - twin).max() <= (DEVICE.type == "cuda")
    assert_array_equal(both.cpu().numpy(), np.stack((blue, red), axis=-1))


@pytest.mark.slow
def test_a_smaller_look_at_planes_on_the_device(tmp_path):
    frames = scene(1, size=(18, 28))
    (expected,) = derain(tmp_path, network(), frames, on_device=False, scale=2)
    planes = tuple(torch.from_numpy(plane).to(DEVICE) for plane in frames[0].planes)
    (found,) = derain(tmp_path, network(), [frames[0].with_planes(planes)], on_device=True, scale=2)
    for plane, twin in zip(found.planes, expected.planes, strict=True):
        assert isinstance(plane, torch.Tensor)
        assert np.abs(plane.cpu().numpy().astype(int) - twin).max() <= (DEVICE.type == "cuda")
