"""Results travel through a remote: a fresh clone that pulled has nothing to run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
STAGE = "prepare@birds"


def run(folder: Path, *command: str) -> str:
    identity = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **identity, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def dvc(folder: Path, *arguments: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *arguments)


def draw(folder: Path, seed: int) -> None:
    """Set the tiny data set's seed, run its stage, commit."""
    yaml = YAML()
    raw = yaml.load((folder / "params.yaml").read_text())
    raw["datasets"] = ["birds"]
    raw["sources"]["birds"] = {
        "kind": "birds", "seed": seed, "classes": 8, "images_per_class": 4, "unseen": 2, "side": 64,
    }  # fmt: skip
    with (folder / "params.yaml").open("w") as out:
        yaml.dump(raw, out)
    dvc(folder, "repro", STAGE)
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", f"seed {seed}")


@pytest.mark.slow
def test_pull_on_a_fresh_clone_leaves_nothing_to_run(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    for name in ("zslcore", "stages", "data"):
        shutil.copytree(ROOT / name, first / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".gitignore"):
        shutil.copy(ROOT / name, first / name)
    run(first, "git", "init", "-q")
    dvc(first, "init", "-q")
    dvc(first, "remote", "add", "-q", "-d", "storage", str(tmp_path / "remote"))
    draw(first, 0)
    made = (first / "artifacts/birds/dataset.h5").read_bytes()
    dvc(first, "push", "--run-cache", STAGE)
    run(tmp_path, "git", "clone", "-q", str(first), "second")
    second = tmp_path / "second"
    dvc(second, "pull", STAGE)
    assert "didn't change, skipping" in dvc(second, "repro", STAGE)
    assert (second / "artifacts/birds/dataset.h5").read_bytes() == made

    # Another state, its cache alone kept; back at the first, the remote or else a new run restores the same bytes.
    draw(second, 1)
    dvc(second, "gc", "-w", "-f")
    run(second, "git", "checkout", "-q", "HEAD~1")
    dvc(second, "pull", "--run-cache", STAGE)
    assert "didn't change, skipping" in dvc(second, "repro", STAGE)
    assert (second / "artifacts/birds/dataset.h5").read_bytes() == made
    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(second / ".dvc" / "cache")
    (second / "artifacts/birds/dataset.h5").unlink()
    assert "Running stage" in dvc(second, "repro", STAGE)
    assert (second / "artifacts/birds/dataset.h5").read_bytes() == made
    assert run(second, "git", "status", "--porcelain") == ""
