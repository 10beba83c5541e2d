"""The stages of a frame behind their protocol: the host's, and which ones a device gets."""
import inspect
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from streamderain import Frame, cuda_stages, stages
from streamderain.core import colour, device_memory, matching
from streamderain.core.colour import PixelFormat
from streamderain.core.companions import Companion, network_blocks
from streamderain.stages import HostStages, Stages, stages_for

GREY = PixelFormat("grey", 8, full_range=True)


class Engine:
    """An engine whose rain and doubt are a tenth."""

    device, companions, input_dtype, form = "cpu", True, torch.float32, None

    def run(self, seen, height, width):
        return np.full((4, height, width), 0.1, np.float32)


def grey_frame(seed, size=(20, 28), **options):
    return Frame((np.random.default_rng(seed).integers(60, 200, size, dtype=np.uint8),), GREY, **options)


@pytest.fixture(autouse=True)
def narrow_window(monkeypatch):
    monkeypatch.setattr(stages, "SEARCH", replace(stages.SEARCH, radius=4))


def test_a_frame_goes_through_the_stages_of_the_host():
    host, frame, earlier = HostStages(Engine()), grey_frame(0), grey_frame(0)
    view, reference = host.view(frame, 1), host.view(earlier, 1)
    assert view.size == (20, 28)
    assert_array_equal(view.rgb, colour.to_rgb(frame.planes, GREY))
    field = host.search(view, reference, None, 0)
    assert not host.is_cut(field)
    assert host.is_cut(host.search(view, host.view(grey_frame(1), 1), None, 0))
    seen = host.beside(view, ((reference, field), None))
    assert torch.equal(seen, network_blocks(view.rgb, (Companion(reference.rgb, field.match), None)))
    rain = host.rain(seen, view.size)
    derained = host.subtract(frame, rain, 0.5, 1)
    assert_array_equal(derained.planes[0], frame.planes[0] - 13)  # 0.05 of 255 levels


def test_a_derained_view_is_the_view_without_its_rain():
    host = HostStages(Engine())
    view = host.view(grey_frame(0), 1)
    rain = np.full((4, 20, 28), 0.5, np.float32)
    rain[3, 0] = np.linspace(-0.2, 1.5, 28)
    left = host.derained(view, rain)
    assert_array_equal(left.rgb, np.maximum(np.rint(view.rgb - 127.5 - 1e-6), 0).astype(np.uint8))
    assert_array_equal(left.doubt, np.rint(rain[3].clip(0, 1) * 255))
    assert left.doubt.dtype == np.uint8 and view.doubt is None
    assert left.rgb.flags.c_contiguous and left.guide is view.guide
    field = host.search(view, view, None, 0)
    match = field.match
    expected = network_blocks(view.rgb, (Companion(left.rgb, match, left.doubt), Companion(view.rgb, match)))
    assert torch.equal(host.beside(view, ((left, field), (view, field))), expected)


def test_a_reference_is_seen_in_the_light_of_the_view():
    host, dim = HostStages(Engine()), grey_frame(0, size=(96, 128))
    bright = dim.with_planes((np.rint(dim.planes[0] * 1.1).astype(np.uint8),))
    view, reference = host.view(bright, 1), host.view(dim, 1)
    field = host.search(view, reference, None, 0)
    assert host.search(reference, reference, None, 0).tones is None and field.tones is not None
    unlit = matching.search(view.guide, reference.guide, stages.SEARCH)
    assert field.match.costs.mean() < 0.5 * unlit.costs.mean()
    blocks = host.beside(view, ((reference, field), (reference, field)))
    seen = torch.nn.functional.pixel_shuffle(blocks[None], 2)[0].numpy() * 255
    untouched = np.abs(view.rgb.astype(int) - reference.rgb).mean()
    for first in (3, 7):
        assert np.abs(seen[first : first + 3]).mean() < 0.2 * untouched


def test_planes_on_a_device_are_fetched():
    host, frame = HostStages(Engine()), grey_frame(0)
    there = frame.with_planes(tuple(torch.from_numpy(plane) for plane in frame.planes))
    assert_array_equal(host.view(there, 1).rgb, host.view(frame, 1).rgb)
    assert torch.equal(host.alone(there, 2)[0], host.alone(frame, 2)[0])
    rain = host.rain(torch.zeros(0), (20, 28))
    assert_array_equal(host.subtract(there, rain, 1.0, 1).planes[0], host.subtract(frame, rain, 1.0, 1).planes[0])


@pytest.mark.parametrize("scale, rotation, size", [(1, 90, (28, 20)), (2, 0, (10, 14)), (2, 270, (14, 10))])
def test_a_view_is_upright_and_as_small_as_asked_and_the_rain_lies_on_the_frame(scale, rotation, size):
    host, frame = HostStages(Engine()), grey_frame(2, rotation=rotation)
    assert host.view(frame, scale).size == size
    seen, alone = host.alone(frame, scale)
    assert alone == size and seen.shape == (3, *size) and seen.dtype == torch.float32
    rain = host.rain(seen, size)
    assert rain.shape == (4, *size)
    assert (host.subtract(frame, rain, 1.0, scale).planes[0] < frame.planes[0]).any()


@pytest.mark.parametrize("usable", [True, False])
def test_a_device_gets_its_own_stages_and_says_when_it_cannot(monkeypatch, usable):
    on_gpu, said = types.SimpleNamespace(device="cuda:1"), []
    monkeypatch.setattr(device_memory, "usable", lambda: usable)
    monkeypatch.setattr(cuda_stages, "CudaStages", lambda engine: ("on the GPU", engine))
    assert isinstance(stages_for(Engine(), said.append), HostStages)
    found = stages_for(on_gpu, said.append)
    if usable:
        assert found == ("on the GPU", on_gpu) and said == []
    else:
        assert isinstance(found, HostStages)
        (line,) = said
        assert line.startswith("numba finds no CUDA compiler: the search stays on the processor")


def test_a_gpu_without_numbas_compiler_is_logged_where_nobody_listens(monkeypatch, caplog):
    monkeypatch.setattr(device_memory, "usable", lambda: False)
    stages_for(types.SimpleNamespace(device="cuda"))
    assert "the search stays on the processor" in caplog.text


def test_both_kinds_of_stages_take_the_same():
    for name, function in inspect.getmembers(Stages, inspect.isfunction):
        if not name.startswith("_"):
            for kind in (HostStages, cuda_stages.CudaStages):
                parameters = inspect.signature(getattr(kind, name)).parameters
                assert list(parameters) == list(inspect.signature(function).parameters)
