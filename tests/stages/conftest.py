"""What the tests of whole pipelines share: a project of their own on tiny drawn data, and DVC run in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.stages import warm

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "extract": {"backbone": "test_resnet.r160_in1k", "weights": "random", "workers": 1},
    "select": {"splits": 2, "train_epochs": [2, 4]},
    "finetune": {"epochs": 2},
    "train": {"hidden": 32, "projection": 16, "batch_size": 32, "members": 1},
    "generate": {"per_unseen": 20, "per_seen": 5},
    "classify": {"epochs": 5},
}
IDENTITY = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ENVIRONMENT = {
    **os.environ,
    **IDENTITY,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}


class Project:
    """A folder with the project's own pipeline. DVC and stages run in processes forked from a warm one (warm.py).

    real: as a user would run them, by commands, which take the folder's code and not the checkout's.
    """

    environment = ENVIRONMENT

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, ok: bool = True) -> str:
        """What a command printed; it must succeed, or fail where `ok` is False."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    def dvc(self, *arguments: str, ok: bool = True, real: bool = False) -> str:
        """What a command of DVC printed."""
        if real:
            return self.run(sys.executable, "-m", "dvc", *arguments, ok=ok)
        return self._warm(warm.dvc, *arguments, ok=ok)

    def zsl(self, *arguments: str, ok: bool = True) -> str:
        """What a command of the project printed."""
        return self._warm(warm.zsl, *arguments, ok=ok)

    def _warm(self, run: Callable[..., None], *arguments: str, ok: bool) -> str:
        warm.up()
        code, said = warm.finish(*warm.start(run, self.folder, self.environment, *arguments))
        assert (code == 0) is ok, said
        return said

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def set_params(self, change: Callable[[Any], object], name: str = "params.yaml") -> None:
        """Change params.yaml, or another file, as an editor would: `change` gets what stands in it."""
        yaml = YAML()
        file = self.folder / name
        raw = yaml.load(file.read_text())
        change(raw)
        with file.open("w") as out:
            yaml.dump(raw, out)

    def bytes(self, *below: str) -> dict[str, bytes]:
        """Path -> content of every file of these folders."""
        paths = sorted(path for name in below for path in (self.folder / name).rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def make_project() -> Callable[..., Project]:
    """Make a project in a folder, with these data sets of eight classes, nothing run yet, under git and DVC."""

    def make(folder: Path, *datasets: str, seeds: tuple[int, ...] = (0,), dvc: bool = True) -> Project:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("zslcore", "stages", "presets"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "experiments").mkdir()
        for name in ("dvc.yaml", "params.yaml", "experiments/params.yaml", "experiments/methods.yaml", ".gitignore"):
            shutil.copy(ROOT / name, folder / name)
        for seed, name in enumerate(datasets):
            shutil.copytree(ROOT / "data/birds", folder / "data" / name)
            source = {"kind": "birds", "seed": seed, "classes": 8, "images_per_class": 6, "unseen": 2, "side": 64}
            with (folder / f"data/{name}.yaml").open("w") as out:
                YAML().dump({"source": source, **TINY}, out)
        project = Project(folder)
        project.set_params(lambda raw: raw.update(datasets=list(datasets), seeds=list(seeds), device="cpu"))
        if dvc:
            project.run("git", "init", "-q")
            project.dvc("init", "-q")
            shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
            shutil.copy(ROOT / ".dvcignore", folder / ".dvcignore")
            shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots", dirs_exist_ok=True)
            project.commit("start")
        return project

    return make
