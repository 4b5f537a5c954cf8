"""How sure and why, through the stages: chosen without any test row, measured on test images, shown in the report."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import classify, evaluate, extract, finetune, generate, report, select, train
from stages.workspace import Workspace
from tests.conftest import make_dataset, write_project
from zslcore.datasets import dataset as datasets
from zslcore.evaluation.strangers import STRANGERS
from zslcore.io import artifacts
from zslcore.io.artifacts import read_json

SETTINGS = {
    "select": {"splits": 2, "train_epochs": [3, 6]},
    "finetune": {"epochs": 2},
    "train": {"hidden": 16, "projection": 12, "batch_size": 32, "members": 2, "lr": 0.003, "feedback": 0.1},
    "generate": {"per_unseen": 20, "per_seen": 10},
    "classify": {"epochs": 10, "lr": 0.01, "feedback": 0.5},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two data sets, `toy` and the same with other test images; all but `other`'s late stages have run.

    In `other` the features of every test image are noise, and the labels of unseen images are shuffled.
    """
    folder = tmp_path_factory.mktemp("confidence")
    data = make_dataset(seen=10, unseen=4, per_class=8)
    assert data.features is not None
    random, features, labels = np.random.default_rng(1), data.features.copy(), data.labels.copy()
    tested = np.concatenate([data.test_seen, data.test_unseen])
    features[tested] = 50 * random.normal(size=(len(tested), features.shape[1]))
    labels[data.test_unseen] = random.permutation(labels[data.test_unseen])
    write_project(folder, {"seeds": [0, 1]}, {"toy": SETTINGS, "other": SETTINGS})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sets = {"toy": data, "other": replace(data, features=features, labels=labels)}
        for name, one in sets.items():
            datasets.save(Path(f"artifacts/{name}/dataset.h5"), one, {})
            extract.command(name)
            select.command(name)
        for stage in (finetune, train, generate, classify, evaluate):
            stage.command("toy")
    return folder


def test_not_a_byte_of_the_choice_depends_on_a_test_row(project: Path) -> None:
    toy, other = (project / f"results/{name}/selected.json" for name in ("toy", "other"))
    assert toy.read_bytes() == other.read_bytes()
    chosen = read_json(toy)
    assert set(chosen["strangers"]) == set(STRANGERS)
    assert chosen["confidence"]["stranger"] == max(chosen["strangers"], key=chosen["strangers"].get)
    assert all(temperature > 0 for temperature in chosen["confidence"]["temperature"].values())
    assert len(chosen["confidence"]["quantiles"]) == 201


def test_nor_does_the_choice_of_eszsl(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, calibration factor and validation figures: what the settings of `package: {method: auto}` rest on."""
    monkeypatch.chdir(project)
    toy, other = (evaluate.eszsl(Workspace(name)) for name in ("toy", "other"))
    assert toy is not None
    assert other is not None
    assert toy == read_json(Path("results/toy/metrics.json"))["eszsl"]
    assert toy["zsl"] != other["zsl"], "the test images differ"
    assert {**toy["about"], "dataset": "other"} == {**other["about"], "dataset": "other"}
    assert toy["about"]["validation"]["splits"] == SETTINGS["select"]["splits"]


def test_eszsl_is_left_out_where_two_classes_have_one_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_project(tmp_path, {}, {"twins": SETTINGS})
    monkeypatch.chdir(tmp_path)
    data = make_dataset(seen=6, unseen=2, per_class=4)
    data.signatures[1] = data.signatures[0]
    datasets.save(Path("artifacts/twins/dataset.h5"), data, {})
    extract.command("twins")
    artifacts.write_json(Path("results/twins/selected.json"), {})
    assert evaluate.eszsl(Workspace("twins")) is None
    assert "twins: not measured for comparison: eszsl: no candidate could be fitted" in capsys.readouterr().err


def test_evaluate_says_how_far_off_the_promises_are(project: Path) -> None:
    metrics = read_json(project / "results/toy/metrics.json")
    assert set(metrics["confidence"]["ECE"]["seeds"]) == {"0", "1"}
    points = pd.read_csv(project / "results/toy/reliability.csv")
    for classes, figure in (("all", "ECE"), ("unseen", "unseen_ECE")):
        for when, suffix in (("before", "_before"), ("after", "")):
            part = points[(points["classes"] == classes) & (points["temperature"] == when)]
            gap = np.average((part["accuracy"] - part["confidence"]).abs(), weights=part["images"])
            assert gap <= metrics["confidence"][f"{figure}{suffix}"]["mean"] + 0.01, "pooling seeds averages gaps out"
    for name in ("AUROC", "FPR95", "false_alarms", "recognised"):
        assert 0 <= metrics["strangers"][name]["mean"] <= 100


def test_confusions_are_explained_by_every_attribute(project: Path) -> None:
    table = pd.read_csv(project / "results/toy/explained.csv")
    for (actual, called), group in table.groupby(["actual", "predicted"]):
        assert actual != called
        assert sorted(group["attribute"]) == sorted(f"attribute {m}" for m in range(1, 11))
        assert (np.diff(group["contribution"].abs()) <= 1e-6).all(), "the largest first"
        assert group["nearest"].iloc[0].count("class ") == 3
    assert (np.diff(table.groupby(["actual", "predicted"], sort=False)["images"].first()) <= 0).all()


def test_the_report_shows_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    metrics = read_json(Path("results/toy/metrics.json"))
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("- other\n", ""))
    report.command()
    text = Path("report/report.md").read_text()
    assert "### How sure" in text
    assert f"| {metrics['confidence']['ECE']['mean']:.1f} ± {metrics['confidence']['ECE']['std']:.1f} |" in text
    assert "for class " in text.split("### Why: the most frequent confusions")[1]
    assert Path("report/figures/toy-reliability.png").exists()
