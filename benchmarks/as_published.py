"""Time the published NLCL generator the way its authors run it, in a process without our settings, and then with them.

    python benchmarks/as_published.py

`streamderain bench` times it inside our command, where freed memory is kept (streamderain/cli/memory.py) and OpenMP
waits passively; the published network, whose layers are large, gains most from the first.
"""
from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from streamderain.core.generators import ResidualGenerator

RUNS = 5
SIZE = (480, 640)


def main() -> None:
    """Print milliseconds of one 640x480 frame, eager in fp32, before and after our command is imported."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    network, frame = ResidualGenerator().eval(), torch.rand(1, 3, *SIZE) * 2 - 1
    with torch.inference_mode():
        network(frame[..., :64, :64])
        print(f"a process of its own: {_median_ms(lambda: network(frame)):.0f} ms")
        import streamderain.cli  # its settings hold for the process

        assert streamderain.cli.main is not None
        print(f"with freed memory kept: {_median_ms(lambda: network(frame)):.0f} ms")


def _median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - begun))
    return median(times)


if __name__ == "__main__":
    main()
