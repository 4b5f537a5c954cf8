"""The wheel: what an installation without extras can do, and a project of one's own that runs the installed package."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages.code import code_of
from stages.commands import STAGES
from zslcore.io.extras import EXTRAS
from zslcore.project import template
from zslcore.project.code import ROOT
from zslcore.project.params import Params

hatchling = pytest.importorskip("hatchling.builders.wheel")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRA = PROJECT["project"]["optional-dependencies"].keys()
TINY = {"kind": "birds", "classes": 6, "images_per_class": 4, "unseen": 2, "side": 32}
IDENTITY = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
BARE = """
import sys

absent, model = sys.argv[1].split(","), sys.argv[2]

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import numpy as np
import zslcore as zsl
from zslcore import __main__
from zslcore.features import backbones

random = np.random.default_rng(0)
S = {name: random.uniform(size=5) for name in ("finch", "crow", "owl", "kiwi", "emu")}
y = np.repeat(["finch", "crow", "owl"], 20)
world = random.normal(size=(5, 8))
X = (np.array([S[name] for name in y]) @ world).astype(np.float32)
for name in zsl._estimators():
    assert getattr(zsl, name)
new = {name: S[name] for name in ("kiwi", "emu")}
for method in (zsl.ESZSL(alpha=-1.0), zsl.CVAEZSL(epochs=2, hidden=8)):
    assert method.fit(X, y, S).predict(X, new).shape == (60,)
assert zsl.load(model).predict_features(np.ones((2, 3), np.float32))[0].classes
try:
    backbones.load("test_resnet.r160_in1k", "random")
except zsl.ZSLError as error:
    print(error)
sys.argv[1:] = ["tune", "birds"]
__main__.main()
"""


WARM = """
import json, multiprocessing, os, sys
import timm
from zslcore import __main__
from zslcore.project.code import code_hash
from zslcore.stages.commands import STAGES, imported

timm.models
for name in ("init", "import_data", "resolve", "prepare", "upgrade"):
    imported(f"stages.{name}")
code_hash(*STAGES.values())  # each module's by its text

def call(writer, where, arguments):
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.chdir(where)
    sys.argv = ["zsl", *arguments]
    __main__.main()

for line in sys.stdin:
    reader, writer = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=call, args=(writer, *json.loads(line)))
    process.start()
    os.close(writer)
    with os.fdopen(reader) as output:
        said = output.read()
    process.join()
    print(json.dumps([process.exitcode, said]), flush=True)
"""
"""Runs commands in processes forked from it, which has imported what they do: seconds less than starting each anew."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    builder = hatchling.WheelBuilder(str(ROOT))
    return Path(next(iter(builder.build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]))))


class Installed:
    """The wheel, in a folder of its own that comes before this environment's packages; the checkout is out of sight."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(folder)]
        subprocess.run([*pip, str(wheel)], check=True)
        self.environment = {
            **os.environ,
            **IDENTITY,
            "PYTHONPATH": str(folder),
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, where: Path, *command: str, ok: bool = True) -> str:
        """What a command printed; it must succeed, or fail where `ok` is False."""
        done = subprocess.run(command, cwd=where, env=self.environment, capture_output=True, text=True, timeout=1800)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    def zsl(self, where: Path, *arguments: str, ok: bool = True) -> str:
        """What `zsl` printed, as `run` would show, in a process forked from a warm one."""
        assert self.warm.stdin is not None
        assert self.warm.stdout is not None
        self.warm.stdin.write(f"{json.dumps([str(where), arguments])}\n")
        self.warm.stdin.flush()
        code, said = json.loads(self.warm.stdout.readline())
        assert (code == 0) is ok, said
        return said

    @cached_property
    def warm(self) -> subprocess.Popen[str]:
        """What forks them."""
        command, pipe = [sys.executable, "-c", WARM], subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=self.environment, cwd=self.folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    installed = Installed(tmp_path_factory.mktemp("site"), wheel)
    yield installed
    with installed.warm:  # closes its input, at which it ends
        pass


@pytest.fixture(scope="module")
def project(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that `zsl init` made, on tiny drawn birds."""
    folder = tmp_path_factory.mktemp("own") / "birds of mine"
    installed.run(folder.parent, "zsl", "init", folder.name)
    edit(folder / "data/birds.yaml", source=TINY)
    installed.run(folder, "git", "commit", "-qam", "tiny birds")
    return folder


def edit(path: Path, **values: object) -> None:
    yaml = YAML()
    raw = yaml.load(path.read_text())
    raw.update(values)
    with path.open("w") as out:
        yaml.dump(raw, out)


def test_the_wheel_has_one_package_and_the_template_of_this_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        about = f"zslcore-{wheel.name.split('-')[1]}.dist-info"
        assert {name.partition("/")[0] for name in archive.namelist()} == {"zslcore", about}
        for stage in (ROOT / "stages").glob("*.py"):
            assert archive.read(f"zslcore/stages/{stage.name}") == stage.read_bytes()
        for path in template._files(ROOT):
            assert archive.read(f"zslcore/template/{path}") == (ROOT / path).read_bytes()
    settings = [*ROOT.glob("experiments/*.yaml"), *ROOT.glob("presets/*"), *ROOT.glob(".dvc/plots/*")]
    assert {path.relative_to(ROOT).as_posix() for path in settings} <= set(template._files(ROOT))
    forced = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert forced == {path: f"zslcore/template/{path}" for path in template.COPIED}


def test_no_stage_imports_another_by_a_name_that_the_wheel_has_not() -> None:
    for stage in (ROOT / "stages").glob("*.py"):
        assert not re.search(r"^\s*(?:from|import) stages\b", stage.read_text(), re.MULTILINE), stage.name


def test_every_extra_that_messages_name_is_one() -> None:
    assert set(EXTRAS.values()) <= EXTRA
    for path in [*ROOT.glob("zslcore/**/*.py"), *ROOT.glob("stages/*.py")]:
        assert set(re.findall(r"'zslcore\[(\w+)\]'", path.read_text())) <= EXTRA, path


def test_without_any_extra_estimators_and_models_work(installed: Installed, tmp_path: Path) -> None:
    """And what needs an extra names it, in one line."""
    model = max((ROOT / "tests/artifacts").glob("v*/model.zsl"))
    said = installed.run(tmp_path, sys.executable, "-c", BARE, ",".join(EXTRAS), str(model), ok=False)
    assert said.splitlines()[-2:] == [
        "this needs timm: pip install 'zslcore[features]'",
        "error: this needs optuna: pip install 'zslcore[pipeline]'",
    ]


def test_a_project_of_one_s_own_runs_the_installed_package(installed: Installed, project: Path) -> None:
    installed.run(project, "dvc", "repro", "-q", "prepare")
    assert (project / "artifacts/birds/dataset.h5").exists()
    assert "train.lr" in installed.zsl(project, "params", "birds", "train.lr")
    resolved = Params(project).resolve("birds")
    there = YAML(typ="safe").load((project / "results/birds/settings.yaml").read_text())["code"]
    assert there == {stage: code_of(stage, resolved) for stage in STAGES}  # as in the checkout
    installed.run(project, "git", "add", "-A")
    installed.run(project, "git", "commit", "-qm", "prepared")


def test_an_edited_package_changes_the_hashes_of_the_stages_whose_code_it_is(
    installed: Installed, project: Path
) -> None:
    """Of these hashes DVC knows which stages to run (tests/stages/test_pipeline.py)."""
    resolved = project / "results/birds/settings.yaml"
    installed.zsl(project, "resolve", "birds")
    before, module = resolved.read_bytes(), installed.folder / "zslcore/nn/losses.py"
    text = module.read_text()
    module.write_text(f"{text}\n\nEDITED = 1\n")
    installed.zsl(project, "resolve", "birds")
    module.write_text(text)
    old, new = (YAML(typ="safe").load(content)["code"] for content in (before, resolved.read_bytes()))
    assert {"select", "finetune", "train", "classify"} <= {stage for stage in old if old[stage] != new[stage]}
    assert {name: old[name] for name in ("prepare", "extract")} == {name: new[name] for name in ("prepare", "extract")}
    installed.zsl(project, "resolve", "birds")
    assert resolved.read_bytes() == before


def test_upgrade_shows_and_merges_what_a_newer_template_changes(installed: Installed, project: Path) -> None:
    """An edit here and one in the template, of other lines of one file, are both in the result."""
    assert "are those of this zslcore's template" in installed.zsl(project, "upgrade")
    params = installed.folder / "zslcore/template/params.yaml"
    text = params.read_text()
    edit(project / "params.yaml", seeds=[7])
    installed.run(project, "git", "commit", "-qam", "one seed")
    params.write_text(text.replace("lambda_cls: 1.0", "lambda_cls: 0.5"))
    assert "+  lambda_cls: 0.5" in installed.zsl(project, "upgrade")
    assert "lambda_cls: 1.0" in (project / "params.yaml").read_text()
    installed.zsl(project, "upgrade", "--apply")
    merged = (project / "params.yaml").read_text()
    assert "lambda_cls: 0.5" in merged
    assert "- 7" in merged
    assert dict(YAML(typ="safe").load((project / "data/birds.yaml").read_text())["source"]) == TINY
    assert "are those of this zslcore's template" in installed.zsl(project, "upgrade")
    params.write_text(text.replace("lambda_cls: 1.0", "lambda_cls: 0.7"))
    (project / "params.yaml").write_text(merged.replace("lambda_cls: 0.5", "lambda_cls: 2.0"))
    assert "uncommitted changes" in installed.zsl(project, "upgrade", "--apply", ok=False)
    installed.run(project, "git", "commit", "-qam", "the same line")
    assert "params.yaml; settle the marked lines" in installed.zsl(project, "upgrade", "--apply", ok=False)
    installed.run(project, "git", "merge", "--abort")
    params.write_text(text)


def test_a_folder_that_no_init_made_cannot_be_upgraded(installed: Installed, tmp_path: Path) -> None:
    installed.run(tmp_path, "git", "init", "-q")
    installed.run(tmp_path, "git", "commit", "-q", "--allow-empty", "-m", "start")
    assert "no commit of a template" in installed.zsl(tmp_path, "upgrade", ok=False)
    assert "a git repository with commits" in installed.zsl(tmp_path, "init", ok=False)
    assert "start" in installed.run(tmp_path, "git", "log")


def test_images_of_one_s_own_are_the_data_set(installed: Installed, tmp_path: Path) -> None:
    for number, name in enumerate(("crow", "finch", "kiwi", "owl", "rook", "wren")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for k in range(6):
            Image.new("RGB", (40, 40), (50 * number, 20 * k, 90)).save(folder / f"{k}.png")
    (tmp_path / "table.csv").write_text("class,a,b\ncrow,0,1\nfinch,1,0\nkiwi,1,1\nowl,0.5,0\nrook,0,0.5\nwren,1,0.5\n")
    (tmp_path / "unseen.txt").write_text("kiwi\n")
    options = ["--images", "photos", "--signatures", "table.csv", "--unseen", "unseen.txt", "--name", "photos"]
    assert "something lies there" in installed.zsl(tmp_path, "init", ".", *options, ok=False)
    assert (tmp_path / "photos/owl/0.png").exists()
    installed.zsl(tmp_path, "init", "own", "--images", "gone", *options[2:], ok=False)
    assert not (tmp_path / "own").exists()
    installed.run(tmp_path, "git", "init", "-q", "own")  # as a clone of a new repository is
    installed.zsl(tmp_path, "init", "own", "--images", "gone", *options[2:], ok=False)
    assert "Next: cd own, dvc repro" in installed.zsl(tmp_path, "init", "own", *options)
    own = tmp_path / "own"
    assert YAML(typ="safe").load((own / "params.yaml").read_text())["datasets"] == ["photos"]
    assert not (own / "data/birds.yaml").exists()
    assert installed.run(own, "git", "status", "--porcelain") == ""
    installed.zsl(own, "resolve", "photos")
    installed.zsl(own, "prepare", "photos")


@pytest.mark.soak
def test_dvc_repro_and_exp_run_and_predict_work_there_as_here(installed: Installed, tmp_path: Path) -> None:
    """The whole pipeline, on tiny birds: minutes."""
    installed.run(tmp_path, "zsl", "init", "own")
    own = tmp_path / "own"
    tiny = {"select": {"splits": 1, "train_epochs": [2]}, "finetune": {"epochs": 1}, "train": {"hidden": 16}}
    random = {"backbone": "test_resnet.r160_in1k", "weights": "random"}
    edit(own / "data/birds.yaml", source={**TINY, "images_per_class": 10}, extract=random, best=tiny)
    edit(own / "params.yaml", seeds=[0, 1])
    installed.run(own, "dvc", "repro", "-q")
    installed.run(own, "git", "add", "-A")
    installed.run(own, "git", "commit", "-qm", "Baseline")
    assert "up to date" in installed.run(own, "dvc", "status", "prepare", "train", "report")
    installed.run(own, "zsl", "gate", "--against", "HEAD")
    installed.run(own, "dvc", "exp", "run", "-q", "--temp", "-n", "other", "-S", "train.lambda_cls=0.5")
    assert "/other" in installed.run(own, "git", "for-each-ref", "refs/exps")
    Image.new("RGB", (40, 40), (90, 20, 30)).save(tmp_path / "a.png")
    assert "a.png" in installed.run(own, "zsl", "predict", "models/birds.zsl", "../a.png", "--out", "-")


@pytest.mark.soak
@pytest.mark.parametrize("extra", ["", *sorted(EXTRA - {"dev", "docs"})])
def test_each_extra_installs_alone_and_brings_its_modules(extra: str, wheel: Path, tmp_path: Path) -> None:
    """Minutes each, and gigabytes: pip and PyPI for real."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    install = [python, "-m", "pip", "install", "-q", "--no-compile"]
    subprocess.run([*install, f"{wheel}[{extra}]" if extra else str(wheel)], check=True)
    wanted = [name for name, of in EXTRAS.items() if extra in (of, "all")]
    absent = [] if extra else ["dvc", "optuna", "matplotlib", "timm"]
    code = f"""
from importlib import import_module
from importlib.util import find_spec
for name in {wanted}:
    import_module(name)
assert [name for name in {absent} if find_spec(name)] == []
import zslcore as zsl
zsl.ESZSL().fit([[1, 0], [0, 1]], ["a", "b"], {{"a": [1, 0], "b": [0, 1]}})
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, "-c", code], check=True, cwd=tmp_path, env=environment)
    zsl = [str(tmp_path / "venv/bin/zsl"), "--help"]
    subprocess.run(zsl, check=True, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    shutil.rmtree(tmp_path / "venv")
