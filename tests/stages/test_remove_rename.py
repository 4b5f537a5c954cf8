"""`zsl remove` and `zsl rename` do all of it, and git and DVC bring it back; real git and DVC in a small project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from dvc.repo import Repo
from PIL import Image
from ruamel.yaml import YAML
from typer.testing import CliRunner

from stages import extract, import_data, prepare, remove, rename, report, resolve
from stages.cli import app
from tests.conftest import write_project
from zslcore.errors import ZSLError
from zslcore.features.network import ExtractionPlan
from zslcore.project import belongings
from zslcore.project.edit import blocks, with_other_home, with_source, without_name, without_source
from zslcore.project.git import git_add_line
from zslcore.project.params import Params

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
PIPELINE = """
stages:
  prepare:
    matrix: {set: '${datasets}'}
    cmd: mkdir -p artifacts/${item.set} && cp data/${item.set}/x.txt artifacts/${item.set}/dataset.h5
    deps: ['data/${item.set}']
    outs: ['artifacts/${item.set}/dataset.h5']
  evaluate:
    matrix: {set: '${datasets}'}
    cmd: >-
      mkdir -p results/${item.set} && cp artifacts/${item.set}/dataset.h5 results/${item.set}/curve.csv &&
      echo '{"dataset": "${item.set}", "T1": 1}' > results/${item.set}/metrics.json
    deps: ['artifacts/${item.set}/dataset.h5']
    metrics: ['results/${item.set}/metrics.json': {cache: false}]
    plots: ['results/${item.set}/curve.csv']

artifacts:
  ant:
    path: models/ant.zsl
"""
EXPERIMENT = """
vars: [../params.yaml]
stages:
  fewshot:
    wdir: ..
    matrix: {set: '${datasets}'}
    cmd: mkdir -p experiments/results/${item.set} && echo '{"T1":2}' > experiments/results/${item.set}/fewshot.json
    deps: ['artifacts/${item.set}/dataset.h5']
    outs: ['experiments/results/${item.set}/fewshot.json': {cache: false, persist: true}]
"""


def shell(command: str) -> str:
    """What a command line printed; it must succeed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **IDENTITY, "PATH": path}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def everything(but: tuple[str, ...] = (".git", ".dvc")) -> dict[str, bytes]:
    """Path -> content of all files here."""
    files = [path for path in Path().rglob("*") if path.is_file() and path.parts[0] not in but]
    return {path.as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the data sets `ant` and `bee`, whose small pipeline and experiment have run, all in git."""
    folder = tmp_path_factory.mktemp("made")
    sources = {name: {"source": {"kind": "folder", "images": f"data/{name}/x.txt"}} for name in ("ant", "bee")}
    write_project(folder, data=sources, resolve=False)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name in sources:
            Path(f"data/{name}").mkdir()
            Path(f"data/{name}/x.txt").write_text(f"a,{name}\n")
        Path("dvc.yaml").write_text(PIPELINE)
        Path("experiments/dvc.yaml").write_text(EXPERIMENT)
        shutil.copyfile(ROOT / ".gitignore", ".gitignore")
        shell("git init -q && dvc init -q && dvc config core.analytics false && dvc add -q data/ant data/bee")
        shell("dvc repro -q && dvc repro -q experiments/dvc.yaml")
        tune = Path(".zsl/tune/ant.db")
        tune.parent.mkdir(parents=True)
        shell(f"""python -c 'import optuna; optuna.create_study(study_name="ant", storage="sqlite:///{tune}")'""")
        shell("git add -A && git commit -qm all")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def folder_of_pictures() -> None:
    """Something to import: pictures/, words.csv and new.txt."""
    random = np.random.default_rng(0)
    classes = [f"kind{number}" for number in range(6)]
    for name in classes:
        Path("pictures", name).mkdir(parents=True)
        for number in range(4):
            noise = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(f"pictures/{name}/{number}.png")
    rows = [f"{name},{random.random():.3f},{random.random():.3f}" for name in classes]
    Path("words.csv").write_text("\n".join(["class,a,b", *rows]))
    Path("new.txt").write_text("kind5\nkind4\n")


def back(shown: str) -> str:
    return next(line.removeprefix("back: ") for line in shown.splitlines() if line.startswith("back: "))


def test_nothing_is_left_of_a_removed_data_set_and_git_and_dvc_bring_it_back(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything()
    remove.command("ant", yes=True)
    shown = capsys.readouterr().err
    left = everything()
    assert not [path for path in left if re.search(r"\bant\b", path)]
    assert not [path for path, content in left.items() if re.search(rb"\bant\b", content)]
    assert {path for path in before if "bee" in path} <= left.keys()
    for path in ("data/ant", "data/ant.dvc", "data/ant.yaml", "artifacts/ant", "results/ant", ".zsl/tune/ant.db"):
        assert f"delete  {path}" in shown
    with Repo() as repo:
        assert repo.status(targets=["dvc.yaml", "experiments/dvc.yaml"]) == {}
    assert shell("dvc status data/bee.dvc").strip().endswith("up to date.")
    assert "to record it in git: git add " in shown
    shell(back(shown))
    assert {path: content for path, content in before.items() if ".zsl" not in path} == everything()
    assert shell("git status --porcelain") == ""


def test_models_of_other_methods_and_what_grid_drew_go_along(project: Path) -> None:
    """Also of a method from elsewhere; but not those of the data set `ant-sae`, whose name begins with this one's."""
    shutil.copyfile("data/bee.yaml", "data/ant-sae.yaml")
    Path("models").mkdir(exist_ok=True)
    Path(".zsl/grid").mkdir()
    for path in ("ant-eszsl.zsl", "ant-eszsl.md", "ant-theirs.zsl", "ant-sae.zsl", "ant-sae-theirs.zsl", "antler.zsl"):
        Path("models", path).write_text(path)
    Path(".zsl/grid/ant.png").touch()
    tuned, of_other = (Path(f".zsl/backbones/{name}-{'0f' * 8}") for name in ("ant", "ant-sae"))
    for folder in (tuned, of_other):
        folder.mkdir(parents=True)
    rename.command("ant", "wasp", yes=True)
    assert not tuned.exists(), "its key has the name, so that it would not be found"
    assert of_other.exists()
    assert Path("models/wasp-eszsl.zsl").read_text() == "ant-eszsl.zsl"
    assert Path("models/wasp-theirs.zsl").read_text() == "ant-theirs.zsl"
    assert Path(".zsl/grid/wasp.png").exists()
    assert {path.name for path in Path("models").glob("ant*")} == {"ant-sae.zsl", "ant-sae-theirs.zsl", "antler.zsl"}
    remove.command("wasp", yes=True)
    assert not list(Path("models").glob("wasp*"))
    assert not list(Path(".zsl/grid").iterdir())


def test_a_renamed_data_set_keeps_its_files_in_dvc_s_cache_and_can_be_renamed_back(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything()
    rename.command("ant", "wasp", yes=True)
    shown = capsys.readouterr().err
    after = everything()
    assert not [path for path in after if re.search(r"\bant\b", path)]
    named = [path for path, content in after.items() if re.search(rb"\bant\b", content)]
    assert {after[path] for path in named} == {b"a,ant\n"}  # the data, untouched
    assert Params().datasets == ["wasp", "bee"]
    assert Params().source("wasp")["images"] == "data/wasp/x.txt"
    assert '"dataset": "wasp"' in Path("results/wasp/metrics.json").read_text()
    with Repo() as repo:
        assert repo.status(targets=["data/wasp.dvc"]) == {}
        assert repo.artifacts.read()["dvc.yaml"]["wasp"].path == "models/wasp.zsl"
    assert shell("git check-ignore data/wasp").strip() == "data/wasp"
    study = "import optuna; print(optuna.get_all_study_names('sqlite:///.zsl/tune/wasp.db'))"
    assert "['wasp']" in shell(f'python -c "{study}"')
    first, _, rest = back(shown).partition(" && ")
    assert first == "zsl rename wasp ant"
    rename.command("wasp", "ant", yes=True)
    shell(rest)
    assert {path: content for path, content in everything().items() if ".zsl" not in path} == {
        path: content for path, content in before.items() if ".zsl" not in path
    }
    assert shell("git status --porcelain") == ""


def test_a_set_taken_off_the_list_by_hand_loses_nothing_that_only_git_has(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dvc checkout` deletes what DVC made and no stage lists; docs/remotes.md says how it comes back."""
    monkeypatch.chdir(made)
    before = everything()
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(without_name(text, "ant"))
    shell("dvc checkout")
    gone = before.keys() - everything().keys()
    assert {"artifacts/ant/dataset.h5", "results/ant/curve.csv"} <= gone
    assert gone <= {"artifacts/ant/dataset.h5", "results/ant/curve.csv", "results/ant/metrics.json"}
    Path("params.yaml").write_text(text)
    shell("git checkout results && dvc checkout dvc.yaml")
    assert everything() == before


def test_features_are_not_extracted_again_under_a_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of_pictures()
    write_project(Path(), {"extract": {"backbone": "test_resnet.r160_in1k", "weights": "random", "workers": 1}})
    words = {"signatures": Path("words.csv"), "no_dvc": True}
    import_data.COMMANDS["folder"](Path("pictures"), Path("new.txt"), "old", **words)
    resolve.command("old")
    prepare.command("old")
    extract.command("old")
    with h5py.File("artifacts/old/features.h5") as file:
        before = file["features"][()]
    rename.command("old", "new", yes=True)
    monkeypatch.setattr(ExtractionPlan, "transform", lambda *_: None)  # so that nothing can be decoded
    resolve.command("new")
    prepare.command("new")
    extract.command("new")
    with h5py.File("artifacts/new/features.h5") as file:
        np.testing.assert_array_equal(file["features"][()], before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove", "amt"], "unknown data set 'amt': did you mean 'ant'"),
        (["rename", "amt", "x"], "unknown data set 'amt': did you mean 'ant'"),
        (["remove", "../data"], r"unknown data set '\.\./data'"),
        (["rename", "ant", "bee"], r"is there already; choose another name, or `zsl remove bee` first"),
        (["rename", "ant", "ant"], r"is there already"),
        (["rename", "ant", "Bee"], r"'bee' is here, and Windows and macOS"),
        (["rename", "ant", "best"], r"a preset is called so"),
        (["rename", "ant", "../x"], r"letters, digits, - and _ only"),
        (["rename", "ant", "/x"], r"letters, digits, - and _ only"),
        (["rename", "ant", "held"], r"results/held is there already"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(arguments: list[str], message: str, project: Path) -> None:
    Path("results/held").mkdir()
    before = everything()
    result = CliRunner().invoke(app, [*arguments, "--yes"])
    assert re.search(message, str(result.exception))
    assert everything() == before


def test_without_consent_nothing_changes(project: Path) -> None:
    before = everything()
    for arguments in (["remove", "ant"], ["rename", "ant", "wasp"]):
        for answer in ("n\n", ""):
            result = CliRunner().invoke(app, arguments, input=answer)
            assert result.exit_code != 0
            assert "params.yaml: " in result.output
    assert everything() == before


def test_the_last_data_set_and_one_that_another_needs_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path))
    with pytest.raises(ZSLError, match=r"'toy' is the only data set in params\.yaml"):
        remove.command("toy", yes=True)
    kind = {"kind": "folder", "images": "data/toy/images"}
    write_project(tmp_path, data={"toy": {}, "toy2": {"source": kind}}, resolve=False)
    for act in (lambda: remove.command("toy", yes=True), lambda: rename.command("toy", "x", yes=True)):
        with pytest.raises(ZSLError, match=r"data/toy2\.yaml: data set 'toy2' has files in data/toy"):
            act()
    write_project(tmp_path, data={"toy2": {"source": {**kind, "images": "data/toy2/images"}}, "toy": {}}, resolve=False)
    remove.command("toy", yes=True)
    assert Params().datasets == ["toy2"]


def test_a_data_set_that_dvc_works_on_stays(project: Path) -> None:
    marks, path = Path(".dvc/tmp/rwlock"), str(project / "artifacts/ant/dataset.h5")
    process = {"pid": os.getpid(), "cmd": "dvc repro"}
    for held in ({"write": {path: process}, "read": {}}, {"write": {}, "read": {path: [process]}}):
        marks.write_text(json.dumps(held))
        for act in (lambda: remove.command("ant", yes=True), lambda: rename.command("ant", "wasp", yes=True)):
            with pytest.raises(ZSLError, match=rf"dataset\.h5 is in use by `dvc repro` \(PID {os.getpid()}\); wait"):
                act()
    marks.write_text(json.dumps({"write": {path: {**process, "pid": 2**22 + 1}}}))  # of a process that is gone
    remove.command("ant", yes=True)


def test_what_git_lacks_is_named_before_it_goes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("results/ant/metrics.json").write_text("{}")
    Path("experiments/results/ant/new.json").write_text("{}")
    remove.command("ant", yes=True)
    note = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("note: "))
    assert note.startswith("note: git lacks these as they are now, commit them to be able to return: ")
    assert sorted(note.split()[-2:]) == ["experiments/results/ant/new.json", "results/ant/metrics.json"]


def test_what_a_set_off_the_list_has_left_is_removed_too(project: Path) -> None:
    Path("params.yaml").write_text(without_name(Path("params.yaml").read_text(), "ant"))
    for name in ("data/ant.yaml", "data/ant.dvc"):
        Path(name).unlink()
    remove.command("ant", yes=True)
    assert not [path for path in everything() if re.search(r"\bant\b", path)]


def test_a_removal_that_fails_goes_on_when_it_is_run_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = shutil.rmtree

    def fail(path: Path) -> None:
        if path.parent.name == "results":
            raise PermissionError(13, "Permission denied")
        delete(path)

    monkeypatch.setattr(belongings.shutil, "rmtree", fail)
    with pytest.raises(
        ZSLError, match=r"results/ant: cannot be changed \(Permission denied\); put that right, then try"
    ):
        remove.command("ant", yes=True)
    assert Params().datasets == ["bee"]  # half of the data set is gone: it is not put back on the list
    monkeypatch.undo()
    os.chdir(project)
    remove.command("ant", yes=True)
    assert not [path for path in everything() if re.search(r"\bant\b", path)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_rename_that_fails_leaves_everything_as_it_was(
    count: int, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything()
    move, left = os.replace, [count]

    def fail(old: Path, new: Path) -> None:
        if Path(old).parent in (project / "data", Path("data"), Path("artifacts"), Path("results")):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(28, "No space left on device")
        move(old, new)

    monkeypatch.setattr(belongings.os, "replace", fail)
    with pytest.raises(ZSLError, match=r"cannot be (changed|written) \(No space left on device\)"):
        rename.command("ant", "wasp", yes=True)
    monkeypatch.undo()
    os.chdir(project)
    assert everything() == before


def test_the_project_s_settings_for_a_benchmark_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path, data={"toy": {}}))
    shipped = (ROOT / "data/sun.yaml").read_text()
    file, other = Path("data/sun.yaml"), Path("data/mine.yaml")

    def imported(name: str) -> None:
        Path("params.yaml").write_text(f"datasets: [toy, {name}]\nseeds: [0]\n")
        Path(f"data/{name}.yaml").write_text(with_source(shipped, {"kind": "xlsa17", "features": f"data/{name}/x.mat"}))

    imported("sun")
    remove.command("sun", yes=True)
    assert (file.read_text(), Params().datasets) == (shipped, ["toy"])
    imported("sun")
    rename.command("sun", "mine", yes=True)
    assert file.read_text() == shipped
    assert other.read_text() == with_source(shipped, {"kind": "xlsa17", "features": "data/mine/x.mat"})
    rename.command("mine", "sun", yes=True)
    assert file.read_text() == with_source(shipped, {"kind": "xlsa17", "features": "data/sun/x.mat"})
    assert not other.exists()


def test_edits_of_texts_leave_the_rest_as_it_is_written() -> None:
    kept = "# head\nbest: {train: {lr: 0.5}} # b\ntrain:\n  lr: 0.1\n"
    for source in (
        "source: {kind: birds, seed: 0}\n",
        "source:\n  kind: folder\n  lists:\n  - data/a/x\n\n  - data/a/y\n",
    ):
        assert without_source(f"{source}{kept}") == without_source(f"{kept}{source}") == kept
    text = "source:\n  x: data/a/x.mat\n  y: [data/a/y, 'data/a', data/ab/z, old/data/a/z]\nbest: {weights: data/a/w}\n"
    moved = with_other_home(text, Path("data/a"), Path("data/b"))
    assert moved == text.replace(" data/a/x", " data/b/x").replace("[data/a/y, 'data/a'", "[data/b/y, 'data/b'")
    listed = "datasets: # all\n- a\n- b # second\n- c\nseeds: # s\n- 0\n"
    assert without_name(listed, "c") == listed.replace("- c\n", "")
    assert without_name(listed, "a") == listed.replace("- a\n", "")
    assert without_name("datasets: [a, b]\nseeds: [0]\n", "a") == "datasets: [b]\nseeds: [0]\n"
    for file in ("dvc.yaml", "dvc.lock", "params.yaml"):
        whole = (ROOT / file).read_text()
        assert "".join(blocks(whole)) == whole


def test_the_model_of_a_data_set_goes_from_the_project_s_pipeline_or_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_project(tmp_path, data={"birds": {}, "toy": {}}))
    file, text = Path("dvc.yaml"), (ROOT / "dvc.yaml").read_text()
    file.write_text(text)
    rename.command("birds", "finches", yes=True)
    renamed = text.replace("  birds:\n    type: model", "  finches:\n    type: model")
    assert file.read_text() == renamed.replace("path: models/birds.zsl", "path: models/finches.zsl") != text
    remove.command("finches", yes=True)
    assert file.read_text() == text.partition("\nartifacts:")[0]


def test_import_and_the_report_print_the_line_for_git(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data/wasp.yaml").write_text("")
    monkeypatch.setattr(report, "load_resolved", lambda dataset: dataset)
    monkeypatch.setattr(report, "check_results", lambda *_, **__: None)
    monkeypatch.setattr(report, "write_report", lambda *_, **__: "")
    report.command()
    assert capsys.readouterr().err.splitlines()[-1] == "to record it in git: git add dvc.lock data/wasp.yaml"
    Path("data/wasp.yaml").unlink()
    folder_of_pictures()
    words = {"signatures": Path("words.csv"), "no_dvc": True}
    import_data.COMMANDS["folder"](Path("pictures"), Path("new.txt"), "wasp", **words)
    assert capsys.readouterr().err.splitlines()[-1] == "to record it in git: git add data/wasp.yaml params.yaml"


def test_git_ignores_what_dvc_owns_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(ROOT / ".gitignore", ".gitignore")
    shell("git init -q")
    cached, kept = set(), set()
    for name in ("dvc.yaml", "experiments/dvc.yaml"):
        for stage in YAML(typ="safe").load((ROOT / name).read_text())["stages"].values():
            for out in [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, ())]:
                path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
                path = re.sub(r"\$\{item\.\w+\}", "x", path.replace("${a}", "artifacts").replace("${r}", "results"))
                path = path.replace("${e}", "experiments/results")
                (cached if options.get("cache", True) else kept).add(path)
    assert len(cached) > 15 < len(kept) + 10
    cached.add("dvc_plots/index.html")
    for path in cached | kept:  # a folder, where it has no suffix
        Path(path).mkdir(parents=True) if "." not in path else Path(path).parent.mkdir(parents=True, exist_ok=True)
    ignored = shell(f"git check-ignore {' '.join(cached | kept)}").split()
    assert set(ignored) == cached


def test_the_line_for_git_names_what_is_new(project: Path) -> None:
    assert git_add_line() == git_add_line("dvc.lock") == ""
    Path("results/ant/metrics.json").write_text("{}")
    Path("results/ant/curve.csv").write_text("")
    Path("experiments/results/bee/fewshot.json").write_text("{}")
    Path("data/new one.yaml").write_text("")
    Path("models").mkdir(exist_ok=True)
    Path("models/bee.md").write_text("")
    Path("data/wasp").mkdir()
    Path("data/wasp/big.bin").write_text("")  # imported without DVC
    line = git_add_line("dvc.lock")
    assert line == "git add dvc.lock 'data/new one.yaml' experiments/results/bee models results/ant"
    shell(line)
    assert git_add_line() != ""  # still not committed
    shell("git commit -qm x")
    assert git_add_line() == ""
    shutil.rmtree(".git")
    assert git_add_line("dvc.lock") == ""
