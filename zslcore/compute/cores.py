"""How many jobs run side by side on this machine, and computing with one thread; importable without torch."""

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from zslcore.errors import ZSLError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

HEAP = (
    ("MALLOC_ARENA_MAX", -8, 1),
    ("MALLOC_MMAP_THRESHOLD_", -3, 2**25),
    ("MALLOC_TRIM_THRESHOLD_", -1, 2**29),
)
"""Of glibc: the variable, its number in malloc.h, its value. Bytes: from which on memory is mapped by itself, at most
32 MiB; and that may lie free at the heap's end."""


def at_once() -> int:
    """How many jobs run side by side: ZSL_JOBS, else as many as this process may use cores (affinity, cgroup).

    1 in a worker: what a job starts, it does itself. Raises ZSLError where ZSL_JOBS is no whole number of at least 1.
    """
    asked = os.environ.get("ZSL_JOBS", "").strip()
    if asked and not (asked.isascii() and asked.isdigit() and int(asked) >= 1):
        raise ZSLError(
            f"--jobs (or ZSL_JOBS) is '{asked}'; give how many fits run at once, at least 1: by default one a core"
        )
    if multiprocessing.parent_process() is not None:
        return 1
    if asked:
        return int(asked)
    from joblib import cpu_count

    return int(cpu_count())


def one_heap() -> None:
    """Give all threads one heap of glibc's that holds on to what was freed; elsewhere, do nothing.

    Else large tensors, and all of a thread's, go back to the system when they are freed, and their pages are faulted in
    once more by the next step: a quarter of a pass through a network, a sixth of a training step at the papers' widths.
    Call it before there are threads. What the environment says (MALLOC_ARENA_MAX and so on) goes first.
    """
    for name, option, value in HEAP:
        if name not in os.environ:
            with suppress(AttributeError, OSError, TypeError):  # another C library
                ctypes.CDLL(None).mallopt(option, value)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with a single thread, in numpy and in torch: what comes out does not depend on the number of cores.

    Whoever computes with torch inside has imported it before: it takes seconds, and some jobs need none of it.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        with _pools(len(sys.modules)).limit(limits=1):
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _pools(modules: int) -> "ThreadpoolController":
    """The libraries that compute with threads, looked for (3 ms) whenever more modules have been imported."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
