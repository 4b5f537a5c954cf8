"""A toy project whose pipeline has run to the end, once for all tests of its model."""

from contextlib import chdir
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.io import artifacts

SETTINGS = {
    "finetune": {"epochs": 3},
    "train": {"hidden": 32, "projection": 16, "batch_size": 32, "members": 2, "feedback": 0.1},
    "generate": {"per_unseen": 15, "per_seen": 5},
    "classify": {"epochs": 4},
}


@pytest.fixture(scope="session")
def packaged(toy: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with models/toy.zsl, of two seeds."""
    folder = write_project(tmp_path_factory.mktemp("project"), {"seeds": [3, 4]}, {"toy": SETTINGS}, {"compare": {}})
    chosen = {"train": {"epochs": 5}, "generate": {}, "classify": {"calibration": 0.5}}
    with chdir(folder):
        datasets.save(Path("artifacts/toy/dataset.h5"), toy, {})
        with artifacts.create(
            Path("artifacts/toy/features.h5"),
            artifacts.FEATURES,
            {"given": True},
            {"dataset": Path("artifacts/toy/dataset.h5")},
        ) as file:
            file["features"] = toy.features
        artifacts.write_json(Path("results/toy/selected.json"), chosen)
        for stage in ("finetune", "train", "generate", "classify", "evaluate", "package"):
            import_module(f"stages.{stage}").command("toy")
    return folder
