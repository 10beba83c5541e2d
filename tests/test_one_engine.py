"""Every network becomes one TensorRT engine, without a GPU: export, lowering, partition and build are the product's.

What this does not show: whether the engine computes the right thing on a GPU, and how fast. The lowered graph is
compared with eager in torch, on the CPU; the engine itself is only built and serialised (that there is one part and
nothing left outside is checked on the way). A drawn frame beside eager shows the rest wherever an engine is first used.
"""
from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parent / "one_engine_build.py"
SLOW = ("realtime", "quality", "nlcl", "unconvertible")
WIDEST = {"min": (64, 64), "opt": (1088, 1920), "max": (2176, 4096)}

pytestmark = pytest.mark.skipif(
    find_spec("torch_tensorrt") is None, reason="torch-tensorrt-rtx is not installed; it exists for Linux on x86-64"
)


@cache
def build(*names):
    """What one_engine_build.py reports of each; one process for several, because importing takes the longest."""
    done = subprocess.run([sys.executable, str(BUILD), *names], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {name: report for line in lines for name, report in line.items()}


@pytest.mark.parametrize("name", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW[:-1])])
def test_one_engine_holds_the_whole_network_in_fp16_at_every_size(name):
    report = build(*(SLOW if name in SLOW else (name,)))[name]
    channels, place = (3, 1) if name == "nlcl" else (48, 2)
    assert report["dtype"] == "dtype.f16"
    assert report["shapes"] == [[1, channels, *(side // place for side in sides)] for sides in WIDEST.values()]
    # of halves: NLCL's norms are computed in another order, the profiles have none
    assert report["error"] <= (4e-3 if name == "nlcl" else 0.0)
    assert report["spread"] > 0.01  # there was something to compare
    assert report["bytes"] > 2 * report["parameters"]  # every weight is in it, and none as more than a half's bytes
    assert report["bytes"] < 20 * report["parameters"]


@pytest.mark.slow
def test_one_engine_is_not_made_of_what_tensorrt_cannot_do():
    assert "not fully supported" in build(*SLOW)["unconvertible"]["refused"]
