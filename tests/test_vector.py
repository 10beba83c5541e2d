"""What is written in vectors: equal to the plain bodies that run without the compiler."""
import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_array_equal

from streamderain.core import kernels_vector
from streamderain.core.kernels_vector import BLOCKS, CELL, SPAN


@njit
def compiled_costs(query, place, reference, moved, stride, truncation, out):
    kernels_vector.patch_costs(query, place, reference, moved, stride, truncation, out)


@njit
def compiled_copy(source, begin, target, at):
    kernels_vector.copy_cell_row(source, begin, target, at)


@pytest.mark.parametrize("values", [(0, 256), (0, 2), (255, 256)])
@pytest.mark.parametrize("truncation", [0, 1, 40, 63, 64, 255])
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_patch_costs_are_those_of_the_plain_body(rows, truncation, values):
    rng = np.random.default_rng(rows + truncation)
    stride = SPAN + 13  # odd, so that no row begins where the one above did
    query, reference = (rng.integers(*values, (rows + 1) * CELL * stride + SPAN, dtype=np.uint8) for _ in range(2))
    arguments = (query, 3, reference, 11, stride, np.uint8(truncation))
    plain, fast = (np.full((rows, BLOCKS), 7, np.uint32) for _ in range(2))
    kernels_vector.patch_costs(*arguments, plain)
    compiled_costs(*arguments, fast)
    assert_array_equal(fast[:, :-1], plain[:, :-1])
    assert fast[:, :-1].any() or truncation == 0 or values == (255, 256)


def test_the_largest_cost_is_not_clipped():
    dark, light = (np.full(2 * CELL * SPAN + SPAN, code, np.uint8) for code in (0, 255))
    out = np.empty((1, BLOCKS), np.uint32)
    compiled_costs(dark, 0, light, 0, SPAN, np.uint8(255), out)
    assert (out[0, :-1] == 64 * 255).all()


@pytest.mark.parametrize("begin, at", [(0, 0), (1, 2), (5, 3), (12, 12)])
def test_a_cell_row_is_copied_from_anywhere_to_anywhere(begin, at):
    source = np.arange(16, dtype=np.uint8)
    plain, fast = np.full(16, 99, np.uint8), np.full(16, 99, np.uint8)
    kernels_vector.copy_cell_row(source, begin, plain, at)
    compiled_copy(source, begin, fast, at)
    assert_array_equal(fast, plain)
    assert_array_equal(fast[at : at + CELL], source[begin : begin + CELL])
    assert (np.delete(fast, np.s_[at : at + CELL]) == 99).all()
