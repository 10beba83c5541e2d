"""Numba and torch share the machine's cores, and several processes that train on one machine share them too."""
import subprocess
import sys
from textwrap import dedent

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from training import python_path

from streamderain.core import threads
from streamderain.trainers import distributed

SEARCH = """
    import numpy as np, torch, numba
    from streamderain.core import matching
    from streamderain.core.matching import SearchSettings
    from streamderain.trainers.distributed import share_cores
    {first}
    guide = matching.make_guide(np.zeros((32, 32), np.uint8))
    matching.search(guide, guide, SearchSettings())
    print(torch.get_num_threads(), numba.get_num_threads())
"""
FORKED = """
    import os, sys, numpy as np, numba
    from streamderain import Derainer
    from streamderain.errors import DerainError
    black = np.zeros((16, 16, 3), np.uint8)
    used = Derainer(profile="tiny", device="cpu")
    used(black)
    child = os.fork()
    if not child:
        for work in (lambda: used(black), lambda: Derainer(profile="tiny", device="cpu")):
            try:
                work()
            except DerainError as error:
                print(error, flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1], numba.threading_layer())
"""


def test_no_more_threads_than_asked_for_and_as_before_afterwards():
    before = threads.started()
    with threads.at_most(1):
        assert numba.get_num_threads() == 1
    with threads.at_most(before + 3):
        assert numba.get_num_threads() == before
    assert numba.get_num_threads() == before


def test_the_kernel_that_starts_them_fills_what_it_is_given():
    out = np.full(5, 9.0)
    threads._spread(out)
    assert_array_equal(out, np.arange(5))


@pytest.mark.parametrize("processes, share", [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_a_process_keeps_its_share_of_the_cores_after_a_search(processes, share):
    code = dedent(SEARCH.format(first=f"share_cores({processes})"))
    env = python_path() | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "4"}  # as torchrun has it on four cores
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(share)] * 2


@pytest.mark.parametrize("local, sharing", [("3", 3), (None, 6)])
def test_a_run_shares_a_machine_among_those_of_its_processes_that_run_there(local, sharing, monkeypatch):
    environment = {"WORLD_SIZE": "6"} | ({"LOCAL_WORLD_SIZE": local} if local else {})
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shared = []
    monkeypatch.setattr(distributed, "share_cores", shared.append)
    for name in ("init_process_group", "get_rank", "destroy_process_group"):
        monkeypatch.setattr(distributed.distributed, name, lambda *_: 0)
    with distributed.joined("cpu") as (world, device):
        assert (world.size, device) == (6, "cpu")
    assert shared == [sharing]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's OpenMP")
def test_a_process_forked_after_the_kernels_ran_is_told_and_not_ended():
    done = subprocess.run([sys.executable, "-c", dedent(FORKED)], env=python_path(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *told, end = done.stdout.splitlines()
    status, layer = end.split()
    assert status == "0"
    if layer == "omp":
        assert len(told) == 2
        assert all("forked" in line and "get_context('spawn')" in line for line in told)
