"""Threads of a command take memory from one heap, whose pages stay where they are between a network's passes.

And a computation has one thread, whichever libraries there are by then.
"""

import ctypes
import os
import subprocess
import sys

import pytest

THREADS_ALLOCATE = """
import ctypes, sys, threading
from zslcore.compute.cores import one_heap

if sys.argv[1] == "one":
    one_heap()
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
allocate = lambda: c.malloc(100_000)
threads = [threading.Thread(target=allocate) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
c.malloc_stats()
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="not glibc's")
@pytest.mark.parametrize(
    ("heaps", "limit", "several"),
    [("one", {}, False), ("one", {"MALLOC_ARENA_MAX": "8"}, True), ("each its own", {}, True)],
)
def test_threads_share_a_heap(heaps: str, limit: dict[str, str], several: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | limit
    command = [sys.executable, "-c", THREADS_ALLOCATE, heaps]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr
    assert "Arena 0" in said
    assert ("Arena 1" in said) == several


FREED = """
import ctypes, sys
from zslcore.compute.cores import one_heap

if sys.argv[1] == "one":
    one_heap()
c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for large in [c.malloc(20_000_000) for _ in range(4)]:
    c.free(large)
c.malloc_stats()
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="not glibc's")
@pytest.mark.parametrize(
    ("heap", "limit", "holds"),
    [
        ("one", {}, True),
        ("one", {"MALLOC_TRIM_THRESHOLD_": "0"}, False),
        ("one", {"MALLOC_MMAP_THRESHOLD_": "1000000"}, False),
        ("as it is", {}, False),
    ],
)
def test_the_heap_holds_on_to_what_was_freed(heap: str, limit: dict[str, str], holds: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | limit
    command = [sys.executable, "-c", FREED, heap]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr
    system = int(said.split("system bytes")[-1].split("=")[1].split()[0])
    assert (system > 80_000_000) == holds


LIBRARIES = """
import sys
import numpy
from threadpoolctl import threadpool_info
from zslcore.compute.cores import one_thread

def threads():
    with one_thread():
        return {(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()}

first = threads()
import scipy.linalg, sklearn.cluster, zslcore.datasets.birds.source as birds
assert len(threads()) > len(first) > 0
assert {number for _, number in threads() | first} == {1}
birds.draw_birds(classes=2, images_per_class=1, unseen=0, side=32)
assert "torch" not in sys.modules, "drawing takes seconds longer"
"""


def test_one_thread_is_of_libraries_imported_later_too_and_imports_none() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", LIBRARIES], env=environment, check=True)
