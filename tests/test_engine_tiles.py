"""A tile is the same place of the whole, inside its halo."""
from __future__ import annotations

import pytest
import torch
from engine_fakes import stream
from numpy.testing import assert_allclose

from streamderain.core.context import squeeze
from streamderain.core.stream import PROFILES, StreamConfig, reach_px
from streamderain.tiles import Span, in_tiles, spans, squeezed_in_tiles

CONFIGS = [(0, 0, 0, 0, 0), (1, 1, 1, 1, 1), (1, 0, 0, 2, 0), (0, 2, 1, 0, 1), (2, 1, 0, 1, 2)]


def looked_at(model, height, width, row, column):
    """Which places of the input change an output pixel: its gradient, in float64, rows and columns of half pixels."""
    seen = torch.rand(1, 48, height // 2, width // 2, dtype=torch.float64, requires_grad=True)
    model.from_blocks(seen)[0, :, row, column].sum().backward()
    places = seen.grad[0].abs().sum(0).nonzero()
    return places[:, 0], places[:, 1]


@pytest.mark.parametrize("blocks", CONFIGS)
def test_the_reach_is_how_far_the_network_looks_and_no_further(blocks):
    model = stream(widths=(4, 4, 4), blocks=blocks).double()
    for module in model.modules():  # no weight is negative: no ReLU hides a path
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data.abs_()
            module.bias.data.abs_()
    reach = reach_px(StreamConfig(widths=(4, 4, 4), blocks=blocks))
    side = 8 * (2 * reach // 8 + 3)
    furthest = 0
    for at in range(reach + 8, reach + 16):  # every place within a cell of the grid
        rows, columns = looked_at(model, side, 2 * reach + 24, at, reach + 8)
        for places, pixel in ((rows, at), (columns, reach + 8)):
            cell = pixel // 8 * 8  # tiles are cut on the grid, so it is from the pixel's cell that counts
            furthest = max(furthest, cell - 2 * int(places.min()), 2 * int(places.max()) + 2 - cell - 8)
    assert reach - 8 < furthest <= reach


@pytest.mark.parametrize("name, expected", [("tiny", 96), ("realtime", 136), ("quality", 184)])
def test_halos_of_the_profiles(name, expected):
    assert reach_px(PROFILES[name]) == expected


@pytest.mark.parametrize("size, tile, halo", [(64, 64, 8), (64, 128, 8), (72, 64, 8), (200, 64, 16), (1088, 256, 72)])
def test_tiles_cover_a_side_once_with_all_of_their_halos(size, tile, halo):
    found = list(spans(size, tile, halo))
    assert [0, *(each.until for each in found)] == [*(each.keep for each in found), size]
    for each in found:
        assert each.stop - each.start == min(tile, size)
        assert 0 <= each.start <= each.keep < each.until <= each.stop <= size
        assert each.start == 0 or each.keep - each.start >= halo
        assert each.stop == size or each.stop - each.until >= halo
        assert each.start % 8 == 0


def test_a_side_that_fits_is_one_tile():
    assert list(spans(40, 40, 8)) == [Span(0, 40, 0, 40)]


@pytest.mark.parametrize("blocks", [(0, 0, 0, 0, 0), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("height, width, more", [(136, 200, 8), (208, 136, 24), (48, 256, 16)])
def test_tiles_are_the_whole_frame(blocks, height, width, more):
    model = stream(blocks=blocks).double()
    halo = reach_px(model.config)
    sizes = []

    def rain_of(part):
        sizes.append(tuple(part.shape[1:]))
        return model.from_blocks(part[None])[0]

    seen = torch.rand(48, height // 2, width // 2, dtype=torch.float64)
    with torch.inference_mode():
        whole = model.from_blocks(seen[None])[0]
        found = in_tiles(rain_of, seen, 2 * halo + more, halo, "cpu")
    assert whole.std() > 0.01
    # the result is kept in float32; in float64 a convolution's sums do not depend on how large the tile is
    assert_allclose(found.numpy(), whole.float().numpy(), rtol=0, atol=1e-7)
    assert len(sizes) > 1 or 2 * halo + more >= max(height, width)
    assert len(set(sizes)) == 1  # one shape for all


@pytest.mark.parametrize("height, width, more", [(136, 200, 8), (208, 136, 24), (48, 256, 16)])
def test_tiles_find_what_the_whole_frame_says(height, width, more):
    model = stream(blocks=(0, 0, 0, 0, 3), context=True).double()
    halo = reach_px(model.config)
    seen = torch.rand(48, height // 2, width // 2, dtype=torch.float64)

    def features_of(part):
        return model.before_context(part[None])[0]

    with torch.inference_mode():
        means = squeezed_in_tiles(features_of, seen, 2 * halo + more, halo)
        whole = squeeze(features_of(seen)[None])
        said = model.context(means.double())
        found = in_tiles(lambda part: model.from_blocks(part[None], said=said)[0], seen, 2 * halo + more, halo, "cpu")
        expected = model.from_blocks(seen[None])[0]
        without = model.from_blocks(seen[None], said=torch.zeros_like(said))[0]
    assert_allclose(means.numpy(), whole.float().numpy(), rtol=1e-5)
    assert_allclose(found.numpy(), expected.float().numpy(), rtol=0, atol=1e-5)
    assert (without - expected).abs().max() > 1e-3


def test_a_halo_too_small_shows():
    model = stream().double()
    seen = torch.rand(48, 68, 100, dtype=torch.float64)
    with torch.inference_mode():
        whole = model.from_blocks(seen[None])[0]
        found = in_tiles(lambda part: model.from_blocks(part[None])[0], seen, 64, 8, "cpu")
    assert (found - whole).abs().max() > 1e-4
