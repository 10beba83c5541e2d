"""The patch search: equal to its plain twin where it is exact, true to its cost function where it reuses."""
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import naive
import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from streamderain.core import kernels, matching
from streamderain.core.matching import MatchField, SearchSettings

ROOT = Path(__file__).resolve().parent.parent


def noise(seed, height, width, top=256):
    return np.random.default_rng(seed).integers(0, top, (height, width), dtype=np.uint8)


def smooth(seed, height, width):
    """A picture without repetition, on which costs rise with the distance from the right place."""
    y, x = np.mgrid[:height, :width]
    a, b, c = np.random.default_rng(seed).uniform(0.9, 1.1, 3)
    wave = np.sin(a * y / 9) + np.sin(b * x / 11 + y / 23) + np.sin(c * (x - y) / 17)
    return (128 + 40 * wave).astype(np.uint8)


def picture_of(guide):
    """What stands in a guide inside its padding."""
    return guide.padded[guide.margin : guide.margin + guide.height, guide.margin : guide.margin + guide.width]


def exact(query, reference, settings, **options):
    """The fast search and its twin on the same guides."""
    guides = [matching.make_guide(luma) for luma in (query, reference)]
    found = matching.search(*guides, settings, **options)
    one, other = (picture_of(guide) for guide in guides)
    twin = naive.search(one, other, settings.radius, settings.k, settings.truncation, settings.penalty, **options)
    return found.keys, twin


# --- the guide ---
@pytest.mark.parametrize("reach", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (9, 17)])
def test_tiny_guide_matches_naive(size, reach):
    luma = noise(size[1] + reach, *size)
    assert_array_equal(picture_of(matching.make_guide(luma, suppress=reach)), naive.guide(luma, reach))


def test_guide_is_padded_by_its_border():
    guide = matching.make_guide(noise(0, 5, 6))
    rest = [extent - guide.margin - size for extent, size in zip(guide.padded.shape, (5, 6), strict=True)]
    expected = np.pad(picture_of(guide), [(guide.margin, rest[0]), (guide.margin, rest[1])], mode="edge")
    assert_array_equal(guide.padded, expected)


def test_guide_removes_a_bright_vertical_line_and_keeps_the_luma():
    luma = np.full((12, 12), 90, np.uint8)
    luma[:, 5:7] = 255
    given = luma.copy()
    assert (picture_of(matching.make_guide(luma)) == 90).all()
    assert_array_equal(luma, given)


@pytest.mark.parametrize("luma", [np.zeros((4, 4)), np.zeros((3, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)])
def test_guide_refuses_other_arrays(luma):
    with pytest.raises(ValueError, match=r"it must be uint8 \(H, W\)"):
        matching.make_guide(luma)


# --- exact search ---
@pytest.mark.parametrize(
    "size, radius, k",
    [((1, 1), 1, 1), ((1, 1), 2, 8), ((3, 5), 1, 3), ((3, 5), 2, 2), ((5, 4), 3, 4), ((4, 9), 1, 9)],
)
@pytest.mark.parametrize("seed", range(2))
def test_tiny_search_matches_naive(seed, size, radius, k):
    settings = SearchSettings(radius=radius, k=k)
    assert_array_equal(*exact(noise(seed, *size), noise(seed + 100, *size), settings))


@pytest.mark.parametrize(
    "size, radius, k",
    [((33, 61), 2, 3), ((32, 60), 1, 2), ((37, 70), 1, 8), ((34, 125), 1, 1), ((20, 30), 5, 5), ((70, 8), 3, 4)],
)
def test_search_matches_naive_across_tiles(size, radius, k):
    settings = SearchSettings(radius=radius, k=k)
    assert_array_equal(*exact(noise(1, *size), noise(2, *size), settings))


def test_search_matches_naive_in_the_widest_window():
    assert_array_equal(*exact(noise(3, 3, 5), noise(4, 3, 5), SearchSettings(radius=31, k=8)))


@pytest.mark.parametrize("truncation", [0, 1, 40, 255])
@pytest.mark.parametrize("penalty", [0, 2, 100])
def test_tiny_search_matches_naive_under_every_cost(truncation, penalty):
    settings = SearchSettings(radius=2, k=4, truncation=truncation, penalty=penalty)
    assert_array_equal(*exact(noise(5, 6, 7), noise(6, 6, 7), settings))


def test_largest_cost_fits_in_a_key():
    black, white = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    settings = SearchSettings(radius=31, k=63**2, truncation=255, penalty=matching.MAX_PENALTY)
    found, twin = exact(black, white, settings)
    assert_array_equal(found, twin)
    assert MatchField(found, 31).costs.max() == 64 * 255 + 62 * matching.MAX_PENALTY


def test_equal_costs_come_in_raster_order():
    flat = matching.make_guide(np.full((8, 8), 77, np.uint8))
    found = matching.search(flat, flat, SearchSettings(radius=1, k=9, penalty=0))
    assert_array_equal(found.keys[:, 0, 0], np.arange(9))


def test_a_guide_finds_itself():
    guide = matching.make_guide(noise(8, 21, 66))
    found = matching.search(guide, guide, SearchSettings(radius=4, k=2))
    assert not found.offsets[0].any()
    assert not found.costs[0].any()
    assert found.costs[1].all()


@pytest.mark.parametrize("previous", [False, True])
def test_keys_ascend_and_never_repeat(previous):
    query, reference = (matching.make_guide(noise(seed, 37, 70, top=60)) for seed in (9, 10))
    settings = SearchSettings(radius=5, k=6)
    found = matching.search(query, reference, settings)
    if previous:
        found = matching.search(query, reference, settings, previous=found, seed=3)
    assert (np.diff(found.keys.astype(np.int64), axis=0) > 0).all()


def test_a_constant_on_both_changes_nothing():
    query, reference = noise(11, 20, 33, top=150), noise(12, 20, 33, top=150)
    settings = SearchSettings(radius=3, k=3)
    found = matching.search(matching.make_guide(query), matching.make_guide(reference), settings)
    lifted = matching.search(matching.make_guide(query + 100), matching.make_guide(reference + 100), settings)
    assert_array_equal(found.keys, lifted.keys)


@pytest.mark.parametrize("shift", [(0, 5), (-5, 0), (3, -4), (5, 5)])
def test_a_moved_frame_is_found(shift):
    scene = noise(13, 60, 90)
    dy, dx = shift
    query, reference = scene[8:52, 8:82], scene[8 - dy : 52 - dy, 8 - dx : 82 - dx]
    guides = [matching.make_guide(np.ascontiguousarray(part), suppress=0) for part in (query, reference)]
    found = matching.search(*guides, SearchSettings(radius=5, penalty=2))
    inner = found.offsets[0, 3:-3, 3:-3]  # patches whose match lies inside the frame
    assert_array_equal(inner, np.broadcast_to(shift, inner.shape))
    assert (found.costs[0, 3:-3, 3:-3] == 2 * (abs(dy) + abs(dx))).all()


def test_one_thread_gives_what_many_give():
    query, reference = (matching.make_guide(noise(seed, 70, 130)) for seed in (14, 15))
    settings = SearchSettings(radius=4, k=3)

    def both():
        first = matching.search(query, reference, settings)
        return first.keys, matching.search(reference, query, settings, previous=first, seed=5).keys, query.padded

    many, before = both(), numba.get_num_threads()
    numba.set_num_threads(1)
    one = both()
    numba.set_num_threads(before)
    for left, right in zip(many, one, strict=True):
        assert_array_equal(left, right)


# --- more places than candidates ---
def test_missing_matches_are_marked_and_survive():
    query, reference = (matching.make_guide(noise(seed, 9, 14)) for seed in (16, 17))
    settings = SearchSettings(radius=1, k=12)
    found = matching.search(query, reference, settings)
    assert (found.keys[:9] != kernels.NO_MATCH).all()
    assert (found.keys[9:] == kernels.NO_MATCH).all()
    assert found.offsets.shape == (12, 3, 4, 2)
    again = matching.search(query, reference, settings, previous=found, seed=1)
    assert_array_equal(again.keys, found.keys)  # nine candidates around zero are the whole window


def test_a_field_without_any_match_is_a_cut_and_survives():
    guide = matching.make_guide(noise(18, 9, 14))
    settings = SearchSettings(radius=2, k=2)
    nothing = MatchField(np.full((2, 3, 4), kernels.NO_MATCH, np.uint32), 2)
    assert matching.is_cut(nothing, settings)
    again = matching.search(guide, guide, settings, previous=nothing, seed=1)
    assert not again.offsets[0].any()


# --- reuse ---
def a_pair():
    return matching.make_guide(noise(19, 70, 130, top=90)), matching.make_guide(noise(20, 70, 130, top=90))


@pytest.mark.parametrize("seed", [0, 1, 70_000, 2**31])
def test_reuse_keys_are_true_and_never_beat_exact(seed):
    query, reference = a_pair()
    settings = SearchSettings(radius=6, k=3)
    start = matching.search(reference, query, settings)
    found = matching.search(query, reference, settings, previous=start, seed=seed)
    best = matching.search(query, reference, settings)
    assert (found.keys.astype(np.int64) >= best.keys).all()
    pictures = picture_of(query), picture_of(reference)
    for place, row, column in np.random.default_rng(seed).integers(0, (3, *found.keys.shape[1:]), (60, 3)):
        dy, dx = (int(v) for v in found.offsets[place, row, column])
        expected = naive.match_cost(*pictures, (row, column), (dy, dx), settings.truncation, settings.penalty)
        assert found.costs[place, row, column] == expected


def test_same_seed_same_answer_and_another_seed_another():
    query, reference = a_pair()
    settings = SearchSettings(radius=12, k=4)
    start = matching.search(reference, query, settings)
    first, again, other = (matching.search(query, reference, settings, previous=start, seed=s).keys for s in (4, 4, 5))
    assert_array_equal(first, again)
    assert (first != other).any()


def test_reuse_keeps_the_exact_answer_of_a_still_scene():
    query = matching.make_guide(smooth(0, 70, 130))
    settings = SearchSettings(radius=6)
    field = best = matching.search(query, query, settings)
    for number in range(5):
        field = matching.search(query, query, settings, previous=field, seed=number)
    assert_array_equal(field.keys, best.keys)


@pytest.mark.parametrize("shift", [(5, -7), (-8, 8), (0, 3)])
def test_reuse_reaches_the_exact_answer_from_a_wrong_start(shift):
    scene = smooth(1, 90, 150)
    dy, dx = shift
    query = matching.make_guide(np.ascontiguousarray(scene[10:80, 10:140]))
    reference = matching.make_guide(np.ascontiguousarray(scene[10 - dy : 80 - dy, 10 - dx : 140 - dx]))
    settings = SearchSettings(radius=8)
    best = matching.search(query, reference, settings)
    field = MatchField(np.zeros_like(best.keys), settings.radius)  # everything points to the far corner
    for number in range(4):
        field = matching.search(query, reference, settings, previous=field, seed=number)
    moved = (best.offsets[0] == shift).all(axis=-1)
    assert moved.mean() > 0.7
    assert_array_equal(field.keys[0][moved], best.keys[0][moved])


@pytest.mark.parametrize(
    "settings",
    [
        SearchSettings(radius=1, winners=2),
        SearchSettings(radius=4, winners=3, truncation=255),
        SearchSettings(radius=9, winners=2, reach=2),
        SearchSettings(radius=19, winners=0, probes=0),
        SearchSettings(radius=13, reach=0, truncation=3),
    ],
    ids=lambda settings: f"radius{settings.radius}",
)
def test_tiny_proposals_hold_what_they_must(settings):
    side = 2 * settings.radius + 1
    query, reference = (matching.make_guide(noise(seed, 37, 66)) for seed in (22, 23))
    keys = np.random.default_rng(24).integers(0, side * side, (2, 10, 17)).astype(np.uint32)  # cells in four tiles
    keys[1, ::3] = kernels.NO_MATCH
    candidates, counts = matching._proposals(query, reference, MatchField(keys, settings.radius), settings, 70_000)
    assert len(counts) == 4
    for tile, count in enumerate(counts):
        tried = candidates[tile, :count].tolist()
        assert len(set(tried)) == count
        assert min(tried) >= 0
        assert max(tried) < side * side
        corner = tile // 2 * kernels.TILE_ROWS, tile % 2 * kernels.TILE_COLS
        previous = keys & kernels.INDEX_MASK
        must = naive.proposals(picture_of(query), picture_of(reference), previous, settings, corner)
        assert tried[: len(must)] == must
        assert len(tried) - len(must) <= settings.probes


# --- what the public function checks ---
def test_is_cut_tells_strangers_from_neighbours():
    settings = SearchSettings(radius=4)
    scene = smooth(2, 64, 96)
    guides = [matching.make_guide(np.ascontiguousarray(part)) for part in (scene[:60, :90], scene[2:62, 3:93])]
    stranger = matching.make_guide(noise(21, 60, 90))
    assert not matching.is_cut(matching.search(*guides, settings), settings)
    assert matching.is_cut(matching.search(guides[0], stranger, settings), settings)


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"radius": 0}, "radius is 0"),
        ({"radius": 32}, "radius is 32"),
        ({"k": 0}, "k 0"),
        ({"truncation": 256}, "truncation 256"),
        ({"truncation": -1}, "truncation -1"),
        ({"penalty": -1}, "penalty -1"),
        ({"penalty": matching.MAX_PENALTY + 1}, "penalty"),
    ],
)
def test_settings_out_of_range(change, problem):
    with pytest.raises(ValueError, match=problem):
        replace(SearchSettings(), **change)


def test_guides_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="query is 8x8, reference 8x9"):
        matching.search(*(matching.make_guide(noise(0, 8, width)) for width in (8, 9)), SearchSettings())


@pytest.mark.parametrize("shape, radius", [((1, 2, 3), 4), ((1, 2, 2), 5)])
def test_a_previous_field_that_does_not_fit_is_refused(shape, radius):
    guide = matching.make_guide(noise(0, 8, 8))
    previous = MatchField(np.zeros(shape, np.uint32), radius)
    with pytest.raises(ValueError, match="another size or radius"):
        matching.search(guide, guide, SearchSettings(radius=4), previous=previous)


@pytest.mark.slow
def test_tiny_cases_pass_without_the_compiler():
    files = [str(ROOT / "tests" / f"test_{name}.py") for name in ("matching", "companions", "rain")]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-W", "error::RuntimeWarning", *files]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [*command, "-k", "tiny and not compiler"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
