"""Where the contrastive losses look: searches equal the published loop, features are read at the right place."""
from itertools import pairwise, product

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamderain.core.chance import Chance
from streamderain.core.patches import PatchSampler, read_features

PUBLISHED = PatchSampler()
SMALL = PatchSampler(patch_size=4, search_size=10)


def whole_number_image(seed, *shape, top=6):
    """Few values, so that many distances are equal; all sums are exact."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, top, shape)).float()


def noise(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def one_by_one(image, k, anchors, sampler):
    """What the plain loop finds for each anchor of each sample."""
    return [
        [naive.nonlocal_patches(picture, anchor, k, sampler) for anchor in rows]
        for picture, rows in zip(image.double().numpy(), anchors.tolist(), strict=True)
    ]


def found_by(sampler, image, k, anchors):
    """The fast search's centres as the loop writes them."""
    return [[[tuple(place) for place in row] for row in rows] for rows in sampler.nonlocal_(image, k, anchors).tolist()]


# --- the non-local search ---
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [whole_number_image, noise], ids=["whole", "float"])
@pytest.mark.parametrize("channels", [1, 3, 32])
def test_search_matches_naive(channels, make, seed):
    image = make(seed, 2, channels, 21, 30)
    anchors = SMALL.anchors(image, 3, Chance([seed, seed + 100]))
    assert found_by(SMALL, image, 20, anchors) == one_by_one(image, 20, anchors, SMALL)


@pytest.mark.parametrize("make", [whole_number_image, noise], ids=["whole", "float"])
def test_search_of_the_published_size_matches_naive(make):
    image = make(7, 1, 3, 64, 80)
    anchors = torch.tensor([[[16, 16], [40, 33], [48, 64]]])
    assert found_by(PUBLISHED, image, 128, anchors) == one_by_one(image, 128, anchors, PUBLISHED)


@pytest.mark.parametrize(
    "sampler",
    [
        PatchSampler(patch_size=2, search_size=2),
        PatchSampler(patch_size=4, search_size=8, stride=2),
        PatchSampler(patch_size=6, search_size=12, stride=3),
        PatchSampler(patch_size=4, search_size=12, min_distance=1),
        PatchSampler(patch_size=4, search_size=12, min_distance=3),
        PatchSampler(patch_size=2, search_size=12, stride=2, min_distance=4),
    ],
    ids=lambda s: f"patch{s.patch_size}-search{s.search_size}-stride{s.stride}-apart{s.min_distance}",
)
@pytest.mark.parametrize("make", [whole_number_image, noise], ids=["whole", "float"])
def test_search_with_other_settings_matches_naive(make, sampler):
    image = make(8, 2, 3, 26, 25)
    anchors = sampler.anchors(image, 4, Chance([1, 2]))
    assert found_by(sampler, image, 4, anchors) == one_by_one(image, 4, anchors, sampler)


def test_search_near_all_borders_matches_naive():
    image = whole_number_image(9, 1, 3, 20, 24)
    # from the first whole patch to the last
    ends = torch.tensor([list(product((2, 3, 10, 17, 18), (2, 3, 12, 21, 22)))])
    assert found_by(SMALL, image, 9, ends) == one_by_one(image, 9, ends, SMALL)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_search_matches_naive_wherever_it_looks(data):
    half, reach = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    stride = data.draw(st.sampled_from([n for n in (1, 2, 3) if reach % n == 0]))
    sampler = PatchSampler(2 * half, 2 * reach, stride, data.draw(st.integers(0, 2)))
    H, W = (data.draw(st.integers(2 * half, 18)) for _ in range(2))
    image = whole_number_image(data.draw(st.integers(0, 99)), 1, 2, H, W, top=data.draw(st.integers(1, 9)))
    anchor = [data.draw(st.integers(half, side - half)) for side in (H, W)]
    expected = naive.nonlocal_patches(image[0].double().numpy(), anchor, H * W, sampler)
    if expected:
        assert found_by(sampler, image, len(expected), torch.tensor([[anchor]])) == [[expected]]
    with pytest.raises(ValueError, match="fewer than"):
        sampler.nonlocal_(image, len(expected) + 1, torch.tensor([[anchor]]))


def test_a_batch_of_anchors_is_searched_as_one_by_one():
    image = noise(10, 3, 3, 30, 40)
    anchors = SMALL.anchors(image, 4, Chance([1, 2, 3]))
    together = SMALL.nonlocal_(image, 12, anchors)
    assert together.shape == (3, 4, 12, 2)
    assert together.dtype == torch.int64
    for sample, place in np.ndindex(3, 4):
        alone = SMALL.nonlocal_(image[sample, None], 12, anchors[sample, None, place, None])
        assert torch.equal(together[sample, place], alone[0, 0])


def test_the_anchor_comes_first_at_distance_zero():
    image = noise(11, 2, 3, 64, 64)
    anchors = PUBLISHED.anchors(image, 20, Chance([4, 5]))
    distances = PUBLISHED.distances(image, anchors)
    assert distances.min() == 0  # some would fall below
    assert torch.equal(PUBLISHED.nonlocal_(image, 8, anchors)[:, :, 0], anchors)
    assert distances[..., 20, 20].max() < 1e-9  # energies cancel up to the rounding of float64
    assert (distances.flatten(2).argmin(-1) == 20 * 40 + 20).all()


def test_distances_match_naive():
    image = whole_number_image(12, 1, 3, 20, 23)
    anchor = (4, 17)
    found = SMALL.distances(image, torch.tensor([[anchor]]))[0, 0]
    picture, places = image[0].double().numpy(), naive.candidates((20, 23), anchor, SMALL)
    for y, x in np.ndindex(10, 10):
        place = anchor[0] + y - 5, anchor[1] + x - 5
        expected = naive.patch_distance(picture, place, anchor, 4) if place in places else np.inf
        assert found[y, x] == expected


def test_distances_ascend():
    image = noise(13, 1, 3, 48, 48)
    anchors = PUBLISHED.anchors(image, 2, Chance([6]))
    for anchor, places in zip(anchors[0].tolist(), PUBLISHED.nonlocal_(image, 128, anchors)[0].tolist(), strict=True):
        picture = image[0].double().numpy()
        found = [naive.patch_distance(picture, place, anchor, 16) for place in places]
        assert all(near <= far for near, far in pairwise(found))


@pytest.mark.parametrize("constant", [-3.0, 250.0])
def test_adding_a_constant_changes_nothing(constant):
    image = whole_number_image(14, 2, 3, 24, 24)
    anchors = SMALL.anchors(image, 3, Chance([7, 8]))
    assert torch.equal(SMALL.distances(image + constant, anchors), SMALL.distances(image, anchors))
    assert torch.equal(SMALL.nonlocal_(image + constant, 15, anchors), SMALL.nonlocal_(image, 15, anchors))


def test_a_flat_picture_is_searched_in_raster_order():
    places = SMALL.nonlocal_(torch.full((1, 3, 24, 24), 0.5), 12, torch.tensor([[[10, 11]]]))[0, 0].tolist()
    assert places == [[5, column] for column in range(6, 16)] + [[6, 6], [6, 7]]


@pytest.mark.parametrize("apart", [1, 2, 5])
def test_chosen_patches_keep_their_distance(apart):
    sampler = PatchSampler(patch_size=4, search_size=20, min_distance=apart)
    image = noise(15, 2, 3, 40, 40)
    places = sampler.nonlocal_(image, 6, sampler.anchors(image, 2, Chance([1, 2])))
    steps = (places[:, :, :, None] - places[:, :, None]).abs().amax(-1)  # (B, A, k, k)
    assert steps[..., ~torch.eye(6, dtype=torch.bool)].min() >= apart


def test_a_crop_has_784_to_1600_candidates():
    image = torch.zeros(1, 3, 256, 256)
    ends = torch.tensor([list(product((16, 17, 28, 128, 229, 239, 240), repeat=2))])
    counts = torch.isfinite(PUBLISHED.distances(image, ends)).sum((2, 3))[0].tolist()
    expected = [len(naive.candidates((256, 256), anchor, PUBLISHED)) for anchor in ends[0].tolist()]
    assert counts == expected
    assert (min(counts), max(counts)) == (784, 1600)


def test_the_choice_carries_no_gradient():
    image = noise(16, 1, 3, 24, 24).requires_grad_()
    anchors = SMALL.anchors(image, 1, Chance([1]))
    queries = SMALL.random(image, 3, Chance([1]))
    assert not SMALL.distances(image, anchors).requires_grad
    assert not SMALL.nonlocal_(image, 4, anchors).requires_grad
    assert not SMALL.reverse_nonlocal(image, queries, queries, 1).requires_grad


# --- anchors and random centres ---
@pytest.mark.parametrize("size", [(32, 32), (33, 70)])
def test_anchors_lie_a_patch_from_the_border(size):
    found = PUBLISHED.anchors(torch.empty(2, 3, *size), 300, Chance([1, 2]))
    assert found.shape == (2, 300, 2)
    assert found.amin((0, 1)).tolist() == [16, 16]
    assert found.amax((0, 1)).tolist() == [side - 16 for side in size]


def test_random_centres_are_whole_and_different():
    found = SMALL.random(torch.empty(3, 1, 9, 12), 54, Chance([1, 2, 3]))  # as many as there are
    every = {(y, x) for y in range(2, 8) for x in range(2, 11)}
    assert found.shape == (3, 54, 2)
    assert all({tuple(place) for place in places} == every for places in found.tolist())


def test_centres_depend_on_the_sample_alone():
    image = torch.empty(2, 3, 40, 50)
    for draw in (PUBLISHED.random, PUBLISHED.anchors):
        assert torch.equal(draw(image, 5, Chance([8, 9]))[1], draw(image[1:], 5, Chance([9]))[0])


# --- the reverse search ---
@pytest.mark.parametrize("make", [whole_number_image, noise], ids=["whole", "float"])
@pytest.mark.parametrize("k", [1, 7, 30, 99])
def test_reverse_search_matches_naive(k, make):
    image = make(17, 2, 3, 32, 41)
    queries, pool = SMALL.random(image, 20, Chance([1, 2])), SMALL.random(image, 30, Chance([3, 4]))
    found = SMALL.reverse_nonlocal(image, queries, pool, k)
    assert found.shape == (2, 20, 30)
    assert (found.sum(-1) == min(k, 30)).all()
    for sample, number in np.ndindex(2, 20):
        picture, query = image[sample].double().numpy(), queries[sample, number].tolist()
        distances = np.array([naive.patch_distance(picture, query, place, 4) for place in pool[sample].tolist()])
        chosen = found[sample, number].numpy()
        expected = naive.reverse_nonlocal(picture, query, pool[sample].tolist(), k, 4)
        # which of several at the same distance is left open, so the distances are compared, to float32's precision
        np.testing.assert_allclose(np.sort(distances[chosen]), np.sort(distances[list(expected)]), rtol=1e-5)


def test_patches_are_cut_around_their_centres():
    image = noise(18, 2, 3, 12, 17).requires_grad_()
    centres = SMALL.random(image, 6, Chance([1, 2]))
    patches = SMALL.cut(image, centres)
    assert patches.shape == (2, 6, 3, 4, 4)
    for sample, number in np.ndindex(2, 6):
        expected = naive.patch_at(image[sample].detach(), centres[sample, number], 4)
        assert torch.equal(patches[sample, number], expected)


# --- reading features ---
@pytest.mark.parametrize("shape", [(64, 48), (63, 47), (31, 24), (16, 16), (1, 1), (128, 96)])
def test_features_are_read_at_the_nearest_place(shape):
    features = noise(19, 2, 5, *shape)
    centres = PatchSampler(patch_size=2).random(torch.empty(2, 3, 64, 48), 200, Chance([1, 2]))
    found = read_features(features, centres, (64, 48))
    assert found.shape == (2, 200, 5)
    for sample, (number, (y, x)) in product(range(2), enumerate(centres[0].tolist())):
        if sample:
            y, x = centres[1, number].tolist()
        expected = features[sample, :, y * shape[0] // 64, x * shape[1] // 48]
        assert torch.equal(found[sample, number], expected)


@pytest.mark.parametrize("side", [256, 255, 127, 63, 31])
def test_discriminator_maps_are_read_by_the_published_rule(side):
    rows = torch.arange(side).float().expand(1, 1, side, side)
    features = torch.cat((rows.transpose(2, 3), rows), 1)  # each place holds its own row and column
    q = torch.arange(8, 249)
    found = read_features(features, torch.stack((q, q.flip(0)), -1)[None], (256, 256))[0].long()
    expected = [[int(y) * side // 256, int(x) * side // 256] for y, x in zip(q, q.flip(0), strict=True)]
    assert found.tolist() == expected


def test_gradients_reach_the_features_that_were_read_alone():
    features = noise(20, 1, 2, 8, 8).requires_grad_()
    centres = torch.tensor([[[0, 0], [9, 15], [9, 15]]])
    read_features(features, centres, (16, 16)).sum().backward()
    expected = torch.zeros(1, 2, 8, 8)
    expected[..., 0, 0], expected[..., 4, 7] = 1, 2
    assert torch.equal(features.grad, expected)


# --- errors ---
@pytest.mark.parametrize(
    "options, problem",
    [
        ({"patch_size": 0}, "patch_size is 0; it must be even and at least 2"),
        ({"patch_size": 5}, "patch_size is 5"),
        ({"search_size": 41}, "search_size is 41"),
        ({"stride": 0}, "stride is 0; it must divide half of search_size, 20"),
        ({"stride": 3}, "stride is 3; it must divide half of search_size, 20"),
        ({"min_distance": -1}, "min_distance is -1; it must be at least 0"),
    ],
)
def test_samplers_out_of_range_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        PatchSampler(**options)


@pytest.mark.parametrize("size, count", [((15, 40), 1), ((17, 17), 5)])
def test_a_picture_without_room_for_the_patches_is_refused(size, count):
    with pytest.raises(ValueError, match=f"it has no {count} patches of 16 pixels"):
        PUBLISHED.random(torch.empty(1, 3, *size), count, Chance([0]))


def test_a_picture_too_small_for_an_anchor_is_refused():
    with pytest.raises(ValueError, match="a search needs 32 pixels on each side"):
        PUBLISHED.anchors(torch.empty(1, 3, 31, 64), 1, Chance([0]))


@pytest.mark.parametrize("k, apart", [(82, 0), (101, 0), (10, 8)])
def test_more_patches_than_the_window_has_are_refused(k, apart):
    sampler = PatchSampler(patch_size=4, search_size=10, min_distance=apart)
    with pytest.raises(ValueError, match=f"fewer than {k} patches lie in a window of 10; lower k or min_distance"):
        sampler.nonlocal_(noise(0, 1, 3, 24, 24), k, torch.tensor([[[6, 6]]]))


def test_a_window_without_any_whole_patch_is_refused():
    sampler = PatchSampler(patch_size=6, search_size=2, min_distance=1)
    with pytest.raises(ValueError, match="fewer than 1 patches lie in a window of 2"):
        sampler.nonlocal_(noise(0, 1, 3, 6, 6), 1, torch.tensor([[[0, 0]]]))
