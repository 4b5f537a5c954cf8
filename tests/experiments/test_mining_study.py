"""The grid search, its resumption, and the tables of the mining study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import stages.metric_learning
import stages.mining
from tests.conftest import write_data, write_project
from zslcore.datasets.dataset import Dataset, load_seen
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task, benchmark_task
from zslcore.evaluation.result_cache import cached_result
from zslcore.experiments import mining
from zslcore.experiments.mining import Study, combinations, epochs_to, hold_out_classes
from zslcore.experiments.settings import Mining
from zslcore.io import artifacts
from zslcore.methods.base import Method
from zslcore.project.params import Params
from zslcore.report.blocks import Figure, Table
from zslcore.report.experiments import mining as report_section
from zslcore.report.results import Results

SETTINGS = Mining(
    runs=2,
    negatives=(1, 5),
    holdout_draws=2,
    grid={"lambda_attributes": (0.01,), "mining.growth": ("accumulate", "resample")},
    eszsl={"alpha": (1.0, 2.0)},
    settings={"epochs": 2, "lr": 0.02, "batch_size": 32},
)
SEARCHED = {"lambda_attributes": (0.01, 0.1)}


@pytest.fixture
def study(toy: Dataset, tmp_path: Path) -> Study:
    write_data(tmp_path, toy)
    assert toy.features is not None
    seen = load_seen(tmp_path / "dataset.h5", tmp_path / "features.h5")
    return Study(SETTINGS, benchmark_task(toy, toy.features), seen, "cpu", tmp_path / "results")


def test_results_are_computed_once_for_each_key(tmp_path: Path) -> None:
    calls = []
    for key in ({"a": 1}, {"a": 1}, {"a": 2}):
        assert cached_result(key, lambda: calls.append(1) or [1.5], tmp_path) == [1.5]
    assert len(calls) == 2
    assert not list(tmp_path.glob("*.tmp"))


def test_an_interrupted_search_resumes(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    real = mining.accuracy_by_epoch

    def interrupted(*arguments: object) -> list[float]:
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(mining, "accuracy_by_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.table1()
    later: list[int] = []
    monkeypatch.setattr(mining, "accuracy_by_epoch", lambda *a: later.append(1) or real(*a))
    rows = study.table1()
    monkeypatch.setattr(mining, "accuracy_by_epoch", lambda *a: pytest.fail("all results are cached"))
    assert study.table1() == rows
    assert len(done) + len(later) == study.fits.table1 == (2 * 2 + 1) + 4 * (2 * 2 + 2)


def test_chooses_on_held_out_training_classes_only(study: Study, toy: Dataset) -> None:
    held_out = hold_out_classes(toy.seen, 0.2, 0)
    assert len(held_out) == 2
    assert set(held_out) < set(toy.seen)
    assert set(hold_out_classes(toy.seen, 0.2, 0)) == set(held_out)
    unseen = toy.features[toy.test_unseen]  # type: ignore[index]
    for task in study.validation:
        for rows in (task.train.features, task.unseen_features):
            assert not (rows[:, None] == unseen[None]).all(axis=2).any()
    with pytest.raises(ZSLError, match="fewer than two"):
        hold_out_classes(np.arange(3), 0.2, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"grid": {"mu": (0.001, -1.0)}}, "mu"),
        ({"grid": {"lambda_attributes": (-0.1,)}}, "lambda_attributes"),
        ({"settings": {"optimiser": "adma"}}, "optimiser"),
        ({"eszsl": {"alhpa": (1.0,)}}, "alpha"),
    ],
)
def test_refuses_bad_settings_before_any_fit(study: Study, bad: dict[str, object], message: str) -> None:
    with pytest.raises(ZSLError, match=message):
        replace(study, settings=SETTINGS.model_copy(update=bad))


def test_refuses_bad_data_before_any_fit(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Mining(negatives=(0, 5))
    train = study.task.train
    constant = replace(train, image_attributes=train.signatures[train.labels])
    with pytest.raises(ZSLError, match="same attributes"):
        replace(study, task=replace(study.task, train=constant))
    monkeypatch.setattr("zslcore.methods.metric_learning.mining.PAIRS_LIMIT", 100)
    with pytest.raises(ZSLError, match="smaller n"):
        replace(study)


def test_the_best_candidate_is_taken(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "accuracy_by_epoch", lambda m, task, seed: [100 * m.settings.lambda_attributes])
    assert study.choose("metric-learning", {"epochs": 1}, SEARCHED)["lambda_attributes"] == 0.1


def test_the_best_candidate_is_the_best_over_all_draws(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {0.01: (70.0, 10.0), 0.1: (50.0, 40.0)}

    def score(method: Method, task: Task, seed: int) -> list[float]:
        draw = next(position for position, drawn in enumerate(study.validation) if drawn is task)
        return [scores[method.settings.lambda_attributes][draw]]

    monkeypatch.setattr(mining, "accuracy_by_epoch", score)
    assert study.choose("metric-learning", {"epochs": 1}, SEARCHED)["lambda_attributes"] == 0.1


def test_each_strategy_with_each_n_chooses_its_growth(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few resampled negatives are best, and many accumulated ones, each row runs with its best."""

    def score(method: Method, task: Task, seed: int) -> list[float]:
        if method.name == "eszsl":
            return [0.0]
        best = "resample" if method.settings.mining.n == 1 else "accumulate"
        return [50.0 + (method.settings.mining.growth == best)]

    monkeypatch.setattr(mining, "accuracy_by_epoch", score)
    rows = study.table2()
    for by_n in rows.values():
        assert {n: row["settings"]["mining"]["growth"] for n, row in by_n.items()} == {
            "1": "resample",
            "5": "accumulate",
        }
        assert {n: row["settings"]["mining"]["n"] for n, row in by_n.items()} == {"1": 1, "5": 5}
    assert study.chosen["metric-learning {'strategy': 'random', 'n': 1}"]["candidates"] == [
        {"lambda_attributes": 0.01, "mining.growth": growth, "T1": score}
        for growth, score in (("accumulate", 50.0), ("resample", 51.0))
    ]


def test_table_2_shares_its_runs_with_table_1(study: Study) -> None:
    first, second = study.table1(), study.table2()
    assert list(second) == ["random", "uncertainty", "uncertainty-correlation"]
    over_parent = first["uncertainty"].pop("lead over parent")
    leads = second["uncertainty"]["5"].pop("lead over random")
    assert second["uncertainty"]["5"] == first["uncertainty"]
    assert second["random"]["1"] == first["parent"]
    seeds = [row["T1"]["seeds"].values() for row in (first["uncertainty"], first["parent"], first["random"])]
    over = [np.mean([a - b for a, b in zip(seeds[0], other, strict=True)]) for other in seeds[1:]]
    assert [over_parent["mean"], leads["1"]["mean"], leads["5"]["mean"]] == pytest.approx([over[0], *over])
    assert "lead over random" not in second["random"]["5"]


def test_one_signature_a_class_leaves_correlation_out(study: Study) -> None:
    without = replace(study.seen, image_attributes=None)
    assert replace(study, seen=without).strategies == ("random", "uncertainty")


def test_combinations_and_epochs() -> None:
    assert list(combinations({"a": (1, 2), "b.c": (3,)})) == [{"a": 1, "b": {"c": 3}}, {"a": 2, "b": {"c": 3}}]
    assert epochs_to([10.0, 47.0, 47.5, 50.0]) == 3
    assert epochs_to([0.0]) == 1


def test_stages(toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "artifacts/toy", toy)
    own = {"mining": SETTINGS.model_dump(mode="json")}
    write_project(tmp_path, experiments=own, data={"toy": {}, "other": {}})
    stages.metric_learning.command("toy")
    stages.mining.command("toy")
    folder = tmp_path / "experiments/results/toy"
    first = artifacts.read_json(folder / "metric-learning.json")
    assert first["about"] == {"dataset": "toy", "split": "own", "runs": 2, "attributes": "of each image"}
    assert list(first["rows"]["eszsl"]["T1"]["seeds"]) == ["0"]
    second = artifacts.read_json(folder / "mining/table2.json")
    assert second["about"]["split"] == "own"
    curve = pd.read_csv(folder / "mining/convergence.csv")
    assert set(curve["n"]) == {1, 5}
    assert len(curve) == 3 * 2 * 2 * 2  # strategies, n, seeds, epochs
    last = curve[(curve.epoch == 2) & (curve.run == "uncertainty, n = 5")]["T1"].mean()
    assert last == pytest.approx(second["rows"]["uncertainty"]["5"]["T1"]["mean"], rel=1e-4)

    blocks = list(report_section(Results(Params().resolve("toy"), (tmp_path / "experiments/results",))))
    one, two, epochs, leads = (block for block in blocks if isinstance(block, Table))
    assert [row[:2] for row in one.rows][1:3] == [("random (the parent method)", "1"), ("random", "5")]
    assert "split: own" in one.caption
    assert "split: own" in two.caption
    assert two.header == ("strategy", "n = 1", "n = 5")
    assert [row[0] for row in epochs.rows] == ["random", "uncertainty", "uncertainty-correlation"]
    assert leads.header == ("strategy", "from random, n = 1", "from random, n = 5")
    lead = second["rows"]["uncertainty"]["1"]["lead over random"]["5"]
    assert leads.rows[0][0] == "uncertainty, n = 1"
    assert leads.rows[0][2] == f"{lead['mean']:+.1f} [{lead['low']:+.1f}, {lead['high']:+.1f}]"
    assert len(leads.rows) == 4
    assert any(isinstance(block, Figure) and block.png.startswith(b"\x89PNG") for block in blocks)
    assert not list(report_section(Results(Params().resolve("other"), (tmp_path / "experiments/results",))))


def test_table_2_counts_upwards(tmp_path: Path) -> None:
    def cell(value: float) -> dict[str, object]:
        return {"mean": value, "std": 0.0, "seeds": {"0": value, "1": value}}

    by_n = {str(n): {"T1": cell(n), "epochs to 95 %": cell(n), "curves": {}} for n in (1, 10, 50, 100)}
    found = {"about": {"runs": 2, "split": "own"}, "rows": {"random": by_n}}
    artifacts.write_json(tmp_path / "toy/mining/table2.json", found)
    resolved = Params(write_project(tmp_path, resolve=False)).resolve("toy")
    blocks = report_section(Results(resolved, (tmp_path,)))
    (two, *_) = (block for block in blocks if isinstance(block, Table))
    assert two.header == ("strategy", "n = 1", "n = 10", "n = 50", "n = 100")
    assert [float(value.split()[0]) for value in two.rows[0][1:]] == [1, 10, 50, 100]
