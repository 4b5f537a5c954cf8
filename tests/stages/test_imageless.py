"""A class without any image, from the artifact to the packaged model: it competes, and has no accuracy of its own."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_dataset, write_project
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.io.artifacts import read_json
from zslcore.model.model import Model

SETTINGS = {
    "select": {"splits": 1, "train_epochs": [3]},
    "finetune": {"epochs": 1},
    "train": {"hidden": 16, "projection": 8, "batch_size": 32, "members": 1},
    "generate": {"per_unseen": 10, "per_seen": 5},
    "classify": {"epochs": 5},
}


def test_it_competes_and_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path, {}, {"toy": SETTINGS})
    monkeypatch.chdir(tmp_path)
    data = make_dataset(seen=8, unseen=3, per_class=8)
    assert data.features is not None
    signature = np.random.default_rng(5).uniform(0, 1, (1, 10)).astype(np.float32)
    data = replace(
        data,
        classes=(*data.classes, "unpictured"),
        signatures=np.concatenate([data.signatures, signature]),
        imageless=np.array([11]),
    )
    path = Path("artifacts/toy/dataset.h5")
    datasets.save(path, data, {})
    assert datasets.load(path).imageless.tolist() == [11]
    for stage in ("extract", "select", "finetune", "train", "generate", "classify", "evaluate", "package"):
        import_module(f"stages.{stage}").command("toy")
    table = pd.read_csv("results/toy/classes.csv").set_index("class")
    assert table.loc["unpictured", ["kind", "images"]].tolist() == ["unseen", 0]
    assert table.loc["unpictured", ["gzsl", "zsl"]].isna().all()
    metrics = read_json(Path("results/toy/metrics.json"))
    pictured = table[table["kind"] == "unseen"].drop(index="unpictured")
    assert metrics["zsl"]["T1"]["mean"] == pytest.approx(pictured["zsl"].mean(), abs=1e-3)
    model = Model.load("models/toy.zsl")
    assert model.classes[-1] == "unpictured"
    for among in ("all", "unseen"):
        assert (model.probabilities(data.features, among)[:, -1] > 0).all(), "it competes"
    import_module("stages.report").command()
    assert "4 unseen classes (1 of them without any image, which only compete)" in Path("report/report.md").read_text()


def test_a_class_with_images_is_not_without(tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match="class 'class 9' is said to have no image, and has some"):
        replace(make_dataset(seen=8, unseen=3), imageless=np.array([9]))
