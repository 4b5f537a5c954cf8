"""Stage `select` where there is nothing to choose, too little to choose it on, and several sources of signatures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import extract, select
from tests.conftest import make_dataset, write_project
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.io.artifacts import read_json
from zslcore.signatures.source import Source

FIXED = {"train": {"epochs": 7}, "generate": {"per_unseen": 20}, "classify": {"epochs": 5, "calibration": 0.25}}


@pytest.mark.parametrize("seen", [2, 3])
def test_what_is_given_is_taken_where_too_few_classes_are_seen_to_choose_on(
    seen: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_project(tmp_path, {}, {"fixed": FIXED, "open": FIXED | {"train": {"epochs": "auto"}}})
    monkeypatch.chdir(tmp_path)
    for name in ("fixed", "open"):
        datasets.save(Path(f"artifacts/{name}/dataset.h5"), make_dataset(seen, 2, per_class=4), {})
        extract.command(name)
    select.command("fixed")
    selected = read_json(Path("results/fixed/selected.json"))
    described = {"label": "attributes", "weights": {"attributes": 1.0}, "centre": False}
    assert selected == FIXED | {"validation": {}, "signatures": described, "tasks": {"splits": 3, "seed": 0}}
    assert pd.read_csv("results/fixed/selection.csv").columns.tolist() == ["train_epochs", "H"]
    assert "chosen on validation classes: nothing; given: train.epochs = 7" in capsys.readouterr().err
    with pytest.raises(ZSLError, match=f"{seen} seen classes; choosing on validation classes needs at least 4"):
        select.command("open")


SMALL = {
    "select": {"splits": 1, "train_epochs": [1, 2]},
    "finetune": {"epochs": 1},
    "train": {"hidden": 8, "projection": 6, "batch_size": 32, "members": 1},
    "generate": {"per_unseen": 5},
    "classify": {"epochs": 2},
    "signatures": {"weights": "auto", "centre": "auto"},
}


def test_signatures_are_chosen_without_a_test_row_or_an_unseen_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them corrupted, the choice has the same bytes."""
    write_project(tmp_path, {}, {"whole": SMALL, "corrupted": SMALL})
    monkeypatch.chdir(tmp_path)
    data = make_dataset(seen=8, unseen=2, per_class=8)
    halves = {"attributes": Source(data.signatures[:, :6]), "text": Source(data.signatures[:, 6:])}
    data = replace(data, signatures=data.signatures[:, :6], image_attributes=None, sources=halves)
    random = np.random.default_rng(0)
    assert data.features is not None
    features, tests = data.features.copy(), np.concatenate([data.test_seen, data.test_unseen])
    features[tests] = random.normal(size=features[tests].shape)
    broken = {}
    for name, source in halves.items():
        values = source.values.copy()
        values[data.unseen] = random.normal(size=values[data.unseen].shape)
        broken[name] = Source(values)
    other = replace(data, features=features, signatures=broken["attributes"].values, sources=broken)
    for name, one in {"whole": data, "corrupted": other}.items():
        datasets.save(Path(f"artifacts/{name}/dataset.h5"), one, {})
        extract.command(name)
        select.command(name)
    chosen = read_json(Path("results/whole/selected.json"))
    assert chosen["signatures"]["tried"]
    for file in ("selected.json", "selection.csv"):
        assert Path(f"results/whole/{file}").read_bytes() == Path(f"results/corrupted/{file}").read_bytes()
