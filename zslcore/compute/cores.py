"""How many jobs run side by side on this machine, and computing with one thread; importable without torch."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager

from zslcore.errors import ZSLError


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


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with a single thread, in torch and in numpy: what comes out does not depend on the number of cores."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
