"""Every CUDA kernel against the CPU's function; test_cuda.py runs this on Numba's simulator, and on a GPU."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from streamderain.core import (
    colour,
    cuda_frame,
    cuda_search,
    device_memory,
    kernels_cuda,
    kernels_cuda_frame,
    kernels_cuda_proposals,
    matching,
)
from streamderain.core.colour import PixelFormat
from streamderain.core.companions import Companion, network_blocks
from streamderain.core.cuda_search import DeviceField, DeviceGuide
from streamderain.core.matching import MatchField, SearchSettings

DEVICE = torch.device("cpu" if device_memory.SIMULATED else "cuda")

if device_memory.SIMULATED:  # Python's numbers are three times as fast there, and no sum of the kernels needs to wrap
    for kernels in (kernels_cuda, kernels_cuda_frame, kernels_cuda_proposals):
        kernels.int32 = kernels.uint32 = int
        kernels.lesser, kernels.greater = min, max
    kernels_cuda.uint64 = kernels_cuda_proposals.uint64 = int
    kernels_cuda.GUIDE_THREADS, kernels_cuda_frame.PICTURE_THREADS = (8, 2), (4, 4)  # threads are Python's, and dear
    kernels_cuda_proposals.PROPOSE_THREADS = 32


def noise(seed, height, width, top=256):
    return np.random.default_rng(seed).integers(0, top, (height, width), dtype=np.uint8)


def given(array):
    """An array on the device."""
    return device_memory.shared(torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE))


def host(shared):
    tensor = shared.tensor if isinstance(shared, device_memory.Shared) else shared
    return tensor.cpu().numpy()


def both_guides(*lumas):
    """Guides of the CPU, and the same on the device."""
    guides = [matching.make_guide(luma) for luma in lumas]
    return guides, [
        DeviceGuide(given(guide.padded.view(np.uint32)), given(guide.coarse), guide.height, guide.width)
        for guide in guides
    ]


def assert_same_field(found, expected):
    assert_array_equal(host(found.keys), expected.keys)
    assert found.radius == expected.radius
    assert found.tile_costs.sum().item() == expected.costs[0].sum(dtype=np.int64)


# --- the guide ---
@pytest.mark.parametrize("size, reach", [((1, 1), 1), ((5, 9), 0), pytest.param((33, 61), 2, marks=pytest.mark.slow)])
def test_guide(size, reach):
    luma = noise(size[1], *size)
    expected, found = (
        matching.make_guide(luma, suppress=reach),
        cuda_search.make_guide(given(luma), suppress=reach),
    )
    assert_array_equal(host(found.words).view(np.uint8), expected.padded)
    assert_array_equal(host(found.coarse), expected.coarse)


# --- the search ---
EXACT = [
    pytest.param((7, 10), SearchSettings(radius=1, k=12), id="more places than offsets"),
    pytest.param((13, 21), SearchSettings(radius=3, k=2, truncation=255, penalty=0), marks=pytest.mark.slow),
    pytest.param((35, 61), SearchSettings(radius=2, k=3), marks=pytest.mark.slow, id="four tiles"),
]


@pytest.mark.parametrize("size, settings", EXACT)
def test_exact_search(size, settings):
    (query, reference), (on_device, there) = both_guides(noise(1, *size), noise(2, *size))
    assert_same_field(
        cuda_search.search(on_device, there, settings), matching.search(query, reference, settings)
    )


REUSE = [
    pytest.param((9, 14), SearchSettings(radius=6, k=2), 3, id="a tile"),
    pytest.param((35, 61), SearchSettings(radius=9, k=1), 2**31 + 7, marks=pytest.mark.slow, id="four tiles"),
    pytest.param((12, 70), SearchSettings(k=8, winners=24, probes=16), 9, marks=pytest.mark.slow, id="bench"),
    pytest.param((10, 20), SearchSettings(radius=3, k=3, winners=0, probes=0), 0, marks=pytest.mark.slow, id="none"),
    pytest.param((10, 20), SearchSettings(radius=13, reach=2, truncation=3), 1, marks=pytest.mark.slow, id="reach"),
    pytest.param((34, 8), SearchSettings(radius=31, probes=9), 5, marks=pytest.mark.slow, id="the widest window"),
]


@pytest.mark.parametrize("size, settings, seed", REUSE)
def test_search_from_the_field_before(size, settings, seed):
    (query, reference), (on_device, there) = both_guides(noise(3, *size, top=90), noise(4, *size, top=90))
    keys = np.random.default_rng(5).integers(0, (2 * settings.radius + 1) ** 2, (settings.k, *on_device.cells))
    keys[-1, ::2, ::3] = 0xFFFFFFFF  # cells without a match
    previous = MatchField(keys.astype(np.uint32), settings.radius)
    start = DeviceField(given(previous.keys), torch.empty(0), settings.radius)
    expected = matching.search(query, reference, settings, previous=previous, seed=seed)
    found = cuda_search.search(on_device, there, settings, previous=start, seed=seed)
    assert_same_field(found, expected)


@pytest.mark.parametrize(
    "size, settings",
    [
        pytest.param((35, 61), SearchSettings(radius=9, k=2), id="four tiles"),
        pytest.param((10, 70), SearchSettings(k=2, winners=5, reach=2), marks=pytest.mark.slow, id="two tiles"),
        pytest.param((66, 10), SearchSettings(radius=1, winners=1), marks=pytest.mark.slow, id="three tiles"),
    ],
)
def test_every_tile_tries_what_it_tries_on_the_cpu(size, settings):
    guides, on_device = both_guides(noise(7, *size), noise(8, *size))
    side = 2 * settings.radius + 1
    keys = np.random.default_rng(9).integers(0, side**2, (settings.k, *on_device[0].cells)).astype(np.uint32)
    previous = DeviceField(given(keys), torch.empty(0), settings.radius)
    grid = -(-keys.shape[2] // 15), -(-keys.shape[1] // 8)
    lists, counts = cuda_search._proposals(*on_device, previous, settings, 77, grid)
    expected, lengths = matching._proposals(*guides, MatchField(keys, settings.radius), settings, 77)
    lists, counts = lists.copy_to_host(), counts.copy_to_host()
    assert len(counts) == len(lengths) == grid[0] * grid[1]
    for tile, length in enumerate(lengths):
        tried = [int(n >> 8) * side + int(n & 255) for n in lists[tile, : counts[tile]]]
        assert sorted(tried) == sorted(expected[tile, :length])


@pytest.mark.slow
def test_search_over_a_moving_scene():
    scene = np.kron(noise(6, 18, 26), np.ones((4, 4), np.uint8))
    settings = SearchSettings(radius=8)
    lumas = [np.ascontiguousarray(scene[t : t + 30, 2 * t : 2 * t + 56]) for t in range(3)]
    guides, on_device = both_guides(*lumas)
    expected = found = None
    for t in (1, 2):
        expected = matching.search(guides[t], guides[t - 1], settings, previous=expected, seed=t)
        found = cuda_search.search(on_device[t], on_device[t - 1], settings, previous=found, seed=t)
        assert_same_field(found, expected)


def test_search_refuses_what_does_not_fit():
    guides = [DeviceGuide(given(np.zeros((1, 1), np.uint32)), given(np.zeros((1, 1), np.uint8)), 3, w) for w in (4, 5)]
    with pytest.raises(ValueError, match="query is 3x4, reference 3x5"):
        cuda_search.search(*guides, SearchSettings())
    previous = DeviceField(given(np.zeros((1, 2, 2), np.uint32)), torch.empty(0), 4)
    with pytest.raises(ValueError, match="another size or radius"):
        cuda_search.search(guides[0], guides[0], SearchSettings(radius=4), previous=previous)
    with pytest.raises(ValueError, match=r"it must be uint8 \(H, W\)"):
        cuda_search.make_guide(given(np.zeros((2, 2), np.int32)))


# --- colour ---
FORMATS = [
    PixelFormat("yuv", 8, (1, 1)),
    PixelFormat("yuv", 10, (1, 1), "bt2020", transfer="pq"),
    PixelFormat("yuv", 12, (1, 0), "bt2020", full_range=True, transfer="hlg"),
    PixelFormat("yuv", 8, (0, 0), "bt601", full_range=True),
    PixelFormat("yuv", 8, (2, 2), "fcc"),
    PixelFormat("yuv", 16, (2, 0), "smpte240m"),
    PixelFormat("rgb", 8, full_range=True),
    PixelFormat("rgb", 12, transfer="pq"),
    PixelFormat("grey", 8),
    PixelFormat("grey", 10, full_range=True, transfer="hlg"),
]
NAMES = [f"{f.family}{f.bit_depth}{f.transfer}{f.subsampling[0]}{f.subsampling[1]}" for f in FORMATS]
SIZE = (7, 11)
ALL = [  # every format in one turn, and slowly in all
    pytest.param(pixel_format, turns, id=f"{name}-{turns}", marks=[] if turns == number % 4 else pytest.mark.slow)
    for number, (pixel_format, name) in enumerate(zip(FORMATS, NAMES, strict=True))
    for turns in range(4)
]


def planes_of(pixel_format, seed, size=SIZE):
    """Noise in every code that the format can hold."""
    rng = np.random.default_rng(seed)
    x, y = pixel_format.subsampling if pixel_format.family == "yuv" else (0, 0)
    chroma = (-(-size[0] >> y), -(-size[1] >> x))
    shapes = [size, chroma, chroma][: 1 if pixel_format.family == "grey" else 3]
    dtype = np.uint8 if pixel_format.bit_depth == 8 else np.uint16
    return tuple(rng.integers(0, 1 << pixel_format.bit_depth, shape, dtype=dtype) for shape in shapes)


@pytest.mark.parametrize("pixel_format, turns", ALL)
def test_a_frame_is_shown_as_on_the_cpu(pixel_format, turns):
    planes = planes_of(pixel_format, turns)
    rgb, grey = cuda_frame.show(tuple(given(plane) for plane in planes), pixel_format, turns)
    assert_array_equal(host(rgb), np.rot90(colour.to_rgb(planes, pixel_format), turns, axes=(1, 2)))
    assert_array_equal(host(grey), np.rot90(colour.luma(planes, pixel_format), turns))


@pytest.mark.parametrize("pixel_format, turns", ALL)
def test_rain_is_taken_off_as_on_the_cpu(pixel_format, turns):
    planes = planes_of(pixel_format, turns)
    rain = np.random.default_rng(turns).normal(0, 0.2, (3, *SIZE)).astype(np.float32)
    rain[:, :4, :4] = 1e-6  # too faint for any level
    expected = colour.subtract_rain(planes, rain, pixel_format, 0.8)
    upright = np.pad(np.rot90(rain, turns, axes=(1, 2)), ((0, 0), (0, 3), (0, 2)))  # the network's may exceed the frame
    on_device = tuple(given(plane) for plane in planes)
    found = cuda_frame.subtract_rain(on_device, given(upright).tensor, pixel_format, 0.8, turns)
    for before, plane, out, twin in zip(planes, on_device, found, expected, strict=True):
        assert_array_equal(host(out), twin)
        assert_array_equal(host(plane), before)
        assert out.dtype == plane.tensor.dtype


def test_interleaved_chroma_comes_back_interleaved():
    pixel_format = PixelFormat("yuv", 8, (1, 1))
    luma, blue, red = planes_of(pixel_format, 1)
    both = given(np.stack((blue, red), axis=-1)).tensor
    on_device = (given(luma), device_memory.shared(both[..., 0]), device_memory.shared(both[..., 1]))
    rain = np.random.default_rng(0).normal(0, 0.2, (3, *SIZE)).astype(np.float32)
    found = cuda_frame.subtract_rain(on_device, given(rain).tensor, pixel_format)
    for out, twin in zip(found, colour.subtract_rain((luma, blue, red), rain, pixel_format), strict=True):
        assert_array_equal(host(out), twin)
    assert found[2].data_ptr() == found[1].data_ptr() + 1
    rgb, _ = cuda_frame.show(on_device, pixel_format)
    assert_array_equal(host(rgb), colour.to_rgb((luma, blue, red), pixel_format))


def test_planes_and_rain_that_do_not_fit_are_refused():
    planes = tuple(given(plane) for plane in planes_of(FORMATS[0], 0))
    with pytest.raises(ValueError, match=r"must be torch\.uint16"):
        cuda_frame.show(planes, replace(FORMATS[0], bit_depth=10))
    with pytest.raises(ValueError, match="rain must be float32 and cover"):
        cuda_frame.subtract_rain(planes, torch.zeros(3, 6, 11, device=DEVICE), FORMATS[0])


# --- companions ---
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("doubted", [True, False])
@pytest.mark.parametrize("size, full", [((5, 9), (True, False)), ((9, 14), (False, True)), ((6, 6), (False, False))])
def test_companions_are_laid_beside_the_frame_as_on_the_cpu(size, full, doubted, dtype):
    rng = np.random.default_rng(size[1])
    rgb, *references = (rng.integers(0, 256, (3, *size), dtype=np.uint8) for _ in range(3))
    cells = [-(-side // 4) for side in size]
    costs, offsets = rng.integers(0, 3000, (2, 2, *cells)), rng.integers(0, 49, (2, 2, *cells))
    keys = (costs << 12 | offsets).astype(np.uint32)
    doubt = rng.integers(0, 256, size, dtype=np.uint8) if doubted else None
    slots = [Companion(references[n], MatchField(keys[n], 3), doubt) if full[n] else None for n in (0, 1)]
    expected = network_blocks(rgb, tuple(slots))
    fields = [DeviceField(given(keys[n]), torch.empty(0), 3) for n in (0, 1)]
    there = tuple((given(references[n]), fields[n]) if full[n] else None for n in (0, 1))
    found = cuda_frame.network_blocks(given(rgb), there, given(doubt) if doubted else None, dtype)
    assert found.shape == expected.shape and found.stride() == expected.stride()
    assert_array_equal(found.cpu().float().numpy(), expected.to(dtype).float().numpy())


def test_companions_of_another_size_or_dtype_are_refused():
    rgb, other = (given(np.zeros((3, 4, width), np.uint8)) for width in (4, 5))
    field = DeviceField(given(np.zeros((1, 1, 2), np.uint32)), torch.empty(0), 3)
    with pytest.raises(ValueError, match="does not fit"):
        cuda_frame.network_blocks(rgb, ((other, field), None))
    with pytest.raises(ValueError, match="doubt of"):
        cuda_frame.network_blocks(rgb, (None, None), given(np.zeros((4, 5), np.uint8)))
    with pytest.raises(ValueError, match=r"dtype is torch\.float32"):
        cuda_frame.network_blocks(rgb, (None, None), None, torch.float32)
