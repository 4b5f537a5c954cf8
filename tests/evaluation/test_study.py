import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest

from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError
from zslcore.experiments.tune import Dimension, TuneSettings, history, nested, open_study, params_diff, search
from zslcore.project.params import Params, load_params

TEXT = """\
# parameters of a test
datasets: [toy]
seeds: [0]
device: cpu
preset: best
sources:
  toy: {kind: birds}
select: {splits: 1, train_epochs: [2], per_unseen: [5], classify_epochs: [3]}
train:
  lr: null # Adam's
presets:
  toy:
    best:
      finetune: {epochs: 1}
      train: {hidden: 16, projection: 8}
    paper:
      train: {}
"""
SPACE = TuneSettings(
    space={"train.lr": Dimension(low=1e-3, high=1e-2, log=True), "train.hidden": Dimension(low=8, high=16)}
)


@pytest.fixture
def params(tmp_path: Path) -> Params:
    (tmp_path / "params.yaml").write_text(TEXT)
    return load_params(tmp_path / "params.yaml")


def test_the_shipped_space_fits_every_shipped_preset(tmp_path: Path) -> None:
    shipped = load_params(Path(__file__).resolve().parents[2] / "params.yaml")
    for dataset in shipped.raw["presets"]:
        open_study(tmp_path / f"{dataset}.db", shipped, dataset, shipped.extra("tune", TuneSettings))


def seen_of(data: Dataset) -> Seen:
    assert data.features is not None
    rows = data.trainval
    return Seen("toy", data.features[rows], data.labels[rows], data.signatures, data.seen, data.unseen)


def test_a_search_resumes_and_prints_a_diff(params: Params, toy: Dataset, tmp_path: Path) -> None:
    for total in (2, 3):
        study = open_study(tmp_path / "toy.db", params, "toy", SPACE)
        search(study, params, seen_of(toy), SPACE, 2 if total == 2 else 1)
        assert len(study.trials) == total
        assert len({tuple(trial.params.values()) for trial in study.trials}) == total, "a resumed search goes on"
    table = history(study)
    assert list(table.columns) == ["trial", "state", "score", "T1", "H", "train.lr", "train.hidden"]
    assert table["score"].max() == study.best_value
    diff = params_diff(study, params, TEXT)
    added = [line for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert len(added) == 1
    assert f"lr: {study.best_params['train.lr']}" in added[0]
    assert f"hidden: {study.best_params['train.hidden']}" in added[0]
    assert "projection: 8" in added[0]
    assert params.file.read_text() == TEXT


def test_another_space_or_other_settings_are_refused(params: Params, tmp_path: Path) -> None:
    file = tmp_path / "toy.db"
    other = TuneSettings(space={"train.lr": Dimension(low=1e-4, high=1e-2, log=True)})
    open_study(file, params, "toy", other)  # without a trial it binds nobody
    open_study(file, params, "toy", SPACE).add_trial(optuna.trial.create_trial(value=1.0))
    before = file.read_bytes()
    with pytest.raises(ZSLError, match=r"toy.db: a study with another search space \(1 trials\)"):
        open_study(file, params, "toy", other)
    changed = Params({**params.raw, "finetune": {"epochs": 2}}, params.file)
    with pytest.raises(ZSLError, match="a study with another base of settings"):
        open_study(file, changed, "toy", SPACE)
    assert file.read_bytes() == before
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(ZSLError, match="not a study of this program, or damaged"):
        open_study(file, params, "toy", SPACE)


def test_a_file_that_cannot_be_opened_is_no_damaged_study(params: Params, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=r"cannot be used \(unable to open database file\); check the permissions"):
        open_study(tmp_path, params, "toy", SPACE)


def test_a_study_damaged_under_way_is_explained(params: Params, toy: Dataset, tmp_path: Path) -> None:
    study = open_study(tmp_path / "toy.db", params, "toy", SPACE)
    with closing(sqlite3.connect(tmp_path / "toy.db")) as other:
        other.execute("DROP TABLE trial_params")
    with pytest.raises(ZSLError, match=r"^study of 'toy': not a study of this program, or damaged .*no such table"):
        search(study, params, seen_of(toy), SPACE, 1)


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        ({"train.lrr": {"low": 0.1, "high": 1.0}}, "did you mean 'lr'"),
        ({"trian.lr": {"low": 0.1, "high": 1.0}}, "did you mean 'train'"),
        ({"train.lr": {"low": -0.1, "high": 1.0}}, "greater than 0"),
    ],
)
def test_a_space_the_parameters_cannot_take(params: Params, tmp_path: Path, space: Any, problem: str) -> None:
    with pytest.raises(ZSLError, match=problem):
        open_study(tmp_path / "toy.db", params, "toy", TuneSettings(space=space))
    assert not (tmp_path / "toy.db").exists()


def test_a_value_set_for_every_data_set_cannot_be_tuned(params: Params, tmp_path: Path) -> None:
    fixed = Params({**params.raw, "train": {"lr": 0.1}}, params.file)
    with pytest.raises(ZSLError, match=r"train\.lr: set for every data set"):
        open_study(tmp_path / "toy.db", fixed, "toy", SPACE)


@pytest.mark.parametrize("bad", [{}, {"low": 1}, {"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}])
def test_bad_dimensions(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="low"):
        Dimension(**bad)


def test_a_bad_dimension_is_explained() -> None:
    space = {"train.lr": {"low": 2, "high": 1}}
    with pytest.raises(ZSLError, match=r"tune: space\.train\.lr is \{'low': 2, 'high': 1\}: low must be below high$"):
        Params({"tune": {"space": space}}).extra("tune", TuneSettings)


def test_bad_trials_are_pruned_or_passed_over(
    params: Params, toy: Dataset, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    calls = iter(range(10))

    def unlucky(seen: Any, settings: Any, device: str, observe: Any) -> Any:
        if next(calls) == 0:
            raise ZSLError("train: the loss is nan")
        observe(1, 10.0)
        raise optuna.TrialPruned

    monkeypatch.setattr("zslcore.experiments.tune.select", unlucky)
    study = open_study(tmp_path / "toy.db", params, "toy", SPACE)
    search(study, params, seen_of(toy), SPACE, 2)
    assert list(history(study)["state"]) == ["fail", "pruned"]
    with pytest.raises(ZSLError, match=r"no trial was completed .*the loss is nan.*; run more"):
        params_diff(study, params, TEXT)
    assert "trial 0 failed: train: the loss is nan" in caplog.text
    assert "Traceback" not in caplog.text


def test_trials_on_other_data_are_refused(params: Params, toy: Dataset, tmp_path: Path) -> None:
    study = open_study(tmp_path / "toy.db", params, "toy", SPACE)
    seen = seen_of(toy)
    search(study, params, seen, SPACE, 1)
    other = dataclasses.replace(seen, signatures=2 * seen.signatures)
    with pytest.raises(ZSLError, match="its 1 trials were made on other data; move its file away"):
        search(study, params, other, SPACE, 1)


def test_nested() -> None:
    assert nested({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
