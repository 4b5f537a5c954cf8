"""Independent jobs, one after another here or side by side on a Ray cluster, with the same results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch

from zslcore.cluster import connect
from zslcore.errors import ZSLError

EngineName = Literal["local", "ray"]
Job = tuple[str, tuple[Any, ...]]
"""The name of the shared object a job works on, and its other arguments."""
RETRIES = 3
"""Times a job is begun again after its worker died."""


def run_jobs(
    function: Callable[..., Any],
    shared: Mapping[str, Any],
    jobs: Sequence[Job],
    engine: EngineName = "local",
    address: str | None = None,
    threads: int = 1,
) -> Iterator[tuple[int, Any]]:
    """Yield (position of the job, function(shared object, *arguments)) as jobs are done, in any order.

    Every job computes with `threads` threads, so that its numbers are the same wherever it runs.
    Raises ZSLError when the cluster cannot be reached, or a job's workers keep dying; what a job raises is raised.
    """
    if engine == "ray":
        yield from _on_ray(function, shared, jobs, address, threads)
        return
    before = torch.get_num_threads()
    try:
        for position, (name, arguments) in enumerate(jobs):
            yield position, _call(function, threads, shared[name], *arguments)
    finally:
        torch.set_num_threads(before)


def _call(function: Callable[..., Any], threads: int, *arguments: Any) -> Any:
    torch.set_num_threads(threads)
    return function(*arguments)


def _on_ray(
    function: Callable[..., Any], shared: Mapping[str, Any], jobs: Sequence[Job], address: str | None, threads: int
) -> Iterator[tuple[int, Any]]:
    ray = connect(address)
    remote = ray.remote(_call).options(num_cpus=threads, max_retries=RETRIES)
    there = {name: ray.put(value) for name, value in shared.items()}
    waiting = {
        remote.remote(function, threads, there[name], *arguments): position
        for position, (name, arguments) in enumerate(jobs)
    }
    try:
        while waiting:
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, ZSLError) else error from None
    except ray.exceptions.RayError as error:
        raise ZSLError(f"engine ray: {error}; what was computed is kept, run again to go on") from error
    finally:
        for job in waiting:
            ray.cancel(job, force=True)
