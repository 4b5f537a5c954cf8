"""Every stage through the real `dvc repro`, in a temporary repository, on a tiny drawn data set."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "select": {"splits": 2, "train_epochs": [2, 4]},
    "finetune": {"epochs": 2},
    "train": {"hidden": 32, "projection": 16, "batch_size": 32},
    "generate": {"per_unseen": 20},
    "classify": {"epochs": 5},
    "extract": {"backbone": "test_resnet.r160_in1k", "weights": "random", "workers": 1},
}
MAIN = ["prepare", "extract", "select", "finetune", "train", "generate", "classify", "evaluate"]


def dvc(repo: Path, *arguments: str, ok: bool = True) -> str:
    """Run DVC as a user would, with this interpreter's commands first on the path."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=repo, env=environment, capture_output=True, text=True, timeout=600)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def set_params(repo: Path, change) -> None:
    yaml = YAML()
    file = repo / "params.yaml"
    raw = yaml.load(file.read_text())
    change(raw)
    with file.open("w") as out:
        yaml.dump(raw, out)


def changed(repo: Path) -> set[str]:
    """Names of the stages `dvc status` calls changed by themselves or through what they depend on."""
    return set(json.loads(dvc(repo, "status", "--json").splitlines()[-1]))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two tiny drawn data sets, run once."""
    repo = tmp_path_factory.mktemp("project")
    for name in ("zslcore", "stages", "data"):
        shutil.copytree(ROOT / name, repo / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(repo / "data" / "birds", repo / "data" / "finches")
    for name in ("dvc.yaml", "params.yaml", ".gitignore"):
        shutil.copy(ROOT / name, repo / name)

    def tiny(raw) -> None:
        raw["datasets"], raw["seeds"] = ["birds", "finches"], [0, 1]
        for position, name in enumerate(raw["datasets"]):
            raw["sources"][name] = {
                "kind": "birds", "seed": position, "classes": 8, "images_per_class": 6, "unseen": 2, "side": 64,
            }  # fmt: skip
            raw["presets"][name] = {preset: copy.deepcopy(TINY) for preset in ("best", "paper")}

    set_params(repo, tiny)
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-qm", "start"]):
        subprocess.run(command, cwd=repo, check=True)
    dvc(repo, "init", "-q")
    dvc(repo, "repro", "-q")
    subprocess.run(["git", "add", "-A"], cwd=repo, check=True)
    subprocess.run(["git", "commit", "-qm", "run"], cwd=repo, check=True)
    return repo


def test_every_stage_wrote_its_output(repo: Path) -> None:
    metrics = json.loads((repo / "results/birds/metrics.json").read_text())
    assert set(metrics["gzsl"]["H"]["seeds"]) == {"0", "1"}
    assert 0 <= metrics["zsl"]["T1"]["mean"] <= 100
    assert "finches" in (repo / "report/report.md").read_text()


def test_unchanged_repro_runs_nothing(repo: Path) -> None:
    assert "Data and pipelines are up to date" in dvc(repo, "repro")


def test_a_stage_twice_gives_the_same_bytes(repo: Path) -> None:
    before = (repo / "dvc.lock").read_bytes()
    dvc(repo, "repro", "--force", "-s", "select@birds", "train@birds", "classify@birds", "evaluate@birds")
    assert (repo / "dvc.lock").read_bytes() == before


def test_a_parameter_touches_its_stages_only(repo: Path) -> None:
    original = (repo / "params.yaml").read_text()
    set_params(repo, lambda raw: raw["train"]["noise"].update(strength=0.5))
    touched = changed(repo)
    (repo / "params.yaml").write_text(original)
    assert {"train@birds", "train@finches", "generate@birds", "select@birds"} <= touched
    assert not touched & {f"{stage}@{d}" for stage in ("prepare", "extract", "finetune") for d in ("birds", "finches")}
    assert changed(repo) == set()


def test_a_preset_touches_its_data_set_only(repo: Path) -> None:
    original = (repo / "params.yaml").read_text()
    set_params(repo, lambda raw: raw["presets"]["finches"]["best"].update(train={**TINY["train"], "lr": 0.002}))
    touched = changed(repo)
    (repo / "params.yaml").write_text(original)
    assert "train@finches" in touched
    assert not any(name.endswith("@birds") for name in touched)


def test_artifacts_tell_the_resolved_values(repo: Path) -> None:
    with h5py.File(repo / "artifacts/birds/projected.h5") as file:
        assert json.loads(file.attrs["params"])["train"]["hidden"] == 32
        assert file.attrs["created_by"] == "train"
        assert set(json.loads(file.attrs["inputs"])) == {"dataset", "finetuned"}


def test_select_never_opens_a_test_row(repo: Path, tmp_path: Path) -> None:
    chosen = (repo / "results/birds/selected.json").read_bytes()
    table = (repo / "results/birds/selection.csv").read_bytes()
    copy = tmp_path / "copy"
    shutil.copytree(repo, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".dvc"))
    for name in ("features.h5", "dataset.h5"):
        (copy / "artifacts/birds" / name).chmod(0o644)
    with h5py.File(copy / "artifacts/birds/dataset.h5", "r+") as data:
        test = np.concatenate([data["test_seen"][()], data["test_unseen"][()]])
        labels = data["labels"][()]
        labels[test] = 9999
        data["labels"][()] = labels
        data["test_seen"][()] = 0
        data["test_unseen"][()] = 0
    with h5py.File(copy / "artifacts/birds/features.h5", "r+") as file:
        features = file["features"][()]
        features[test] = np.nan
        file["features"][()] = features
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stages.cli", "select", "birds"]
    subprocess.run(command, cwd=copy, env=environment, check=True, capture_output=True)
    assert (copy / "results/birds/selected.json").read_bytes() == chosen
    assert (copy / "results/birds/selection.csv").read_bytes() == table


def test_a_failed_stage_leaves_what_was_there(repo: Path) -> None:
    before = (repo / "artifacts/birds/projected.h5").read_bytes()
    original = (repo / "params.yaml").read_text()
    set_params(repo, lambda raw: raw["train"].update(lr=1e30))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.cli", "train", "birds"]
    done = subprocess.run(command, cwd=repo, env=environment, capture_output=True, text=True, check=False)
    (repo / "params.yaml").write_text(original)
    assert done.returncode == 1
    assert "error: train: the loss (total) is nan" in done.stderr
    assert "Traceback" not in done.stderr
    assert (repo / "artifacts/birds/projected.h5").read_bytes() == before
    assert not list((repo / "artifacts/birds").glob(".*.tmp"))
