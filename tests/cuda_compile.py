"""Compiles every CUDA kernel for an H100 and prints what the assembler says of it; needs the compiler and no GPU.

test_cuda.py runs this. Arguments: the assembler, and a folder for its files.
"""
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numba.cuda.dispatcher
from numba import cuda, float32, int32, types, uint8, uint16, uint32

from streamderain.core import kernels_cuda, kernels_cuda_frame, kernels_cuda_proposals

H100 = (9, 0)
numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=H100)  # asked for functions


def array(dtype, dimensions, layout="C"):
    return types.Array(dtype, dimensions, layout)


def signatures():
    """Kernels with the types that cuda_search.py and cuda_frame.py give them for NV12, and with 16-bit planes."""
    words, rgb, keys, turn = array(uint32, 2), array(uint8, 3), array(uint32, 3), types.UniTuple(int32, 6)
    luma, chroma, deep, rain = array(uint8, 2), array(uint8, 2, "A"), array(uint16, 2), array(float32, 3, "A")
    matrix, curve, tables, numbers = array(float32, 2), array(float32, 1), array(int32, 1), [int32] * 9
    search, frame = kernels_cuda, kernels_cuda_frame
    lists, planes = (array(int32, 2), array(int32, 1)), types.Tuple((luma, chroma, chroma))
    yield search.guide_blocks, (luma, *numbers[:2], words, luma)
    yield kernels_cuda_proposals.propose, (luma, luma, keys, *numbers[:6], uint32, *lists)
    for k in (1, 8):
        yield search.match_tiles(k), (words, words, *numbers[:4], *lists, keys, array(int32, 2))
    shown = (array(uint8, 1), int32, turn, rgb, luma)
    yield frame.show_yuv, (luma, chroma, chroma, int32, int32, matrix, float32, *shown)
    yield frame.show_rgb, (deep, deep, deep, array(uint8, 1), int32, *shown[1:])
    yield frame.gain_yuv, (deep, deep, deep, int32, int32, matrix, float32, curve, turn, rain, array(float32, 3))
    yield frame.gain_rgb, (deep, deep, deep, curve, turn, rain, array(float32, 3))
    yield frame.subtract_levels, (planes, int32, int32, int32, matrix, turn, rain, int32, planes)
    yield frame.fill_blocks, (rgb, rgb, keys, rgb, keys, luma, int32, int32, tables, tables, tables, words)


def main(assembler, folder):
    for kernel, signature in signatures():
        code, _ = cuda.compile_ptx(kernel.py_func, signature, cc=H100)
        source = Path(folder) / "kernel.ptx"
        source.write_text(code)
        command = [assembler, "-v", "-arch=sm_90", source, "-o", source.with_suffix(".cubin")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        found = {name: int(n) for n, name in re.findall(r"(\d+) (bytes stack|bytes spill stores|registers)", said)}
        print(json.dumps({"kernel": kernel.py_func.__name__, "fused": code.count("fma.rn.f32"), **found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
