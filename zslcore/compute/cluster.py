"""The Ray cluster that long work may run on: finding it, how many workers it holds, and its errors in a line."""

import math
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from urllib.parse import urlsplit

from zslcore.errors import ZSLError

ADDRESS = (
    "HOST:PORT, as `ray start --head` prints it; default: RAY_ADDRESS, else the cluster last started with `ray start` "
    "on this machine, else one started for this run."
)
REACH = 10
"""Seconds to wait for a cluster's head to answer: Ray itself would try for minutes."""
NEEDS = (
    "every machine needs the same versions of Ray and Python and, where the head has a token (~/.ray/auth_token), "
    "the same token and RAY_AUTH_MODE=token"
)
COLOURS = re.compile(r"\x1b\[[\d;]*m")


def connect(address: str | None = None) -> ModuleType:
    """Ray, connected to the cluster at `address` (see `ADDRESS`).

    Raises ZSLError when Ray is not installed or the cluster cannot be reached or used.
    """
    try:
        import ray
    except ImportError as error:
        raise ZSLError("engine ray: Ray is not installed; pip install 'zslcore[ray]'") from error
    if ray.is_initialized():
        return ray
    head, origin = address, ""
    if address in (None, "auto"):
        head, origin = os.environ.get("RAY_ADDRESS"), " (from RAY_ADDRESS)"
        if not head:
            head, origin = _last_started(), " (last started on this machine; `ray stop` forgets it)"
    try:
        if head and head not in ("auto", "local"):
            check_reachable(head)
    except (OSError, ValueError) as error:
        raise ZSLError(f"no Ray cluster at {head}{origin}: {error}; start one with `ray start --head`") from error
    try:
        ray.init(address=address, log_to_driver=False)
    except Exception as error:  # of many kinds, Ray's own and built-in ones
        where = f"at {head}{origin}" if head else "of this machine"
        why = last_line(error.__cause__ or error)
        raise ZSLError(f"the Ray cluster {where} cannot be used: {why}; {NEEDS}") from error
    return ray


def node_resources(ray: ModuleType) -> list[Mapping[str, float]]:
    """Number of `CPU`, `GPU`, ... of each living node of the cluster, in use or not; absent where a node has none."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def worker_capacity(ray: ModuleType, cpus: float, gpus: int, option: str) -> int:
    """Number of workers, each with so many processors and GPUs (0 or 1), that the cluster can hold; at least 1.

    option: the command line's option that set `cpus`, for the message. Raises ZSLError where no node is large enough
    for one worker: Ray would wait for ever.
    """
    nodes = [node for node in node_resources(ray) if node.get("GPU", 0) >= gpus]
    if not nodes:
        raise ZSLError("device cuda: no node of the cluster has a GPU; set device: cpu, or add a node that has one")
    largest = max(node.get("CPU", 0) for node in nodes)
    if largest < cpus:
        kind = "node of the cluster with a GPU" if gpus else "node of the cluster"
        raise ZSLError(
            f"{option} {cpus:g}: no {kind} has so many processors, the largest has {largest:g}; "
            "ask for fewer, or add a larger one"
        )
    return sum(int(min(node.get("CPU", 0) // cpus, node["GPU"] if gpus else math.inf)) for node in nodes)


def as_zsl_error(error: Exception) -> ZSLError:
    """A ZSLError with the last line of what a worker raised, made of Ray's error with its whole traceback.

    Raise it from that error, so that --debug shows the traceback.
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, ZSLError):
        return ZSLError(f"engine ray: {cause}")
    message = f"{type(cause).__name__}: {last_line(cause)}" if cause else str(error)
    return ZSLError(f"engine ray: {message}; what was computed is kept, run again to go on (--debug shows where)")


def last_line(error: BaseException) -> str:
    """The last line of an error's message, without Ray's colours."""
    return COLOURS.sub("", str(error)).strip().rpartition("\n")[2].strip()


def _last_started() -> str | None:
    """Address where Ray would look for a running cluster, though it may be gone; None where it would start one."""
    with suppress(ImportError):  # not of Ray's public interface
        from ray._private.utils import read_ray_address

        return read_ray_address()
    return None


def check_reachable(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT or ray://HOST:PORT, ValueError for another form of address."""
    kind, _, place = address.rpartition("://")
    if kind not in ("", "ray"):
        return  # Ray knows more kinds, or what is wrong with this one
    parts = urlsplit(f"//{place}")
    if not (parts.hostname and parts.port):
        raise ValueError("an address is HOST:PORT, as `ray start --head` prints it")
    with socket.create_connection((parts.hostname, parts.port), timeout=REACH):
        pass
