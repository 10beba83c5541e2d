"""What has to be said in words and vectors: the innermost loop of the patch search, and the copy of a cell's row.

LLVM's own vectoriser keeps the sums of the search in memory and asks each time whether its arrays overlap. Said in
vectors, everything between two loads and one store stays in registers, on any processor that LLVM knows (one AVX-512
register, two AVX2 or four NEON registers for a row of a tile).
"""
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

CELL = 4
BLOCKS = 16  # in a row of a tile: one more than cells, since a cell's patch is two blocks wide
SPAN = BLOCKS * CELL  # pixels of a row: 64 bytes

_BYTES = ir.VectorType(ir.IntType(8), SPAN)
_SUMS = ir.VectorType(ir.IntType(32), BLOCKS)
_LANES = ir.VectorType(ir.IntType(32), SPAN)


def patch_costs(query, place, reference, moved, stride, truncation, out):  # type: ignore[no-untyped-def]
    """Fill out (rows, BLOCKS) with the truncated absolute differences of the rows' patches; the last column is void.

    query and reference are flat uint8 arrays of one stride, place and moved where the tile begins in each; out is
    C-contiguous uint32. A patch is two blocks of CELL x CELL pixels wide and high. This body is what runs without
    the compiler; compiled code takes _vector_costs.
    """
    rows = out.shape[0] + 1
    steps = np.arange(rows * CELL)[:, None] * stride + np.arange(SPAN)
    difference = np.abs(query[place + steps].astype(np.int64) - reference[moved + steps])
    blocks = np.minimum(difference, truncation).reshape(rows, CELL, BLOCKS, CELL).sum((1, 3))
    pairs = blocks[:-1] + blocks[1:]
    out[:] = pairs
    out[:, :-1] += pairs[:, 1:].astype(np.uint32)


@overload(patch_costs)
def _patch_costs(query, place, reference, moved, stride, truncation, out):  # type: ignore[no-untyped-def]
    def call(query, place, reference, moved, stride, truncation, out):  # type: ignore[no-untyped-def]
        _vector_costs(query, place, reference, moved, stride, truncation, out)  # type: ignore[call-arg]

    return call


@intrinsic
def _vector_costs(context, query, place, reference, moved, stride, truncation, out):  # type: ignore[no-untyped-def]
    signature = types.void(query, types.intp, reference, types.intp, types.intp, types.uint8, out)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        query, reference, out = (
            context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 2, 6)
        )
        write = _Writer(builder, arguments[4], _splatted(builder, arguments[5]))
        begins = builder.gep(query.data, [arguments[1]]), builder.gep(reference.data, [arguments[3]])
        upper = cgutils.alloca_once_value(builder, write.block_row(*begins, ir.Constant(ir.IntType(64), 0)))
        rows = cgutils.unpack_tuple(builder, out.shape, 2)[0]
        with cgutils.for_range(builder, rows) as loop:
            lower = write.block_row(*begins, builder.add(loop.index, ir.Constant(loop.index.type, 1)))
            pairs = builder.add(builder.load(upper), lower)
            builder.store(lower, upper)
            write.store_sums(builder.add(pairs, write.next_lanes(pairs)), out.data, loop.index)
        return context.get_dummy_value()

    return signature, generate


def copy_cell_row(source, begin, target, at):  # type: ignore[no-untyped-def]
    """Copy CELL bytes of one flat uint8 array from begin on into another from at on, as one word."""
    target[at : at + CELL] = source[begin : begin + CELL]


@overload(copy_cell_row)
def _copy_cell_row(source, begin, target, at):  # type: ignore[no-untyped-def]
    def call(source, begin, target, at):  # type: ignore[no-untyped-def]
        _copy_word(source, begin, target, at)  # type: ignore[call-arg]

    return call


@intrinsic
def _copy_word(context, source, begin, target, at):  # type: ignore[no-untyped-def]
    signature = types.void(source, types.intp, target, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(8 * CELL).as_pointer()
        ends = []
        for number in (0, 2):
            array = context.make_array(signature.args[number])(context, builder, arguments[number])
            ends.append(builder.bitcast(builder.gep(array.data, [arguments[number + 1]]), word))
        loaded = builder.load(ends[0])
        loaded.align = 1
        builder.store(loaded, ends[1]).align = 1
        return context.get_dummy_value()

    return signature, generate


class _Writer:
    """Writes vector instructions for one pair of images."""

    def __init__(self, builder: ir.IRBuilder, stride: Any, truncation: Any) -> None:
        self._builder, self._stride, self._truncation = builder, stride, truncation

    def block_row(self, query: Any, reference: Any, number: Any) -> Any:
        """The sums of BLOCKS neighbouring blocks in the number-th row of blocks, as 32-bit lanes."""
        build = self._builder
        first = build.mul(build.mul(number, self._stride), ir.Constant(number.type, CELL))
        total = ir.Constant(_SUMS, [0] * BLOCKS)
        for row in range(CELL):
            step = build.add(first, build.mul(self._stride, ir.Constant(number.type, row)))
            total = build.add(total, self._pair_sums(self._difference(query, reference, step)))
        folded = build.add(total, build.lshr(total, _constant(16)))  # 8 pixels x 255 fit in 16 bits
        return build.and_(folded, _constant(0xFFFF))

    def store_sums(self, sums: Any, out: Any, row: Any) -> None:
        build = self._builder
        place = build.gep(out, [build.mul(row, ir.Constant(row.type, BLOCKS))])
        build.store(sums, build.bitcast(place, _SUMS.as_pointer())).align = CELL

    def next_lanes(self, sums: Any) -> Any:
        """Each lane's right neighbour; the last keeps itself."""
        order = [min(lane + 1, BLOCKS - 1) for lane in range(BLOCKS)]
        return self._builder.shuffle_vector(sums, sums, ir.Constant(_SUMS, order))

    def _difference(self, query: Any, reference: Any, step: Any) -> Any:
        """Truncated absolute difference of SPAN bytes."""
        here, there = self._bytes(query, step), self._bytes(reference, step)
        distance = self._builder.sub(self._extreme(">", here, there), self._extreme("<", here, there))
        return self._extreme("<", distance, self._truncation)

    def _extreme(self, order: str, a: Any, b: Any) -> Any:
        return self._builder.select(self._builder.icmp_unsigned(order, a, b), a, b)

    def _bytes(self, base: Any, step: Any) -> Any:
        place = self._builder.bitcast(self._builder.gep(base, [step]), _BYTES.as_pointer())
        loaded = self._builder.load(place)
        loaded.align = 1
        return loaded

    def _pair_sums(self, values: Any) -> Any:
        """Sums of neighbouring bytes in 16 bits, two in each 32-bit lane."""
        build, low = self._builder, _constant(0x00FF00FF)
        lanes = build.bitcast(values, _SUMS)
        return build.add(build.and_(lanes, low), build.and_(build.lshr(lanes, _constant(8)), low))


def _splatted(builder: ir.IRBuilder, value: Any) -> Any:
    """A byte in all lanes."""
    nothing = ir.Constant(_BYTES, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(_LANES, [0] * SPAN))


def _constant(value: int) -> Any:
    return ir.Constant(_SUMS, [value] * BLOCKS)
