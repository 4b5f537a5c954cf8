"""Results that are older than their settings, code or data, or edited, are told from those `dvc repro` left."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import write_project
from zslcore.errors import ZSLError
from zslcore.project.fresh import LOCK, OF_EXPERIMENTS, check_results
from zslcore.project.params import Params

CODE = {"prepare": "c1", "train": "c2", "evaluate": "c3", "select": "c4", "package": "c5"}
METRICS = "results/toy/metrics.json"


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def file(path: str, text: str) -> dict[str, str]:
    return {"path": path, "hash": "md5", "md5": md5(text)}


def stage(name: str, deps: list[Any], outs: list[Any], **params: Any) -> dict[str, Any]:
    known = {"results/toy/settings.yaml": {f"code.{name}": CODE[name], **params}}
    return {"cmd": name, "deps": deps, "params": known, "outs": outs}


def as_yaml(path: Path, value: Any) -> None:
    with path.open("w") as out:
        YAML(typ="safe").dump(value, out)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What `dvc repro` leaves of stages: three in a row, one after the first alone, one that writes no result."""
    write_project(tmp_path, {"train": {"epochs": 5}}, {"toy": {}})
    raw, data, model = "data/toy", "artifacts/toy/dataset.h5", "artifacts/toy/trained.safetensors"
    stored = Params(tmp_path).resolve("toy").stored()
    named = {name: stored[name] for name in ("train", "seeds", "device", "backbone")}  # as dvc.yaml names them
    (tmp_path / METRICS).write_text("{}")
    (tmp_path / "results/toy/selection.csv").write_text("x,y\n")
    stages = {
        "prepare@toy": stage("prepare", [file(raw, "raw")], [file(data, "data")]),
        "train@toy": stage("train", [file(data, "data")], [file(model, "model")], **named),
        "evaluate@toy": stage("evaluate", [file(model, "model")], [file(METRICS, "{}")], preset="best"),
        "select@toy": stage("select", [file(data, "data")], [file("results/toy/selection.csv", "x,y\n")]),
        "package@toy": stage("package", [file(METRICS, "{}")], [file("models/toy.zsl", "model")]),
        "evaluate@other": stage("evaluate", [file("artifacts/other/x.h5", "x")], [], preset="paper"),
    }
    as_yaml(tmp_path / LOCK, {"schema": "2.0", "stages": stages})
    as_yaml(tmp_path / "data/toy.dvc", {"outs": [{"md5": md5("raw"), "path": "toy"}]})
    return tmp_path


def check(project: Path, of: str | None = None, code: dict[str, str] = CODE, experiments: bool = False) -> None:
    check_results(Params(project).resolve("toy"), code.__getitem__, of, project, experiments)


def change_lock(project: Path, change: Callable[[Any], object]) -> None:
    lock = YAML(typ="safe").load((project / LOCK).read_text())
    change(lock["stages"])
    as_yaml(project / LOCK, lock)


def test_what_dvc_left_passes(project: Path) -> None:
    check(project)
    check(project, "evaluate")
    (project / LOCK).unlink()
    (project / METRICS).write_text("edited")
    check(project, "evaluate")  # of which nothing is known


def test_parameters_that_changed_since(project: Path) -> None:
    write_project(project, {"train": {"epochs": 6}}, {"toy": {}})
    with pytest.raises(
        ZSLError, match=r"results/toy: train ran with train\.epochs 5, now it is 6: .*; run `dvc repro`"
    ):
        check(project, "evaluate")


def test_code_that_changed_since(project: Path) -> None:
    with pytest.raises(ZSLError, match="the code of train was edited since it ran"):
        check(project, "evaluate", CODE | {"train": "new"})
    check(project, "evaluate", CODE | {"select": "new"})
    with pytest.raises(ZSLError, match="the code of select was edited"):
        check(project, None, CODE | {"select": "new"})
    check(project, None, CODE | {"package": "new"})  # it writes no result; `dvc repro` may run it after the report


def test_a_stage_that_ran_alone(project: Path) -> None:
    anew = file("artifacts/toy/trained.safetensors", "another model")
    change_lock(project, lambda stages: stages["train@toy"].update(outs=[anew]))
    with pytest.raises(ZSLError, match=r"trained\.safetensors was rebuilt, by train, after evaluate had read it"):
        check(project, "evaluate")


def test_data_that_were_imported_anew(project: Path) -> None:
    as_yaml(project / "data/toy.dvc", {"outs": [{"md5": md5("other"), "path": "toy"}]})
    with pytest.raises(ZSLError, match="data/toy was rebuilt, by import, after prepare had read it"):
        check(project, "evaluate")


def test_a_result_that_was_edited(project: Path) -> None:
    (project / METRICS).write_text('{"zsl": 99.9}')
    for of in ("evaluate", None):
        with pytest.raises(ZSLError, match=rf"^{METRICS}: not the file that `dvc repro` wrote"):
            check(project, of)
    (project / METRICS).write_text("{}")
    (project / "results/toy/selection.csv").write_text("x,y\n0,0\n")
    check(project, "evaluate")
    with pytest.raises(ZSLError, match=r"selection\.csv: not the file"):
        check(project)


def test_a_result_that_dvc_never_made(project: Path) -> None:
    change_lock(project, lambda stages: stages.pop("evaluate@toy"))
    with pytest.raises(ZSLError, match="has no evaluate@toy: the results were not made by `dvc repro`"):
        check(project, "evaluate")


def test_an_experiments_result_that_was_edited(project: Path) -> None:
    path = "experiments/results/toy/fewshot.json"
    as_yaml(project / OF_EXPERIMENTS, {"stages": {"fewshot@toy": {"outs": [file(path, "{}")]}}})
    check(project, experiments=True)  # it has not run here
    (project / path).parent.mkdir(parents=True)
    (project / path).write_text(json.dumps({"edited": 1}))
    check(project)
    with pytest.raises(ZSLError, match=rf"^{path}: not the file"):
        check(project, experiments=True)


@pytest.mark.parametrize("text", ["", "stages: 1", "{", "[1]"])
def test_a_damaged_lock_is_named(text: str, project: Path) -> None:
    (project / LOCK).write_text(text)
    with pytest.raises(ZSLError, match=r"dvc\.lock: damaged"):
        check(project)
