import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest

from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.select import select
from zslcore.experiments.settings import Dimension, Tune
from zslcore.experiments.tune import REPEATS, best_values, compare, history, nested, open_study, search
from zslcore.io.layers import validate
from zslcore.project.edit import with_values
from zslcore.project.params import Resolved
from zslcore.settings import Finetune, Select, Settings, Train

SETTINGS = Settings(
    select=Select(splits=1, train_epochs=(2,), per_unseen=(5,), classify_epochs=(3,)),
    finetune=Finetune(epochs=1),
    train=Train(hidden=16, projection=8),
)
TEXT = """\
source: {kind: birds}
best:
  finetune: {epochs: 1} # short
  train: {hidden: 16, projection: 8}
paper:
  train: {}
"""
SPACE = Tune(space={"train.lr": Dimension(low=1e-3, high=1e-2, log=True), "train.hidden": Dimension(low=8, high=16)})


def test_the_shipped_space_fits_the_shipped_settings_of_every_data_set(
    shipped: dict[str, Resolved], tmp_path: Path
) -> None:
    for dataset, resolved in shipped.items():
        tune = resolved.experiments["tune"]
        assert isinstance(tune, Tune)
        open_study(tmp_path / f"{dataset}.db", resolved.pipeline, dataset, tune)


def seen_of(data: Dataset) -> Seen:
    assert data.features is not None
    rows = data.trainval
    return Seen("toy", data.features[rows], data.labels[rows], data.signatures, data.seen, data.unseen)


def test_a_search_resumes_and_its_best_values_go_where_the_data_sets_stand(toy: Dataset, tmp_path: Path) -> None:
    for total in (2, 3):
        study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
        search(study, SETTINGS, seen_of(toy), SPACE, 2 if total == 2 else 1, "cpu")
        assert len(study.trials) == total
        assert len({tuple(trial.params.values()) for trial in study.trials}) == total, "a resumed search goes on"
    table = history(study)
    assert list(table.columns) == ["trial", "state", "score", "T1", "H", "train.lr", "train.hidden"]
    assert table["score"].max() == study.best_value
    changed = with_values(TEXT, "best", best_values(study)).splitlines()
    added = [line for line in changed if line not in TEXT.splitlines()]
    assert len(added) == 1
    assert len(changed) == len(TEXT.splitlines())
    assert f"lr: {study.best_params['train.lr']}" in added[0]
    assert f"hidden: {study.best_params['train.hidden']}" in added[0]
    assert "projection: 8" in added[0]


def test_another_space_or_other_settings_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "toy.db"
    other = Tune(space={"train.lr": Dimension(low=1e-4, high=1e-2, log=True)})
    open_study(file, SETTINGS, "toy", other)  # without a trial it binds nobody
    open_study(file, SETTINGS, "toy", SPACE).add_trial(optuna.trial.create_trial(value=1.0))
    before = file.read_bytes()
    with pytest.raises(ZSLError, match=r"toy.db: a study with another search space \(1 trials\)"):
        open_study(file, SETTINGS, "toy", other)
    changed = SETTINGS.override({"finetune": {"epochs": 2}})
    with pytest.raises(ZSLError, match="a study with another base of settings"):
        open_study(file, changed, "toy", SPACE)
    assert file.read_bytes() == before
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(ZSLError, match="not a study of this program, or damaged"):
        open_study(file, SETTINGS, "toy", SPACE)


def test_a_file_that_cannot_be_opened_is_no_damaged_study(tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=r"cannot be used \(unable to open database file\); check the permissions"):
        open_study(tmp_path, SETTINGS, "toy", SPACE)


def test_a_study_damaged_under_way_is_explained(toy: Dataset, tmp_path: Path) -> None:
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
    with closing(sqlite3.connect(tmp_path / "toy.db")) as other:
        other.execute("DROP TABLE trial_params")
    with pytest.raises(ZSLError, match=r"^study of 'toy': not a study of this program, or damaged .*no such table"):
        search(study, SETTINGS, seen_of(toy), SPACE, 1, "cpu")


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        ({"train.lrr": {"low": 0.1, "high": 1.0}}, "did you mean 'lr'"),
        ({"trian.lr": {"low": 0.1, "high": 1.0}}, "did you mean 'train'"),
        ({"train.lr": {"low": -0.1, "high": 1.0}}, "greater than 0"),
    ],
)
def test_a_space_the_parameters_cannot_take(tmp_path: Path, space: Any, problem: str) -> None:
    with pytest.raises(ZSLError, match=problem):
        open_study(tmp_path / "toy.db", SETTINGS, "toy", Tune(space=space))
    assert not (tmp_path / "toy.db").exists()


def test_settings_that_are_searched_are_no_base(tmp_path: Path) -> None:
    """A study goes on after its best values were put where they belong: only what is not searched is the base."""
    open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE).add_trial(optuna.trial.create_trial(value=1.0))
    searched = SETTINGS.override({"train": {"lr": 0.005, "hidden": 9}})
    assert len(open_study(tmp_path / "toy.db", searched, "toy", SPACE).trials) == 1


def test_a_trial_is_the_present_settings_with_the_values_searched(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Settings] = []

    def watched(seen: Any, settings: Settings, device: str, observe: Any) -> Any:
        tried.append(settings)
        return {"validation": {"T1": 50.0, "H": 40.0}}, []

    monkeypatch.setattr("zslcore.experiments.tune.select", watched)
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
    search(study, SETTINGS, seen_of(toy), SPACE, 3, "cpu")
    assert study.best_value == 45.0
    assert tried == [SETTINGS.override(nested(trial.params)) for trial in study.trials]


@pytest.mark.parametrize("bad", [{}, {"low": 1}, {"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}])
def test_bad_dimensions(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="low"):
        Dimension(**bad)


def test_a_bad_dimension_is_explained() -> None:
    space = {"train.lr": {"low": 2, "high": 1}}
    with pytest.raises(ZSLError, match=r"tune: space\.train\.lr is \{'low': 2, 'high': 1\}: low must be below high$"):
        validate(Tune, {"space": space}, "tune")


def test_bad_trials_are_pruned_or_passed_over(toy: Dataset, tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    calls = iter(range(10))

    def unlucky(seen: Any, settings: Any, device: str, observe: Any) -> Any:
        if next(calls) == 0:
            raise ZSLError("train: the loss is nan")
        observe(1, 10.0)
        raise optuna.TrialPruned

    monkeypatch.setattr("zslcore.experiments.tune.select", unlucky)
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
    search(study, SETTINGS, seen_of(toy), SPACE, 2, "cpu")
    assert list(history(study)["state"]) == ["fail", "pruned"]
    with pytest.raises(ZSLError, match=r"no trial was completed .*the loss is nan.*; run more"):
        best_values(study)
    assert "trial 0 failed: train: the loss is nan" in caplog.text
    assert "Traceback" not in caplog.text


def test_trials_on_other_data_are_refused(toy: Dataset, tmp_path: Path) -> None:
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
    seen = seen_of(toy)
    search(study, SETTINGS, seen, SPACE, 1, "cpu")
    other = dataclasses.replace(seen, signatures=2 * seen.signatures)
    with pytest.raises(ZSLError, match="its 1 trials were made on other data; move its file away"):
        search(study, SETTINGS, other, SPACE, 1, "cpu")


def test_the_first_trial_is_the_present_settings_on_the_splits_of_select(toy: Dataset, tmp_path: Path) -> None:
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
    search(study, SETTINGS, seen_of(toy), SPACE, 2, "cpu")
    chosen, _ = select(seen_of(toy), SETTINGS, "cpu")
    first = study.trials[0]
    assert first.params == {"train.lr": SETTINGS.train.lr, "train.hidden": SETTINGS.train.hidden}
    assert {name: first.user_attrs[name] for name in ("T1", "H")} == {
        name: chosen["validation"][name] for name in ("T1", "H")
    }
    search(study, SETTINGS, seen_of(toy), SPACE, 1, "cpu")
    assert [trial.user_attrs.get("present") is not None for trial in study.trials] == [True, False, False]


def test_present_values_outside_the_space_are_tried_as_they_are(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {
        "train.lr": Dimension(low=0.5, high=1.0),
        "train.hidden": Dimension(low=8, high=16),
        "train.latent": Dimension(choices=(4, 8)),
    }
    tried: list[Settings] = []

    def watched(seen: Any, settings: Settings, device: str, observe: Any = None) -> Any:
        tried.append(settings)
        return {"validation": {"T1": 50.0, "H": 40.0}}, []

    monkeypatch.setattr("zslcore.experiments.tune.select", watched)
    tune = Tune(space=space)
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", tune)
    search(study, SETTINGS, seen_of(toy), tune, 2, "cpu")
    assert tried[0] == SETTINGS
    assert study.trials[0].params == {"train.hidden": 16}
    assert tried[1].train.lr >= 0.5
    found = compare(study, SETTINGS, seen_of(toy), tune, "cpu")
    assert found is not None
    assert found.best == found.present == 0, "as good is not better"


def scored(monkeypatch: pytest.MonkeyPatch, lead: Any) -> list[int]:
    """Replaces `select`: 50, and where lr is not the present one, `lead(seed)` more. Gives the seeds asked for."""
    seeds: list[int] = []

    def known(seen: Any, settings: Settings, device: str, observe: Any = None) -> Any:
        seeds.append(settings.select.seed)
        other = settings.train.lr != SETTINGS.train.lr
        value = 50 + settings.select.seed + (lead(settings.select.seed) if other else 0)
        return {"validation": {"T1": value, "H": value}}, []

    monkeypatch.setattr("zslcore.experiments.tune.select", known)
    return seeds


@pytest.mark.parametrize(
    ("lead", "better"), [(lambda seed: 2 + 0.1 * seed, True), (lambda seed: 9 if seed == 0 else seed - 3, False)]
)
def test_the_best_trial_must_lead_by_seeds_that_no_trial_used(
    lead: Any, better: bool, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The luck that makes a trial the best one is not counted: it leads by 9 on the search's seed and by 0 else."""
    seeds = scored(monkeypatch, lead)
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
    search(study, SETTINGS, seen_of(toy), SPACE, 3, "cpu")
    assert seeds == [0, 0, 0]
    for _ in range(2):  # kept in the study: the second time nothing is fitted
        found = compare(study, SETTINGS, seen_of(toy), SPACE, "cpu")
        assert found is not None
        assert (found.present, found.better) == (0, better)
        assert found.lead.mean == pytest.approx(2.3 if better else 0.0)
        assert seeds[3:] == [1, 2, 3, 4, 5] * 2
    assert found.lead.count == REPEATS


def test_a_fit_that_fails_by_another_seed_offers_nothing(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lead(seed: int) -> float:
        if seed == 3:
            raise ZSLError("train: the loss is nan")
        return 5.0

    scored(monkeypatch, lead)
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
    search(study, SETTINGS, seen_of(toy), SPACE, 2, "cpu")
    found = compare(study, SETTINGS, seen_of(toy), SPACE, "cpu")
    assert found is not None
    assert not found.better


def test_best_values_that_were_put_in_place_are_the_present_ones(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, lambda seed: 3.0)
    study = open_study(tmp_path / "toy.db", SETTINGS, "toy", SPACE)
    search(study, SETTINGS, seen_of(toy), SPACE, 2, "cpu")
    applied = SETTINGS.override(best_values(study))
    search(study, applied, seen_of(toy), SPACE, 1, "cpu")
    assert ["present" in trial.user_attrs for trial in study.trials] == [True, False, False], "not tried twice"
    found = compare(study, applied, seen_of(toy), SPACE, "cpu")
    assert found is not None
    assert found.best == found.present
    changed = SETTINGS.override({"train": {"lr": 0.009}})
    assert compare(study, changed, seen_of(toy), SPACE, "cpu") is None, "never tried"


def test_a_search_is_the_same_however_many_trials_run_at_once(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suggestions, pruning, fits that fail and the comparison by other seeds included."""

    def known(seen: Any, settings: Settings, device: str, observe: Any) -> Any:
        if settings.train.hidden == 16:
            raise ZSLError("train: the loss is nan")
        for splits in (1, 2):
            observe(splits, 50.0 + settings.train.lr * settings.train.hidden * splits)
        return {"validation": {"T1": 50 + settings.train.lr, "H": 50.0 + settings.select.seed}}, []

    monkeypatch.setattr("zslcore.experiments.tune.select", known)
    found = []
    for jobs in ("1", "2"):
        monkeypatch.setenv("ZSL_JOBS", jobs)
        study = open_study(tmp_path / f"{jobs}.db", SETTINGS.override({"train": {"hidden": 8}}), "toy", SPACE)
        search(study, SETTINGS.override({"train": {"hidden": 8}}), seen_of(toy), SPACE, 14, "cpu")
        lead = compare(study, SETTINGS.override({"train": {"hidden": 8}}), seen_of(toy), SPACE, "cpu")
        found.append((history(study).to_csv(), lead))
    assert found[0] == found[1]
    for state in ("complete", "pruned", "fail"):
        assert state in found[0][0], "the space has trials of each kind"


def test_nested() -> None:
    assert nested({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
