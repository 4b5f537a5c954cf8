"""Independent jobs, one after another here or side by side on a Ray cluster, with the same results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch

from zslcore.compute.cluster import as_zsl_error, connect, worker_capacity

EngineName = Literal["local", "ray"]
Job = tuple[str, tuple[Any, ...]]
"""The name of the shared object that a job gets, and its other arguments."""
RETRIES = 3
"""Times a job is restarted after its worker died."""


def run_jobs(
    function: Callable[..., Any],
    shared: Mapping[str, Any],
    jobs: Sequence[Job],
    engine: EngineName = "local",
    address: str | None = None,
    threads: int = 1,
    gpus: int = 0,
) -> Iterator[tuple[int, Any]]:
    """Yield (position of the job, function(shared object, *arguments)) as jobs end, in any order.

    Every job computes with `threads` threads, so that its numbers are the same wherever it runs; on a cluster it has
    `gpus` GPUs (0 or 1) to itself. address: of the cluster (`cluster.connect`). Raises what a job raises, from a
    cluster as a ZSLError; also ZSLError when the cluster cannot be reached or has no machine that large, or when a
    job's workers keep dying.
    """
    if engine == "ray":
        if jobs:
            yield from _on_ray(function, shared, jobs, address, threads, gpus)
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
    function: Callable[..., Any],
    shared: Mapping[str, Any],
    jobs: Sequence[Job],
    address: str | None,
    threads: int,
    gpus: int,
) -> Iterator[tuple[int, Any]]:
    ray = connect(address)
    worker_capacity(ray, threads, gpus, "--threads")
    remote = ray.remote(_call).options(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)
    references = {name: ray.put(value) for name, value in shared.items()}
    waiting = {
        remote.remote(function, threads, references[name], *arguments): position
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
