"""The experiments' stages: left alone by `dvc repro`, from files to files, and clear about bad input."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages import ablation, clusterability, fewshot, report, resolve, tsne, tune
from stages.commands import STAGES
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.experiments.settings import SECTIONS, Fewshot
from zslcore.io import artifacts
from zslcore.io.artifacts import read_json, write_json
from zslcore.io.layers import flat, merge
from zslcore.io.yaml import read_yaml
from zslcore.project.params import Resolved
from zslcore.project.resolved import text_of

ROOT = Path(__file__).resolve().parents[2]
PARAMS = {
    "seeds": [0, 1],
    "select": {"splits": 1, "train_epochs": [2], "per_unseen": [5], "classify_epochs": [3]},
    "finetune": {"epochs": 1},
    "train": {"hidden": 16, "projection": 8},
}
SETTINGS = "results/${item.dataset}/settings.yaml"
"""How experiments/dvc.yaml names the resolved settings of a data set."""
TUNE = {"space": {"train.lr": {"low": 0.001, "high": 0.01, "log": True}}}
EXPERIMENTS: dict[str, Any] = {
    "ablation": {"settings": {}},
    "clusterability": {"n_init": 1},
    "tsne": {"classes": 3, "per_class": 5},
    "fewshot": {
        "way": 3,
        "shots": [1, 2],
        "query": 4,
        "episodes": 10,
        "protonet": {"way": 3, "query": 2, "episodes": 3},
        "delta": {"hidden": 8, "samples": 4, "epochs": 1},
    },
    "tune": TUNE,
}


def test_a_plain_repro_never_runs_an_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
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


def test_what_an_experiment_depends_on_stands_in_its_resolved_settings(shipped: dict[str, Resolved]) -> None:
    pipeline = read_yaml(ROOT / "experiments/dvc.yaml")["stages"]
    files = [YAML(typ="safe").load(text_of(resolved, dict.fromkeys(STAGES, "hash"))) for resolved in shipped.values()]
    sections = {**{name: name for name in pipeline.keys() - {"report"}}, "metric-learning": "mining"}
    for name, section in sections.items():
        (names,) = (file[SETTINGS] for file in pipeline[name]["params"] if SETTINGS in file)
        assert {"device", section, f"code.{name}"} <= set(names), name
        for stored in files:
            assert set(names) <= {*stored, *flat(stored)}, name


@pytest.fixture
def project(tmp_path: Path, toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose main run is done, which is the working folder."""
    settle(tmp_path)
    shutil.copy(ROOT / "experiments/variants.yaml", tmp_path / "experiments")
    datasets.save(tmp_path / "artifacts/toy/dataset.h5", toy, {})
    with artifacts.create(tmp_path / "artifacts/toy/features.h5", artifacts.FEATURES, {}) as file:
        file["features"] = toy.features
    chosen = {"train": {"epochs": 2}, "generate": {"per_unseen": 5}, "classify": {"epochs": 3, "calibration": 0.5}}
    write_json(tmp_path / "results/toy/selected.json", chosen)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settle(
    project: Path,
    experiments: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    params: dict[str, Any] | None = None,
) -> None:
    """Write the settings of the project, with these on top of the usual ones."""
    of_experiments = merge(EXPERIMENTS, experiments or {})
    write_project(project, PARAMS | (params or {}), {"toy": data or {}}, of_experiments, {"paper": {}})


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
    for title in ("Ablation", "Real and synthetic features", "Clusterability", "Few-shot"):
        assert f"### {title}" not in short.read_text(encoding="utf-8")
        assert f"### {title}" in long.read_text(encoding="utf-8")
    assert "| toy | own |" in capsys.readouterr().err


def better_by(monkeypatch: pytest.MonkeyPatch, lead: float, noise: float = 0.1) -> None:
    """Replaces `select` in tune: any learning rate but the present one, 0.002, has `lead` more, and noise by seed."""

    def known(seen: Any, settings: Any, device: str, observe: Any = None) -> Any:
        seed = settings.select.seed
        value = 50.0 + (settings.train.lr != 0.002) * (lead + noise * (-1) ** seed * seed)
        return {"validation": {"T1": value, "H": value}}, []

    monkeypatch.setattr("zslcore.experiments.tune.select", known)


def test_tune_offers_nothing_that_is_not_better(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(project, data={"best": {"train": {"lr": 0.002}}})
    with pytest.raises(ZSLError, match="no trial was completed"):
        tune.command("toy", trials=0)
    for lead, noise, said in (
        (0.0, 0.0, "no trial is better than the present settings: nothing is offered"),
        (-3.0, 0.0, "no trial is better than the present settings: nothing is offered"),
        (1.0, 2.0, "within its noise: nothing is offered"),
        (2.0, 0.1, "the lead in (T1 + H) / 2 is +1.9 [+1.5, +2.4] (95 %)"),
    ):
        better_by(monkeypatch, lead, noise)
        tune.command("toy", trials=1)
        found = capsys.readouterr()
        assert said in found.err
        assert bool(found.out) == (lead == 2.0)


def test_a_diff_is_of_the_lines_that_change() -> None:
    """difflib's own takes lines that repeat for junk beyond 200 lines, and shows them all."""
    block = "".join(f"  data-{number}:\n    extract: {{}}\n    train: {{}}\n" for number in range(150))
    before = f"presets:\n{block}  mine:\n    train:\n      lr: 0.001\n      hidden: 16\n{block}"
    after = before.replace("lr: 0.001", "lr: 0.002").replace("hidden: 16", "hidden: 24")
    lines = tune.unified_diff(before, after, "data/mine.yaml").splitlines()
    assert [line for line in lines if line[0] in "+-"] == [
        *("--- data/mine.yaml", "+++ data/mine.yaml"),
        *("-      lr: 0.001", "-      hidden: 16", "+      lr: 0.002", "+      hidden: 24"),
    ]
    assert len(lines) < 15
    assert tune.unified_diff(before, before, "x") == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "a: 1\n"), ("a: 1\n", ""), ("a: 1", "a: 2\n"), ("a: 1\nb: 2", "a: 3\nb: 2"), ("a: 1\n", "a: 2")],
)
def test_a_diff_applies(before: str, after: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(before)
    (tmp_path / "diff").write_text(tune.unified_diff(before, after, "file"))
    subprocess.run(["git", "apply", "-p0", "diff"], cwd=tmp_path, check=True)
    assert (tmp_path / "file").read_text() == after


def test_tune_prints_a_diff_and_changes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    better_by(monkeypatch, 3.0)
    file = project / "data/toy.yaml"
    text = "source: {kind: birds}\nbest: {train: {lr: 0.002, hidden: 16}} # as chosen by hand\n"
    file.write_text(text, encoding="utf-8")
    resolve.command("toy")
    before = {path: path.read_bytes() for path in (file, project / "params.yaml", project / "experiments/params.yaml")}
    tune.command("toy", trials=2)
    printed = capsys.readouterr().out
    present, lr = pd.read_csv(project / "experiments/results/toy/tune.csv")["train.lr"]
    assert present == 0.002
    (value,) = re.findall(r"lr: ([0-9.e-]+), hidden: 16\}\} # as chosen by hand$", printed.split("\n+best")[1], re.M)
    assert float(value) == pytest.approx(lr, rel=1e-5)
    (project / "diff").write_text(printed, encoding="utf-8")
    subprocess.run(["git", "apply", "--check", "-p0", "diff"], cwd=project, check=True)
    assert {path: path.read_bytes() for path in before} == before
    assert (project / ".zsl/tune/toy.db").exists()
    made = [project / ".zsl/tune/toy.db", project / "experiments/results/toy/tune.csv"]
    before = [path.read_bytes() for path in made]
    settle(project, {"tune": {"space": {"train.lr": {"high": 0.1}}}}, {"best": {"train": {"lr": 0.002}}})
    with pytest.raises(ZSLError, match="another search space"):
        tune.command("toy", trials=1)
    assert [path.read_bytes() for path in made] == before


def test_a_study_is_around_the_present_settings(project: Path) -> None:
    settle(project, {"tune": {"space": {"train.lr": {"high": 0.005}}}}, {"best": {"train": {"hidden": 24}}})
    tune.command("toy", trials=1)
    with sqlite3.connect(project / ".zsl/tune/toy.db") as study:
        rows = dict(study.execute("SELECT key, value_json FROM study_user_attributes"))
    base = json.loads(json.loads(rows["base of settings"]))
    assert base["train"]["hidden"] == 24, "of data/toy.yaml"
    assert base["train"]["projection"] == 8, "of params.yaml"
    settle(project, {"tune": {"space": {"train.lr": {"high": 0.005}}}}, {"best": {"train": {"hidden": 25}}})
    with pytest.raises(ZSLError, match="another base of settings"):
        tune.command("toy", trials=1)


def test_what_override_fixes_cannot_be_tuned(project: Path) -> None:
    settle(project, params={"override": {"train": {"lr": 0.005}}})
    with pytest.raises(ZSLError, match=r"^params\.yaml: override: train\.lr: wins over what is searched; take it out"):
        tune.command("toy", trials=1)
    assert not (project / ".zsl").exists()


def test_a_data_sets_file_wins_over_the_experiments_file(project: Path) -> None:
    """Experiments' values for one data set; each of their sections, whole, is in results/toy/settings.yaml."""
    settle(project, data={"fewshot": {"episodes": 7, "delta": {"samples": 3}}, "paper": {"fewshot": {"way": 4}}})
    stored = read_yaml(project / "results/toy/settings.yaml")
    assert set(SECTIONS) - {"compare", "grid", "mining"} <= set(stored)
    fewshot_stored = Fewshot(**stored["fewshot"])
    wanted = Fewshot(**EXPERIMENTS["fewshot"]).model_dump()
    assert fewshot_stored.model_dump() == wanted | {"episodes": 7, "delta": wanted["delta"] | {"samples": 3}}
    fewshot.command("toy")
    cells = read_json(project / "experiments/results/toy/fewshot.json")["rows"]
    assert {cell["count"] for row in cells.values() for cell in row.values()} == {7}


def test_an_experiment_without_settings_is_named(project: Path) -> None:
    write_project(project, PARAMS, experiments={"clusterability": {}}, presets={"paper": {}})
    with pytest.raises(ZSLError, match=r"^experiments/params\.yaml: no section 'fewshot'; add it"):
        fewshot.command("toy")


def test_bad_input_writes_nothing(project: Path) -> None:
    results = project / "experiments/results/toy"
    for name in ("ablation/CLSS", "ablation/CLS", "fewshot", "clusterability"):
        write_json(results / f"{name}.json", {"from": "before"})
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    with pytest.raises(ZSLError, match="unknown ablation variant 'CLSS': did you mean 'CLS'"):
        ablation.command("toy", "CLSS")
    settle(project, {"fewshot": {"way": 5}})
    with pytest.raises(ZSLError, match="5-way episodes need 5 novel classes, there are 4"):
        fewshot.command("toy")
    settle(project, {"fewshot": {"shots": [1, 20]}})
    with pytest.raises(ZSLError, match="3 novel classes of 24 images, there are 0"):
        fewshot.command("toy")
    settle(project, {"clusterability": {"clusters": 1000}})
    with pytest.raises(ZSLError, match="points for 1000 clusters"):
        clusterability.command("toy")
    with pytest.raises(ZSLError, match=r"experiments/params\.yaml .*did you mean 'n_init'"):
        settle(project, {"clusterability": {"n_int": 1}})
    with pytest.raises(ZSLError, match=r"experiments/params\.yaml .*did you mean 'n_init'"):
        clusterability.command("toy")
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_experiments_take_part_in_queued_sweeps(tmp_path: Path, make_project: Callable[..., Any]) -> None:
    project = make_project(tmp_path / "project", "birds")
    for name in ("dvc.yaml", "variants.yaml"):
        shutil.copy(ROOT / "experiments" / name, project.folder / "experiments")
    change = {"n_init": 1, "clusters": "auto"}
    project.set_params(lambda raw: raw.update(clusterability=change), "experiments/params.yaml")
    project.dvc("repro", "select@birds")  # what the queued runs share
    project.commit("experiments")
    target = "experiments/dvc.yaml:clusterability@birds"
    project.dvc("exp", "run", "--queue", "-S", "experiments/params.yaml:clusterability.clusters=2,3", target)
    project.dvc("exp", "run", "--run-all", real=True)
    shown = json.loads(project.dvc("exp", "show", "--json"))
    metrics = "experiments/results/birds/clusterability.json"
    found = {
        run["revs"][0]["data"]["params"]["results/birds/settings.yaml"]["data"]["clusterability"]["clusters"]:
        run["revs"][0]["data"]["metrics"][metrics]["data"]["spaces"]
        for run in shown[1]["experiments"]
    }  # fmt: skip
    assert set(found) == {2, 3}
    assert found[2].keys() == found[3].keys()
    assert all(found[2][space] != found[3][space] for space in found[2])
    result = project.folder / metrics
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text("{}")
    change = {"n_init": 1, "clusters": 1000}
    project.set_params(lambda raw: raw.update(clusterability=change), "experiments/params.yaml")
    assert "points for 1000 clusters" in project.dvc("repro", target, ok=False)
    assert result.read_text() == "{}", "what is refused leaves the last result"
