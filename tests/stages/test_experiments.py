"""The experiments' stages: left alone by `dvc repro`, from files to files, and clear about bad input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from stages import ablation, clusterability, fewshot, report, tsne, tune
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.io import artifacts
from zslcore.io.artifacts import read_json, write_json

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """\
datasets: [toy]
seeds: [0, 1]
device: cpu
preset: best
sources: {toy: {kind: xlsa17, features: f.mat, splits: s.mat}}
select: {splits: 1, train_epochs: [2], per_unseen: [5], classify_epochs: [3]}
finetune: {epochs: 1}
train: {hidden: 16, projection: 8}
tsne: {classes: 3, per_class: 5}
clusterability: {n_init: 1}
fewshot:
  way: 3
  shots: [1, 2]
  query: 4
  episodes: 10
  protonet: {way: 3, query: 2, episodes: 3}
  delta: {hidden: 8, samples: 4, epochs: 1}
tune: {space: {train.lr: {low: 0.001, high: 0.01, log: true}}}
presets: {toy: {best: {}, paper: {}}}
"""


def test_a_plain_repro_never_runs_an_experiment() -> None:
    with Repo(str(ROOT)) as repo:
        own = [stage.addressing for stage in repo.index.stages if not stage.addressing.startswith("experiments/")]
        reached = {found.addressing for name in own for found in repo.stage.collect(name, with_deps=True)}
        assert {"report", "evaluate@birds"} <= reached
        assert not [name for name in reached if name.startswith("experiments/")]
        whole = {found.addressing for found in repo.stage.collect("experiments/dvc.yaml:report", with_deps=True)}
        assert {f"experiments/dvc.yaml:{name}@birds" for name in ("ablation", "fewshot", "clusterability")} <= {
            name.removesuffix("-NA") for name in whole
        }
        assert "evaluate@birds" in whole


@pytest.fixture
def project(tmp_path: Path, toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose main run is done, which is the working folder."""
    (tmp_path / "params.yaml").write_text(PARAMS, encoding="utf-8")
    (tmp_path / "experiments").mkdir()
    shutil.copy(ROOT / "experiments/variants.yaml", tmp_path / "experiments")
    datasets.save(tmp_path / "artifacts/toy/dataset.h5", toy, {})
    with artifacts.create(tmp_path / "artifacts/toy/features.h5", artifacts.FEATURES, {}) as file:
        file["features"] = toy.features
    chosen = {"train": {"epochs": 2}, "generate": {"per_unseen": 5}, "classify": {"epochs": 3, "calibration": 0.5}}
    write_json(tmp_path / "results/toy/selected.json", chosen)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(project: Path, old: str, new: str) -> None:
    file = project / "params.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_from_files_to_the_report(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ablation.command("toy", "CLS")
    clusterability.command("toy")
    fewshot.command("toy")
    tsne.command("toy")
    found = read_json(project / "experiments/results/toy/ablation/CLS.json")
    main = {key: found[key] for key in ("zsl", "gzsl", "plain", "diagnostic")}
    about = {"split": "own", "preset": "best", "seeds": 2}
    write_json(project / "results/toy/metrics.json", {**main, "about": about})
    ablation.command("toy", "main")
    assert read_json(project / "experiments/results/toy/ablation/main.json")["about"]["reused"]
    report.command(experiments=False)
    report.command(experiments=True)
    short, long = (project / f"{folder}report.md" for folder in ("report/", "experiments/report/"))
    for title in ("Ablation", "Clusterability", "Few-shot"):
        assert f"### {title}" not in short.read_text(encoding="utf-8")
        assert f"### {title}" in long.read_text(encoding="utf-8")
    assert "### Real and synthetic features" in short.read_text(encoding="utf-8")
    assert "| toy | own |" in capsys.readouterr().err


def test_tune_prints_a_diff_and_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (project / "params.yaml").read_text(encoding="utf-8")
    tune.command("toy", trials=1)
    assert "+++ params.yaml" in capsys.readouterr().out
    assert (project / "params.yaml").read_text(encoding="utf-8") == before
    assert (project / ".zsl/tune/toy.db").exists()
    made = [project / ".zsl/tune/toy.db", project / "experiments/results/toy/tune.csv"]
    before = [path.read_bytes() for path in made]
    change(project, "high: 0.01", "high: 0.1")
    with pytest.raises(ZSLError, match="another search space"):
        tune.command("toy", trials=1)
    assert [path.read_bytes() for path in made] == before


def test_bad_input_writes_nothing(project: Path) -> None:
    results = project / "experiments/results/toy"
    for name in ("ablation/CLSS", "ablation/CLS", "fewshot", "clusterability"):
        write_json(results / f"{name}.json", {"from": "before"})
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    with pytest.raises(ZSLError, match="unknown ablation variant 'CLSS': did you mean 'CLS'"):
        ablation.command("toy", "CLSS")
    change(project, "way: 3\n  shots", "way: 5\n  shots")
    with pytest.raises(ZSLError, match="5-way episodes need 5 novel classes, there are 4"):
        fewshot.command("toy")
    change(project, "way: 5\n  shots: [1, 2]", "way: 3\n  shots: [1, 20]")
    with pytest.raises(ZSLError, match="3 novel classes of 24 images, there are 0"):
        fewshot.command("toy")
    change(project, "{n_init: 1}", "{n_init: 1, clusters: 1000}")
    with pytest.raises(ZSLError, match="points for 1000 clusters"):
        clusterability.command("toy")
    change(project, "n_init: 1,", "n_int: 1,")
    with pytest.raises(ZSLError, match="did you mean 'n_init'"):
        clusterability.command("toy")
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_experiments_take_part_in_queued_sweeps(tmp_path: Path, make_project: Callable[..., Any]) -> None:
    project = make_project(tmp_path / "project", "birds")
    shutil.copytree(ROOT / "experiments", project.folder / "experiments", ignore=shutil.ignore_patterns("re*"))
    project.set_params(lambda raw: raw.update(clusterability={"n_init": 1, "clusters": None}))
    project.commit("experiments")
    target = "experiments/dvc.yaml:clusterability@birds"
    project.dvc("exp", "run", "--queue", "-S", "clusterability.clusters=2,3", target)
    project.dvc("exp", "run", "--run-all")
    shown = json.loads(project.dvc("exp", "show", "--json"))
    metrics = "experiments/results/birds/clusterability.json"
    found = {
        run["revs"][0]["data"]["params"]["params.yaml"]["data"]["clusterability"]["clusters"]:
        run["revs"][0]["data"]["metrics"][metrics]["data"]["spaces"]
        for run in shown[1]["experiments"]
    }  # fmt: skip
    assert set(found) == {2, 3}
    assert found[2].keys() == found[3].keys()
    assert all(found[2][space] != found[3][space] for space in found[2])
    result = project.folder / metrics
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text("{}")
    project.set_params(lambda raw: raw.update(clusterability={"n_init": 1, "clusters": 1000}))
    assert "points for 1000 clusters" in project.dvc("repro", target, ok=False)
    assert result.read_text() == "{}", "what is refused leaves the last result"
