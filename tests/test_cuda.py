"""The CUDA kernels and stages: on Numba's simulator anywhere, on a GPU where there is one, and through the compiler.

Each in a process of its own, because Numba decides about the simulator when it is imported.
"""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ["tests/cuda_kernels.py", "tests/cuda_path.py"]


def run_tests(marks, **variables):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", marks, *FILES]
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"} | variables
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


def test_on_the_simulator():
    run_tests("not slow", NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.slow
def test_more_on_the_simulator():
    run_tests("slow", NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.gpu
def test_on_a_gpu():
    run_tests("slow or not slow")


@pytest.mark.slow
def test_every_kernel_compiles_for_a_gpu(tmp_path):
    """In registers alone, no stack and nothing spilt, and no product fused with a sum; how fast it is it cannot say."""
    found = importlib.util.find_spec("nvidia.cuda_nvcc") if importlib.util.find_spec("nvidia") else None
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package nvidia-cuda-nvcc-cu12, NVIDIA's compiler, is not installed")
    home = Path(found.submodule_search_locations[0])
    places = {"CUDA_HOME": str(home), "LD_LIBRARY_PATH": str(home / "nvvm" / "lib64")}  # of its tables, and of itself
    environment = os.environ | places | {"NUMBA_ENABLE_CUDASIM": "0"}
    command = [sys.executable, "tests/cuda_compile.py", str(home / "bin" / "ptxas"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kernels) == 10
    for kernel in kernels:
        assert (kernel["bytes stack"], kernel["bytes spill stores"], kernel["fused"]) == (0, 0, 0), kernel
        assert kernel["registers"] <= 96, kernel
