"""Stage `select` where there is nothing to choose, and too little to choose it on."""

from pathlib import Path

import pandas as pd
import pytest

from stages import extract, select
from tests.conftest import make_dataset, write_project
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.io.artifacts import read_json

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
    assert read_json(Path("results/fixed/selected.json")) == FIXED | {"validation": {}}
    assert pd.read_csv("results/fixed/selection.csv").columns.tolist() == ["train_epochs", "H"]
    assert "chosen on validation classes: nothing; given: train.epochs = 7" in capsys.readouterr().err
    with pytest.raises(ZSLError, match=f"{seen} seen classes; choosing on validation classes needs at least 4"):
        select.command("open")
