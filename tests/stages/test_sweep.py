"""Command `sweep`: a grid of runs, here and on a real Ray cluster, with the same bytes."""

import os
import signal
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from stages import sweep
from tests.conftest import make_dataset, write_data, write_project
from zslcore.compute.jobs import EngineName, Job, run_jobs
from zslcore.errors import ZSLError
from zslcore.experiments.sweep import label, parse_grid
from zslcore.io import artifacts

PARAMS = {
    "seeds": [0, 1],
    "select": {"train_epochs": [2, 4], "splits": 1, "classify_epochs": [2], "per_unseen": [5]},
    "finetune": {"epochs": 1},
    "train": {"hidden": 16, "projection": 8},
}
GRID = ["train.noise.strength=0,0.5"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = make_dataset(seen=6, unseen=3, per_class=6)
    write_data(tmp_path / "artifacts/toy", data)
    monkeypatch.chdir(write_project(tmp_path, PARAMS))
    return tmp_path


def results(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project / "experiments/results/toy/sweep").iterdir()}


def test_a_grid_here_and_on_ray_gives_the_same_bytes(project: Path, cluster: None) -> None:
    sweep.command(GRID)
    here = results(project)
    assert set(here) == {"train.noise.strength=0.json", "train.noise.strength=0.5.json"}
    found = artifacts.read_json(project / "experiments/results/toy/sweep/train.noise.strength=0.5.json")
    assert found["about"]["settings"] == {"train.noise.strength": 0.5}
    assert found["chosen"]["train"]["epochs"] in (2, 4)
    assert list(found["gzsl"]["H"]["seeds"]) == ["0", "1"]
    assert len(set(here.values())) == 2

    for path in (project / ".zsl/results").iterdir():
        path.unlink()
    sweep.command(GRID, engine="ray")
    assert results(project) == here


def test_what_no_node_of_the_cluster_has_is_refused(project: Path, cluster: None) -> None:
    write_project(project, {**PARAMS, "device": "cuda"})
    with pytest.raises(ZSLError, match=r"^device cuda: no node of the cluster has a GPU"):
        sweep.command(GRID, engine="ray")


@pytest.mark.parametrize(
    ("device", "engine", "jobs_on", "gpus"),
    [
        ("auto", "ray", "cuda", 1),
        ("cuda:1", "ray", "cuda", 1),
        ("cuda:1", "local", "cuda:1", 1),
        ("cpu", "ray", "cpu", 0),
    ],
)
def test_the_device_of_the_jobs(
    project: Path, monkeypatch: pytest.MonkeyPatch, device: str, engine: EngineName, jobs_on: str, gpus: int
) -> None:
    def asked(function: object, shared: object, jobs: list[Job], *rest: object) -> NoReturn:
        assert {arguments[-1] for _, arguments in jobs} == {jobs_on}
        raise ZSLError(f"{rest[-1]} GPUs")

    write_project(project, {**PARAMS, "device": device})
    monkeypatch.setattr("zslcore.experiments.sweep.resolve_device", lambda: torch.device("cuda"))
    monkeypatch.setattr("zslcore.experiments.sweep.run_jobs", asked)
    with pytest.raises(ZSLError, match=f"^{gpus} GPUs$"):
        sweep.command(GRID, engine=engine)


def test_an_address_is_for_ray(project: Path) -> None:
    with pytest.raises(ZSLError, match="--address: only for --engine ray"):
        sweep.command(GRID, address="localhost:1")


def test_an_interrupted_sweep_goes_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []

    def once(function, shared, jobs, *rest):
        for position, value in run_jobs(function, shared, jobs, *rest):
            if len(done) == 3:
                raise KeyboardInterrupt
            done.append(value)
            yield position, value

    monkeypatch.setattr("zslcore.experiments.sweep.run_jobs", once)
    with pytest.raises(KeyboardInterrupt):
        sweep.command(GRID)
    assert not (project / "experiments/results").exists()
    asked: list[int] = []
    monkeypatch.setattr(
        "zslcore.experiments.sweep.run_jobs",
        lambda function, shared, jobs, *rest: asked.append(len(jobs)) or run_jobs(function, shared, jobs, *rest),
    )
    sweep.command(GRID)
    assert asked == [0, 3], "two choices and one fit were kept"
    assert len(results(project)) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["train.lr"], "expected section.name=value"),
        (["train.lr=0.1", "train.lr=0.2"], "given twice"),
        (["train.lr=[1"], "not a list"),
        (["train.lr=0.1,0.1"], "cannot be told apart"),
        (["train.lrr=0.1"], "lr"),
        (["train.lr=-1"], "lr is -1"),
    ],
)
def test_bad_grids_are_refused_before_any_run(project: Path, given: list[str], message: str) -> None:
    with pytest.raises(ZSLError, match=message):
        sweep.command(given)
    assert not (project / ".zsl").exists()


def test_the_grid_is_every_combination() -> None:
    grid = parse_grid(["train.lr=0.1,0.2", "finetune.loss=gaussian,cce"])
    assert len(grid) == 4
    assert {"train.lr": 0.2, "finetune.loss": "cce"} in grid
    assert parse_grid([]) == [{}]
    assert label({}) == "as-is"
    assert "/" not in label({"train.x": "../a b"})


def test_a_job_whose_worker_dies_is_begun_again(cluster: None, tmp_path: Path) -> None:
    def die_once(shared: int, name: str) -> int:
        if not (tmp_path / name).exists():
            (tmp_path / name).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return shared

    assert sorted(run_jobs(die_once, {"a": 7}, [("a", ("x",)), ("a", ("y",))], "ray")) == [(0, 7), (1, 7)]


def test_what_a_job_raises_is_raised(cluster: None) -> None:
    def refuse(shared: object) -> None:
        raise ZSLError("no")

    def fail(shared: object) -> None:
        raise ValueError("many\nlines")

    for engine in ("local", "ray"):
        with pytest.raises(ZSLError, match=r"^(engine ray: )?no$"):
            list(run_jobs(refuse, {"a": 1}, [("a", ())], engine))
    with pytest.raises(ZSLError, match=r"^engine ray: ValueError: lines; what was computed is kept") as raised:
        list(run_jobs(fail, {"a": 1}, [("a", ())], "ray"))
    assert raised.value.__cause__, "--debug shows where"
