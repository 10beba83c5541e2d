"""The command line keeps the memory of frames for the next frame."""
import subprocess
import sys
from types import SimpleNamespace

import pytest

from streamderain.cli import memory

FAULTS = """
import ctypes, resource, sys
if sys.argv[1] == "keep":
    import streamderain.cli
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def frame():
    place = malloc(48 << 20)
    ctypes.memset(place, 1, 48 << 20)
    free(place)
frame()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    frame()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def glibc():
    return sys.platform.startswith("linux") and hasattr(memory.ctypes.CDLL(None), "mallopt")


@pytest.mark.skipif(not glibc(), reason="another allocator than glibc's")
def test_a_frame_s_memory_is_not_cleared_anew_for_the_next():
    def faults(how):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") < 100 < faults("leave")


def test_other_systems_and_allocators_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: SimpleNamespace())
    memory.keep_freed_memory()  # no mallopt
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("looked for glibc"))
    memory.keep_freed_memory()
