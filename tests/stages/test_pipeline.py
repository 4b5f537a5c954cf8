"""Every stage through the real `dvc repro`, in a temporary repository, on a tiny drawn data set."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from tests.stages import warm
from zslcore.io import artifacts

BOTH = ("birds", "finches")


def changed(project) -> set[str]:
    """Names of the stages `dvc status` calls changed by themselves or through what they depend on."""
    return set(json.loads(project.dvc("status", "--json").splitlines()[-1]))


def touched(project) -> set[str]:
    """Names of the stages that are changed once `resolve` has run: those that `dvc repro` would run after it.

    It runs for the data sets that DVC would run it for, from the folder's code, in one process.
    """
    outdated = changed(project)
    names = [name for name in BOTH if f"resolve@{name}" in outdated]
    project.run(sys.executable, "-c", f"from stages import resolve; [resolve.command(name) for name in {names}]")
    return changed(project) - both("resolve")


def both(*stages: str) -> set[str]:
    """Names of these stages of both data sets."""
    return {f"{stage}@{name}" for stage in stages for name in BOTH}


def swap(text: str, old: str, new: str) -> str:
    """The text with its first `old` replaced, which it must have."""
    assert old in text, old
    return text.replace(old, new, 1)


WORDS = {
    "zslcore/nn/losses.py": ('"""', '"""Edited: '),
    "stages/train.py": ("import numpy as np", "import numpy as np  # a comment"),
    "zslcore/training/device.py": ("use auto, cpu, cuda or cuda:N", "edited"),
    "zslcore/io/artifacts.py": ("no such file", "no such file, edited"),
    "zslcore/progress.py": ("\n\n\n", "\n\n\nEDITED = True\n\n\n"),
}
LOSSES = ("select", "finetune", "train", "generate", "classify", "package")
EDITS: dict[str, tuple[dict[str, tuple[str, str]], set[str]]] = {
    "a loss": ({"zslcore/nn/losses.py": ("\n\n\n", "\n\n\nEDITED = 1\n\n\n")}, both(*LOSSES)),
    "a data set's file": (
        {"data/finches.yaml": ("  epochs: 5", "  epochs: 6")},
        {"select@finches", "classify@finches", "package@finches"},
    ),
    "a parameter": (
        {"params.yaml": ("noise: {strength: 0.2", "noise: {strength: 0.5")},
        both("select", "train", "package"),
    ),
    "a docstring, a comment, messages, a progress bar": (WORDS, set()),
}
"""What is edited -> file -> (old text, new text), and the stages that `dvc repro` then runs after `resolve`."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, make_project):
    """A project with two tiny drawn data sets, run by `dvc repro`.

    The processes are warm; one that is not, of a fresh clone's own code, gives the same bytes.
    """
    project = make_project(tmp_path_factory.mktemp("project") / "project", *BOTH, seeds=(0, 1))
    project.dvc("repro")
    project.commit("run")
    return project


@pytest.fixture(scope="module")
def repo(project) -> Path:
    """Its folder."""
    return project.folder


def test_every_stage_wrote_its_output(repo: Path) -> None:
    metrics = json.loads((repo / "results/birds/metrics.json").read_text())
    assert set(metrics["gzsl"]["H"]["seeds"]) == {"0", "1"}
    assert 0 <= metrics["zsl"]["T1"]["mean"] <= 100
    assert "finches" in (repo / "report/report.md").read_text()


def test_unchanged_repro_runs_nothing(project, repo: Path) -> None:
    leftover = repo / "results/birds/.j-D30oGQSx2q6syvkuTHUA.tmp"  # DVC's, of a run that lost its permission to delete
    leftover.touch()
    assert "Data and pipelines are up to date" in project.dvc("repro")
    assert project.run("git", "status", "--porcelain", "results") == ""
    leftover.unlink()


def test_plots_tell_seeds_panels_classes_and_kinds_apart(project, repo: Path) -> None:
    tune = repo / "experiments/results/birds/tune.csv"
    tune.parent.mkdir(parents=True)
    tune.write_text("trial,state,score\n0,complete,50.5\n1,pruned,\n")
    axes = ["--template", "trials", "-x", "trial", "-y", "score"]  # as zsl tune says
    search = json.loads(project.dvc("plots", "show", "--json", *axes, "experiments/results/birds/tune.csv"))
    figure = repo / "experiments/results/finches/tsne.csv"
    figure.parent.mkdir(parents=True)
    figure.write_text("panel,class,kind,x,y\nwith noise,finch 1,real,0.5,1.5\n")
    axes = ["--template", "panels", "-x", "x", "-y", "y"]  # as experiments/dvc.yaml says
    search["data"] |= json.loads(project.dvc("plots", "show", "--json", *axes, str(figure.relative_to(repo))))["data"]
    shutil.rmtree(repo / "experiments/results")
    shown = json.loads(project.dvc("plots", "show", "--json"))
    assert not shown.get("errors")
    shown["data"].update(search["data"])
    apart = {}
    for path, (plot,) in shown["data"].items():
        spec = json.loads(plot["content"]) if isinstance(plot["content"], str) else plot["content"]
        channels = {**spec.get("facet", {}), **spec.get("spec", spec).get("encoding", {})}
        apart[path] = {name: channel["field"] for name, channel in channels.items() if "field" in channel}
        assert set(apart[path].values()) <= set(spec["data"]["values"][0]), path
    for name in ("finetune", "train", "curve"):
        assert apart[f"results/birds/{name}.csv"]["color"] == "seed"
    figure = apart["experiments/results/finches/tsne.csv"]
    assert [figure[name] for name in ("column", "color", "shape")] == ["panel", "class", "kind"]
    assert apart["experiments/results/birds/tune.csv"]["y"] == "score"


def test_an_epoch_shows_when_it_is_done(project, tmp_path: Path) -> None:
    """Two seeds side by side, each in a folder; `dvc plots` shows what train.csv then has; git and results see none."""
    running = type(project)(shutil.copytree(project.folder, tmp_path / "running", symlinks=True))
    running.environment = {**running.environment, "ZSL_JOBS": "2"}
    running.set_params(lambda raw: raw["train"].update(epochs=200), "data/birds.yaml")
    running.commit("longer")
    warm.up()
    process, output = warm.start(warm.dvc, running.folder, running.environment, "repro", "train@birds")
    files = [f".zsl/live/birds/train/seed={seed}/plots/metrics/total.tsv" for seed in (0, 1)]
    while process.is_alive() and not all((running.folder / file).exists() for file in files):
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    for worker in workers:
        worker.suspend()
    shown = json.loads(running.dvc("plots", "show", "--json"))
    for worker in workers:
        worker.resume()
    code, said = warm.finish(process, output)
    assert code == 0, said
    assert not shown.get("errors")
    curves, lengths = pd.read_csv(running.folder / "results/birds/train.csv"), []
    for seed, file in enumerate(files):
        (plot,) = shown["data"][file]
        live = pd.DataFrame(plot["content"]["data"]["values"])
        done = curves[curves.seed == seed].iloc[: len(live)]
        assert live.step.astype(int).tolist() == done.epoch.tolist()
        assert live.total.astype(float).tolist() == pytest.approx(done.total.tolist(), rel=1e-5)
        lengths.append(len(live))
    assert min(lengths) > 0
    assert sum(lengths) < 2 * 200
    assert not (running.folder / ".zsl/live/birds/train").exists()
    changed = running.run("git", "status", "--porcelain").split()[1::2]
    assert set(changed) <= {"dvc.lock", "results/birds/selected.json", "results/birds/settings.yaml"}


@pytest.mark.slow
def test_a_fresh_clone_gives_the_same_bytes(project, tmp_path: Path) -> None:
    """Without a cache, `dvc repro` computes what the first one did: every file's bytes, each record of dvc.lock."""
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "clone"))
    clone = type(project)(tmp_path / "clone")
    (clone.folder / "dvc.lock").unlink()
    clone.run(sys.executable, "-m", "tests.stages.warm", "repro", "evaluate@birds")
    first, second = (one.bytes("artifacts/birds", "results/birds") for one in (project, clone))
    assert second == {name: first[name] for name in second}
    assert {"artifacts/birds/trained.safetensors", "results/birds/metrics.json"} <= second.keys()
    first, second = (YAML(typ="safe").load((one.folder / "dvc.lock").read_text()) for one in (project, clone))
    assert second["stages"] == {name: first["stages"][name] for name in second["stages"]}


@pytest.mark.slow
def test_a_fresh_clone_that_pulled_runs_nothing(project, tmp_path: Path) -> None:
    project.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "remote"))
    project.dvc("push", "-q")
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "clone"))
    clone = type(project)(tmp_path / "clone")
    shutil.copy(project.folder / ".dvc/config", clone.folder / ".dvc/config")
    project.run("git", "checkout", "-q", ".dvc/config")
    clone.dvc("pull", "-q")
    assert "Data and pipelines are up to date" in clone.dvc("repro")
    assert clone.bytes("artifacts", "results", "report") == project.bytes("artifacts", "results", "report")


def test_a_parameter_there_and_back_runs_nothing(project) -> None:
    repo = project.folder
    before = project.bytes("artifacts", "results", "report") | {"dvc.lock": (repo / "dvc.lock").read_bytes()}
    original = (repo / "params.yaml").read_text()
    project.set_params(lambda raw: raw["select"].update(seed=7))
    assert "Running stage 'select@birds'" in project.dvc("repro", "select@birds")
    (repo / "params.yaml").write_text(original)
    ran = re.findall("Running stage '(.*?)'", project.dvc("repro"))
    assert {name.partition("@")[0] for name in ran} == {"resolve"}
    after = project.bytes("artifacts", "results", "report") | {"dvc.lock": (repo / "dvc.lock").read_bytes()}
    assert after == before


def test_a_copy_of_the_project_runs_its_own_code(project, repo: Path, tmp_path: Path) -> None:
    """As `dvc exp run --queue` makes one: the installed package may be another by the time it runs."""
    copy = type(project)(tmp_path / "copy")
    shutil.copytree(repo, copy.folder)
    edited = copy.folder / "stages/generate.py"
    line = '    __import__("sys").stdout.write("edited\\n")\n'  # a print would be words, which run nothing
    edited.write_text(swap(edited.read_text(), ") -> None:\n", f") -> None:\n{line}"))
    assert "edited" in copy.dvc("repro", "generate@birds", real=True).splitlines()


def test_an_edit_touches_the_stages_that_it_changes_and_no_other(project) -> None:
    """Report depends on results/, settings.yaml included, so it runs wherever a data set's settings are new."""
    found = {}
    for name, (swaps, _) in EDITS.items():
        before = {project.folder / file: (project.folder / file).read_text() for file in swaps}
        for path, text in before.items():
            path.write_text(swap(text, *swaps[path.relative_to(project.folder).as_posix()]))
        found[name] = touched(project) - {"report"}
        for path, text in before.items():
            path.write_text(text)
        project.run("git", "checkout", "-q", "results")  # what `resolve` wrote
    assert found == {name: expected for name, (_, expected) in EDITS.items()}


def test_artifacts_tell_the_resolved_values(repo: Path) -> None:
    with h5py.File(repo / "artifacts/birds/scores.h5") as file:
        assert json.loads(file.attrs["params"])["classify"]["epochs"] == 5
        assert file.attrs["created_by"] == "classify"
        assert set(json.loads(file.attrs["inputs"])) == {"dataset", "features", "trained", "synthetic"}


def test_a_value_set_for_an_experiment_beats_the_data_set_s_and_stands_in_the_artifact(
    project, repo: Path, tmp_path: Path
) -> None:
    def hidden(folder: Path) -> float:
        made_with, _ = artifacts.read_tensors(folder / "artifacts/birds/trained.safetensors", artifacts.TRAINED)
        return made_with["train"]["hidden"]

    assert hidden(repo) == 32
    copy = tmp_path / "copy"
    shutil.copytree(repo, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".dvc"))
    apply_overrides(copy / "params.yaml", ["+override.train.hidden=16"])  # all that `dvc exp run -S` does with it
    for stage in ("resolve", "train"):
        type(project)(copy).zsl(stage, "birds")
    assert hidden(copy) == 16


def test_select_never_opens_a_test_row(project, repo: Path, tmp_path: Path) -> None:
    chosen = (repo / "results/birds/selected.json").read_bytes()
    table = (repo / "results/birds/selection.csv").read_bytes()
    copy = tmp_path / "copy"
    shutil.copytree(repo, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".dvc"))
    for name in ("features.h5", "dataset.h5"):
        (copy / "artifacts/birds" / name).chmod(0o644)
    with h5py.File(copy / "artifacts/birds/dataset.h5", "r+") as data:
        test = np.concatenate([data["test_seen"][()], data["test_unseen"][()]])
        labels = data["labels"][()]
        labels[test] = 9999
        data["labels"][()] = labels
        data["test_seen"][()] = 0
        data["test_unseen"][()] = 0
    with h5py.File(copy / "artifacts/birds/features.h5", "r+") as file:
        features = file["features"][()]
        features[test] = np.nan
        file["features"][()] = features
    said = type(project)(copy).zsl("select", "birds")
    assert "chosen on validation classes: train.epochs = " in said
    assert "; given: generate.per_unseen = 20, classify.epochs = 5\n" in said
    assert (copy / "results/birds/selected.json").read_bytes() == chosen
    assert (copy / "results/birds/selection.csv").read_bytes() == table


def test_what_a_killed_dvc_leaves_of_its_own_is_mended_as_documented(project, repo: Path) -> None:
    """Marks of processes that are gone do not matter; a file cut short (docs/remotes.md) is named, and then mended."""
    marks, lock = repo / ".dvc/tmp/rwlock", repo / "dvc.lock"
    project.run("git", "checkout", "-q", "dvc.lock")  # other tests have run `resolve` since
    whole, made = lock.read_bytes(), str(repo / "artifacts/birds/dataset.h5")
    gone = 2**22 + 1  # above every process number of Linux
    marks.write_text(json.dumps({"write": {made: {"pid": gone, "cmd": "dvc repro"}}, "read": {}}))
    assert "had been killed" in project.dvc("repro", "prepare@birds")
    marks.write_text('{"write": {"/a')
    assert "rwlock" in project.dvc("repro", "prepare@birds", ok=False)
    marks.write_text(json.dumps({"write": {made: {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}))
    assert "rwlock' and try again" in project.dvc("repro", "prepare@birds", ok=False)
    marks.unlink()
    lock.write_bytes(b"")
    assert "dvc.lock" in project.dvc("repro", "prepare@birds", ok=False)
    lock.unlink()
    assert "is cached - skipping run" in project.dvc("repro", "prepare@birds")
    project.run("git", "checkout", "-q", "dvc.lock")
    assert lock.read_bytes() == whole
    assert "didn't change, skipping" in project.dvc("repro", "prepare@birds")


def test_a_failed_stage_leaves_what_was_there(project, repo: Path) -> None:
    before = (repo / "artifacts/birds/trained.safetensors").read_bytes()
    original = (repo / "params.yaml").read_text()
    project.set_params(lambda raw: raw["train"].update(lr=1e30))
    outdated = project.zsl("train", "birds", ok=False)
    project.zsl("resolve", "birds")
    said = project.zsl("train", "birds", ok=False)
    (repo / "params.yaml").write_text(original)
    assert "error: results/birds/settings.yaml: train.lr is 0.001 there, but now 1e+30; run `zsl resolve" in outdated
    assert "error: train: the loss (total) is nan" in said
    assert "Traceback" not in said
    assert (repo / "artifacts/birds/trained.safetensors").read_bytes() == before
    assert not list((repo / "artifacts/birds").glob(".*.tmp"))
