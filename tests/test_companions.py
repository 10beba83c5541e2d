"""What the network sees: equal to a gather done one pixel at a time."""
import naive
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from streamderain.core import companions, kernels, matching
from streamderain.core.companions import Companion, network_blocks, network_input
from streamderain.core.matching import MatchField, SearchSettings

SIZES = [(1, 1), (3, 5), (4, 8), (9, 14), (17, 6)]


def picture(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (3, *size), dtype=np.uint8)


def random_field(seed, size, radius, k=2):
    """Offsets anywhere in the window, so that many places lie outside, and costs up to twice the cap."""
    rng = np.random.default_rng(seed)
    shape = (k, *(-(-extent // 4) for extent in size))
    index = rng.integers(0, (2 * radius + 1) ** 2, shape)
    cost = rng.integers(0, 2 * companions.COST_CAP, shape)
    return MatchField((cost << kernels.INDEX_BITS | index).astype(np.uint32), radius)


@pytest.mark.parametrize("radius", [1, 4, 31])
@pytest.mark.parametrize("size", SIZES)
def test_tiny_input_matches_naive(size, radius):
    rgb, reference, other = (picture(seed, size) for seed in range(3))
    first = Companion(reference, random_field(radius, size, radius), picture(3, size)[0])
    second = Companion(other, random_field(radius + 50, size, radius))
    seen = network_input(rgb, (first, second)).numpy()
    assert seen.shape == (companions.CHANNELS, *size)
    assert seen.dtype == np.float32
    assert_allclose(seen[:3], rgb / 255, rtol=2e-7)
    for slot, companion in enumerate((first, second)):
        twin = naive.companion(rgb, companion.rgb, companion.field.keys[0], radius)
        assert_allclose(seen[3 + 4 * slot : 7 + 4 * slot], twin, rtol=2e-7)  # one rounding to float32
    assert_allclose(seen[11], naive.moved(first.doubt, first.field.keys[0], radius) / 255, rtol=2e-7)


def test_bfloat16_is_the_float32_input_rounded():
    rgb, reference = picture(3, (9, 14)), picture(4, (9, 14))
    slots = (Companion(reference, random_field(5, (9, 14), 6)), None)
    expected = network_input(rgb, slots).to(torch.bfloat16)
    found = network_input(rgb, slots, torch.bfloat16)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [*SIZES, (16, 24)])
def test_tiny_blocks_are_the_input_padded_and_unshuffled(size, dtype):
    rgb, reference, other = (picture(seed, size) for seed in range(3))
    for second in (Companion(other, random_field(2, size, 9)), None):
        slots = (Companion(reference, random_field(1, size, 9), picture(3, size)[0]), second)
        found = network_blocks(rgb, slots, dtype)
        rest = (0, -size[1] % 8, 0, -size[0] % 8)
        padded = torch.nn.functional.pad(network_input(rgb, slots, dtype)[None], rest, mode="replicate")
        assert torch.equal(found, torch.nn.functional.pixel_unshuffle(padded, 2)[0])
        assert found[None].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_empty_slot_says_that_nothing_was_found(dtype):
    seen = network_input(picture(5, (5, 6)), (None, None), dtype)
    for first in (3, 7):
        assert not seen[first : first + 3].any()
        assert (seen[first + 3] == 1).all()
    assert (seen[11] == 1).all()


def test_a_reference_that_is_no_answer_is_doubtful_all_over():
    rgb, field = picture(5, (5, 6)), random_field(1, (5, 6), 2)
    sure = Companion(rgb, field, np.zeros((5, 6), np.uint8))
    assert (network_input(rgb, (Companion(rgb, field), sure))[11] == 1).all()
    assert not network_input(rgb, (sure, None))[11].any()
    assert (network_input(rgb, (None, sure))[11] == 1).all()


def test_a_frame_that_is_its_own_companion_differs_nowhere():
    rgb = picture(6, (12, 20))
    guide = matching.make_guide(rgb[1])
    companion = Companion(rgb, matching.search(guide, guide, SearchSettings(radius=3)))
    assert not network_input(rgb, (companion, companion))[3:11].any()


@pytest.mark.parametrize("offset", [(-31, -31), (31, 31), (-31, 31)])
def test_places_outside_take_the_border(offset):
    rgb, reference = picture(7, (6, 7)), picture(8, (6, 7))
    index = (offset[0] + 31) * 63 + offset[1] + 31
    field = MatchField(np.full((1, 2, 2), index, np.uint32), 31)
    seen = network_input(rgb, (Companion(reference, field), None))
    corner = reference[:, 0 if offset[0] < 0 else -1, 0 if offset[1] < 0 else -1].astype(int)
    assert_allclose(seen[3:6].numpy(), (corner[:, None, None] - rgb) / 255, rtol=2e-7)


def test_a_cell_without_a_match_has_the_full_cost():
    rgb = picture(9, (4, 4))
    field = MatchField(np.full((1, 1, 1), kernels.NO_MATCH, np.uint32), 2)
    seen = network_input(rgb, (Companion(rgb, field), None))
    assert (seen[6] == 1).all()
    assert (seen[3:6].abs() <= 1).all()


def test_the_inputs_stay_as_they_were():
    rgb, reference = picture(10, (8, 8)), picture(11, (8, 8))
    field = random_field(12, (8, 8), 3)
    copies = rgb.copy(), reference.copy(), field.keys.copy()
    network_input(rgb, (Companion(reference, field), None))
    for now, before in zip((rgb, reference, field.keys), copies, strict=True):
        assert_array_equal(now, before)


def test_pictures_may_lie_in_memory_as_they_like():
    rgb, reference = picture(13, (9, 14)), picture(14, (9, 14))
    field = random_field(15, (9, 14), 4)
    doubt = picture(16, (9, 14))[0]
    expected = network_input(rgb, (Companion(reference, field, doubt), None))
    other = np.ascontiguousarray(np.moveaxis(rgb, 0, -1))
    strided = MatchField(np.asfortranarray(field.keys), field.radius)
    first = Companion(np.asfortranarray(reference), strided, np.asfortranarray(doubt))
    found = network_input(np.moveaxis(other, -1, 0), (first, None))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("rgb", [np.zeros((3, 8, 8)), np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)])
def test_other_frames_are_refused(rgb):
    with pytest.raises(ValueError, match=r"it must be uint8 \(3, H, W\)"):
        network_input(rgb, (None, None))


@pytest.mark.parametrize("reference", [np.zeros((3, 8, 9), np.uint8), np.zeros((3, 8, 8), np.float32)])
def test_a_reference_that_does_not_fit_is_refused(reference):
    with pytest.raises(ValueError, match="reference is"):
        network_input(picture(0, (8, 8)), (Companion(reference, random_field(0, (8, 8), 2)), None))


@pytest.mark.parametrize("doubt", [np.zeros((8, 9), np.uint8), np.zeros((8, 8), np.float32)])
def test_a_doubt_that_does_not_fit_is_refused(doubt):
    rgb = picture(0, (8, 8))
    with pytest.raises(ValueError, match="doubt is"):
        network_input(rgb, (Companion(rgb, random_field(0, (8, 8), 2), doubt), None))


@pytest.mark.parametrize("cells", [(1, 2), (3, 2)])
def test_a_field_that_does_not_fit_is_refused(cells):
    field = MatchField(np.zeros((2, *cells), np.uint32), 2)
    rgb = picture(0, (8, 8))
    with pytest.raises(ValueError, match="does not fit a frame"):
        network_input(rgb, (None, Companion(rgb, field)))


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"dtype is torch\.float16"):
        network_input(picture(0, (8, 8)), (None, None), torch.float16)
