"""A metric is one entry of one table: it reaches every result and every table from there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import write_project
from zslcore.datasets.dataset import Dataset, Seen
from zslcore.evaluation.metrics import METRICS, Metric, Scores
from zslcore.evaluation.protocol import Task, evaluate, score, summarise
from zslcore.experiments.ablation import Variant, run_variant
from zslcore.experiments.compare import Given, compare
from zslcore.experiments.settings import Ablation, Compare
from zslcore.io.artifacts import write_json
from zslcore.methods.eszsl import ESZSL
from zslcore.project.gate import GateSettings
from zslcore.project.gate import compare as compare_revisions
from zslcore.project.params import Params
from zslcore.report.build import write_report
from zslcore.report.headline import headline
from zslcore.settings import Finetune, Select, Settings


def overall_top1(scores: Scores, factor: float) -> float:
    """The share of all unseen images that are recognised: what the field does not report."""
    return 100 * float(np.mean(scores.seen_count + scores.zsl.argmax(axis=1) == scores.unseen_labels))


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = Metric("overall T1", "share of images", overall_top1, headline=True, tolerance=2.0)
    monkeypatch.setitem(METRICS, "zsl.overall", metric)


def seen_of(data: Dataset) -> Seen:
    assert data.features is not None
    rows = data.trainval
    return Seen("toy", data.features[rows], data.labels[rows], data.signatures, data.seen, data.unseen)


def column(markdown: str, title: str, row: str) -> list[str]:
    """The cells under `title` in every row that begins with `row`."""
    cells, position = [], None
    for line in markdown.splitlines():
        parts = [part.strip(" *") for part in line.split("|")]
        if title in parts:
            position = parts.index(title)
        elif not line.startswith("|"):
            position = None
        elif position is not None and parts[1].startswith(row):
            cells.append(parts[position])
    return cells


def test_evaluate_computes_it(toy_task: Task) -> None:
    scores = score(ESZSL().fit(toy_task.train), toy_task)
    assert evaluate(scores, 0.1)["zsl"]["overall"] == overall_top1(scores, 0.1)


def test_the_gate_lets_its_tolerance_pass_and_settings_win_over_it() -> None:
    diff = {"results/toy/metrics.json": {name: {"old": 50.0, "new": 47.0} for name in ("zsl.overall", "zsl.T1")}}

    def verdicts(**metrics: float) -> dict[str, str]:
        rows = compare_revisions(diff, GateSettings(metrics=metrics).with_tolerances())
        return {row.metric.partition(":")[2]: row.verdict for row in rows if row.old is not None}

    assert verdicts() == {"zsl.overall": "worse", "zsl.T1": "worse"}
    assert verdicts(**{"zsl.overall": 4.0}) == {"zsl.overall": "same", "zsl.T1": "worse"}


def test_compare_and_the_ablation_hold_it(toy: Dataset, tmp_path: Path) -> None:
    assert toy.features is not None
    given = Given(calibration=0.0)
    compared = compare(ESZSL, toy, seen_of(toy), toy.features, given, Compare(), [0], "cpu")
    quick = Select(splits=1, train_epochs=(2,), per_unseen=(5,), classify_epochs=(2,))
    settings = Settings(select=quick, finetune=Finetune(epochs=1))
    variants = {"NA": Variant(title="NA", settings={"train": {"projection": 0, "hidden": 8}})}
    main = tmp_path / "selected.json", tmp_path / "metrics.json"
    of_data = toy, seen_of(toy), toy.features, main
    variant = run_variant(settings, Ablation(), "NA", variants, *of_data, preset="best", seeds=[0, 1], device="cpu")
    for result, seeds in ((compared, {"0"}), (variant, {"0", "1"})):
        assert set(result["zsl"]["overall"]["seeds"]) == seeds
        assert f"overall T1 {result['zsl']['overall']['mean']:.1f}" in headline(result)


def test_the_report_shows_it_in_every_table_of_results(tmp_path: Path) -> None:
    def result(overall: float, **about: Any) -> dict[str, Any]:
        run = {
            group: dict.fromkeys(names, 50.0)
            for group, names in (
                ("zsl", ("T1",)),
                ("gzsl", ("U", "S", "H", "AUSUC", "retention")),
                ("plain", "USH"),
                ("diagnostic", [name.split(".")[1] for name in METRICS if name.startswith("diagnostic")]),
            )
        }
        run["zsl"]["overall"] = overall
        return {"about": {"split": "own", "preset": "best", "seeds": 1, **about}, **summarise({0: run})}

    row = {"against": None, "reused": False, "candidates": 1, "splits": 1, "members": 1}
    write_json(tmp_path / "results/toy/metrics.json", result(61.5))
    write_json(tmp_path / "results/toy/methods/eszsl.json", result(72.5, title="eszsl"))
    write_json(tmp_path / "results/toy/ablation/NA.json", result(83.5, title="NA", row=0, **row))
    old = result(0.0, title="without", row=1, **row)
    del old["zsl"]["overall"]
    write_json(tmp_path / "results/toy/ablation/old.json", old)
    resolved = Params(write_project(tmp_path, resolve=False)).resolve("toy")
    summary = write_report([resolved], tmp_path / "results", tmp_path / "report")
    report = (tmp_path / "report/report.md").read_text()
    assert column(summary, "overall T1", "toy") == ["61.5"]
    assert column(report, "overall T1", "eszsl") == ["72.5"]
    assert column(report, "overall T1", "this pipeline") == ["61.5"]
    assert column(report, "overall T1", "NA") == ["83.5"]
    assert column(report, "overall T1", "old") == [""], "a result from before the metric was there"
    assert "overall T1: share of images." in report
