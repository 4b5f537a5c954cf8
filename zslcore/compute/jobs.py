"""Independent jobs side by side, in worker processes here or on a Ray cluster: the same bytes on any number of cores.

Each job computes with one thread, so that no sum depends on how many cores there are, and no layer waits for a thread
that a busy machine has put aside. How many jobs run at once decides how fast, never what comes out.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from zslcore.compute.cluster import as_zsl_error, connect, worker_capacity
from zslcore.compute.cores import at_once, one_thread
from zslcore.errors import ZSLError
from zslcore.progress import progress

if TYPE_CHECKING:
    import torch

EngineName = Literal["local", "ray"]
Job = tuple[str, tuple[Any, ...]]
"""The name of the shared object that a job gets, and its other arguments."""
RETRIES = 3
"""Times that jobs are begun again after their worker died."""
CONTEXT = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
"""A fork starts in milliseconds, where a new interpreter imports torch for seconds, and shares what is in memory."""
DIES_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""


def in_order(
    what: str, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], device: "torch.device | str" = "cpu"
) -> Iterator[Any]:
    """Yield function(*arguments) of each job, in their order, while they run side by side; with a progress bar.

    what: is computed, for the bar. function: a partial has what all jobs share, which no worker gets a copy of (but
    where processes can't be forked). device: where the jobs compute; on a GPU there is one at a time.
    Raises as `run_jobs`.
    """
    done: dict[int, Any] = {}
    gpus = int(str(device) != "cpu" and _computes_on_gpu(str(device)))
    with progress(what, len(jobs)) as advance:
        found = run_jobs(_apply, {"": function}, [("", arguments) for arguments in jobs], gpus=gpus)
        for position in range(len(jobs)):
            while position not in done:
                ended, result = next(found)
                done[ended] = result
                advance()
            yield done.pop(position)


def _computes_on_gpu(device: str) -> bool:
    from zslcore.training.device import resolve_device  # brings torch, which takes seconds

    return resolve_device(device).type != "cpu"


def _apply(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def run_jobs(
    function: Callable[..., Any],
    shared: Mapping[str, Any],
    jobs: Sequence[Job],
    engine: EngineName = "local",
    address: str | None = None,
    gpus: int = 0,
) -> Iterator[tuple[int, Any]]:
    """Yield (position of the job, function(shared object, *arguments)) as jobs end, in any order.

    Here, `at_once` jobs run side by side, each in a worker process that ends with this one; on a cluster (`address`, as
    in `cluster.connect`), as many as it has processors. gpus: of each job, 0 or 1; here one such job runs at a time.
    A job whose worker dies is begun again. Stopping the iteration, Ctrl-C included, ends the workers at once.
    Raises what a job raises, from a cluster as a ZSLError; also ZSLError when the cluster cannot be reached or has no
    machine that large, or when workers keep dying.
    """
    if engine == "ray":
        if jobs:
            yield from _on_ray(function, shared, jobs, address, gpus)
        return
    workers = 1 if gpus else min(at_once(), len(jobs))
    if workers > 1:
        yield from _side_by_side(function, shared, jobs, workers)
        return
    for position, (name, arguments) in enumerate(jobs):
        with one_thread():
            result = function(shared[name], *arguments)
        yield position, result


_work: tuple[Callable[..., Any], Mapping[str, Any]]
"""In a worker: the function of its jobs, and what they share."""


def _begin(function: Callable[..., Any], shared: Mapping[str, Any], parent: int) -> None:
    """In a new worker: end with the parent, and leave Ctrl-C to it."""
    global _work
    _work = function, shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # gone before that
            os._exit(1)


def _job(name: str, arguments: tuple[Any, ...]) -> Any:
    function, shared = _work
    with one_thread():
        return function(shared[name], *arguments)


def _side_by_side(
    function: Callable[..., Any], shared: Mapping[str, Any], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Any]]:
    left = dict(enumerate(jobs))
    for retry in range(RETRIES + 1):
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(workers, CONTEXT, _begin, (function, shared, os.getpid()))
        mine: set[Any] = set()
        try:
            with _interrupted_later():
                futures = {pool.submit(_job, *job): position for position, job in left.items()}
                mine = set(multiprocessing.active_children()) - others
            for future in as_completed(futures):
                result = future.result()
                del left[futures[future]]
                yield futures[future], result
        except BrokenProcessPool as error:
            if retry == RETRIES:
                raise ZSLError(_why_died(mine, workers)) from error
        finally:
            for worker in mine | (set(multiprocessing.active_children()) - others):  # Ctrl-C while they were begun
                worker.kill()
            pool.shutdown(cancel_futures=True)
        if not left:
            return


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Ctrl-C takes effect at the end: a worker that is forked and not yet known could not be ended."""
    if threading.current_thread() is not threading.main_thread():  # where no signal is handled
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def _why_died(workers: set[Any], count: int) -> str:
    for worker in workers:
        worker.join(1)
    killed = any(worker.exitcode == -signal.SIGKILL for worker in workers)
    why = "was killed, most likely by the system for want of memory" if killed else "died"
    return (
        f"a worker {why}, {RETRIES + 1} times over; run fewer at once: --jobs {max(1, count // 2)} (or ZSL_JOBS), "
        f"now {count}"
    )


def _on_ray(
    function: Callable[..., Any], shared: Mapping[str, Any], jobs: Sequence[Job], address: str | None, gpus: int
) -> Iterator[tuple[int, Any]]:
    ray = connect(address)
    worker_capacity(ray, 1, gpus, "a job's processors")
    remote = ray.remote(_remote).options(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)
    references = {name: ray.put(value) for name, value in shared.items()}
    waiting = {
        remote.remote(function, references[name], *arguments): position
        for position, (name, arguments) in enumerate(jobs)
    }
    try:
        while waiting:
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
    except ray.exceptions.RayError as error:
        raise as_zsl_error(error) from error
    finally:
        for job in waiting:
            ray.cancel(job, force=True)


def _remote(function: Callable[..., Any], *arguments: Any) -> Any:
    os.environ["ZSL_JOBS"] = "1"  # the cluster counts one processor for it
    with one_thread():
        return function(*arguments)
