"""Finding a Ray cluster and counting the workers it holds: what is impossible is refused at once, in one line."""

import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from zslcore.compute.cluster import as_zsl_error, connect, worker_capacity
from zslcore.errors import ZSLError

ray = pytest.importorskip("ray")


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A port that refuses whoever comes, until it listens."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield found


def place(bound: socket.socket) -> str:
    return f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize("address", ["nonsense", "host:port", "ray://host", ":6379"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ZSLError, match=f"^no Ray cluster at {address}: .*start one with `ray start --head`$"):
        connect(address)


@pytest.mark.parametrize("kind", ["", "ray://"])
def test_a_head_that_is_not_there(bound: socket.socket, kind: str) -> None:
    with pytest.raises(ZSLError, match=f"^no Ray cluster at {kind}{place(bound)}: .*refused"):
        connect(kind + place(bound))


def test_where_the_address_came_from(bound: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(place(bound))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for asked in (None, "auto"):
        with pytest.raises(ZSLError, match=rf"{place(bound)} \(last started on this machine; `ray stop` forgets it\)"):
            connect(asked)
    monkeypatch.setenv("RAY_ADDRESS", "localhost:1")
    for asked in (None, "auto"):
        with pytest.raises(ZSLError, match=r"localhost:1 \(from RAY_ADDRESS\)"):
            connect(asked)


def test_a_cluster_that_lets_nobody_in(bound: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    bound.listen()
    hidden = ConnectionError("Failed to connect")
    hidden.__cause__ = RuntimeError("Traceback:\n  a line\nInvalidAuthToken: missing\n")
    for error, why in [
        (RuntimeError("Version mismatch"), "Version mismatch"),
        (ray.exceptions.AuthenticationError("no token was found"), "no token was found"),
        (hidden, "InvalidAuthToken: missing"),
    ]:

        def refuse(error: Exception = error, **_: Any) -> None:
            raise error

        monkeypatch.setattr(ray, "init", refuse)
        expected = (
            f"^the Ray cluster at {place(bound)} cannot be used: {why}.*; every machine needs .*RAY_AUTH_MODE=token$"
        )
        with pytest.raises(ZSLError, match=expected) as raised:
            connect(place(bound))
        assert raised.value.__cause__ is error


def cluster_of(*resources: dict[str, float]) -> ModuleType:
    alive = [{"Alive": True, "Resources": each} for each in resources]
    dead = {"Alive": False, "Resources": {"CPU": 1000.0, "GPU": 1000.0}}
    return cast(ModuleType, SimpleNamespace(nodes=lambda: [dead, *alive]))


def test_capacity_is_counted_by_node() -> None:
    found = cluster_of({"CPU": 3.0}, {"CPU": 5.0, "GPU": 2.0}, {"memory": 1.0})
    assert [worker_capacity(found, cpus, 0, "--cpus") for cpus in (1, 2, 4, 0.5)] == [8, 3, 1, 16]
    assert [worker_capacity(found, cpus, 1, "--cpus") for cpus in (1, 2, 4)] == [2, 2, 1]
    with pytest.raises(
        ZSLError, match=r"^--cpus 5\.5: no node of the cluster has .*, the largest has 5; ask for fewer"
    ):
        worker_capacity(found, 5.5, 0, "--cpus")
    with pytest.raises(ZSLError, match=r"^--threads 4: no node of the cluster with a GPU has .*, the largest has 3"):
        worker_capacity(cluster_of({"CPU": 64.0}, {"CPU": 3.0, "GPU": 1.0}), 4, 1, "--threads")
    with pytest.raises(ZSLError, match=r"^device cuda: no node of the cluster has a GPU; set device: cpu"):
        worker_capacity(cluster_of({"CPU": 64.0}), 1, 1, "--cpus")


def test_a_workers_error_becomes_one_line() -> None:
    def of(cause: Exception) -> str:
        return str(as_zsl_error(ray.exceptions.RayTaskError("work", "\x1b[36mTraceback", cause)))

    assert of(ZSLError("copy the file")) == "engine ray: copy the file"
    assert of(ValueError("many\n\x1b[31mlines\x1b[39m\n")).startswith(
        "engine ray: ValueError: lines; what was computed"
    )
    assert "no worker left" in str(as_zsl_error(ray.exceptions.RayActorError(error_msg="no worker left")))
