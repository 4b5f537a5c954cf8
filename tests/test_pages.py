"""What README.md and docs/ show was computed: figures, code and its output, command lines. Names: test_docs.py."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from PIL import Image
from typer.main import get_command

import zslcore as zsl
from stages.cli import app
from tests.conftest import make_maps
from tests.test_docs import ROOT, TODAY
from zslcore.datasets import dataset as datasets
from zslcore.datasets.birds.source import BirdsSource
from zslcore.datasets.dataset import Dataset
from zslcore.datasets.maps import load_maps
from zslcore.evaluation.protocol import Task, benchmark_task, evaluate, score
from zslcore.features.extract import extract
from zslcore.features.network import Network, plan_extraction
from zslcore.io import artifacts
from zslcore.io.artifacts import read_json
from zslcore.methods._linalg import one_hot
from zslcore.methods.apn import APN, APNSettings
from zslcore.methods.base import TrainData
from zslcore.methods.eszsl import ESZSL
from zslcore.report.headline import headline_cells, headline_titles
from zslcore.settings import Extract

RUN_ELSEWHERE = {"serve.md": "tests/model/test_onnx.py"}
"""Page with Python -> the test that runs it."""


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages; "": those that name none."""
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def python(name: str, **known: Any) -> dict[str, Any]:
    """The names that the Python of a page defines; known: those that it takes from elsewhere."""
    names: dict[str, Any] = {"__name__": "page", **known}
    for block in blocks(ROOT / "docs" / name, "python"):
        exec(block, names)
    return names


def commands(page: Path) -> Iterator[list[str]]:
    """The command lines in the blocks of a page, in words; `...` stands for what the reader knows."""
    for block in blocks(page, "", "bash", "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&?", line.removeprefix("$ ")):
                words = part.split()
                if words and words[0] in ("zsl", "dvc", "make") and "|" not in part:
                    yield [word for word in shlex.split(part, comments=True) if word != "..."]


@pytest.mark.parametrize("page", TODAY, ids=lambda page: page.name)
def test_every_command_line_is_one(page: Path) -> None:
    """Its options are there, and have values of their kinds."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name, *words in commands(page):
        if name == "make":
            assert words[0] in targets, words
        elif name == "dvc":
            try:
                get_main_parser().parse_args(words)
            except DvcParserError as error:
                raise AssertionError(words) from error
        else:
            parse(words)


def parse(words: list[str]) -> None:
    """Parse a line of `zsl` as it does itself, without running it."""
    command: Any = get_command(app)
    with click.Context(command) as context:
        while hasattr(command, "resolve_command"):
            _, command, words = command.resolve_command(context, words)
        try:
            command.make_context("zsl", list(words))
        except Exception as error:
            raise AssertionError((words, str(error))) from error


def test_a_wrong_command_line_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for line in (
        "zsl predict m.zsl a.jpg --tpo 3",
        "zsl predict m.zsl",
        "dvc repro --gone",
        "zsl import folder --name a",
    ):
        page.write_text(f"```\n{line}\n```\n")
        with pytest.raises(AssertionError):
            test_every_command_line_is_one(page)


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_the_result_shown_is_the_one_in_git(page: Path | str) -> None:
    result = read_json(ROOT / "results/birds/metrics.json")
    rows = [f"| data set | split | {' | '.join(headline_titles())} |"]
    for name, figures in (("birds", result), ("birds: ESZSL, in closed form", result["eszsl"])):
        rows.append(f"| {name} | drawn birds | {' | '.join(headline_cells(figures))} |")
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [row for row in rows if row not in text] == []


def test_figures_of_the_first_page_stand_where_it_says() -> None:
    rows = re.findall(r"^\| CUB.*\(docs/signatures\.md#measured\).*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    there = (ROOT / "docs/signatures.md").read_text()
    for row in rows:
        assert re.search(r"(\|(?: \d+\.\d(?: ± \d\.\d)? \|){4})", row)[1] in there, row
    assert len(rows) == 3


def test_no_page_has_python_that_nothing_runs() -> None:
    here = Path(__file__).read_text()
    for page in TODAY:
        if blocks(page, "python", "py"):
            assert page.name in RUN_ELSEWHERE or re.search(rf'python\(\s*"{page.name}"', here), page.name


def test_the_first_page_draws_a_picture_of_each_unseen_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    birds = python("start.md")["birds"]
    assert {path.stem for path in Path("photos").iterdir()} == {birds.classes[kind] for kind in birds.unseen}
    same = zsl.draw_birds(images_per_class=2)
    assert [birds.classes[k] for k in birds.unseen] == [same.classes[k] for k in same.unseen]


def test_the_method_of_the_page_on_extending(toy_task: Task) -> None:
    """Its weights are those of the ridge regression that its docstring states."""
    kind = python("extending.md")["MyMethod"]
    train = toy_task.train
    method = kind(kind.Settings(strength=2.0, scaling="none", signature_scaling="none")).fit(train)
    x, s = train.features.astype(float), one_hot(train.labels, len(train.signatures)) @ train.signatures
    expected = np.linalg.solve(x.T @ x + 2.0 * np.eye(x.shape[1]), x.T @ s)
    np.testing.assert_allclose(method.weights, expected, rtol=1e-3, atol=1e-4)
    assert evaluate(score(method, toy_task), 0.0)["zsl"]["T1"] > 25


def test_the_backbone_of_the_page_on_extraction() -> None:
    backbone = python("extraction.md")["colours"]("random", 32)
    settings = Extract(backbone="colours", weights="random", image_size=32, precision="fp32", batch_size=2)
    plan = plan_extraction(backbone, settings, "cpu", np.empty((0, 1, 1, 3), np.uint8))
    features = Network(plan, backbone).unpadded([np.zeros((32, 32, 3), np.uint8)] * 2)
    assert features.shape == (2, 64)


def test_the_maps_of_the_page_on_regions(toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with artifacts.create(Path("artifacts/birds/features.h5"), artifacts.FEATURES, {}) as file:
        file["maps"] = make_maps(toy)
    names = python(
        "regions.md",
        Path=Path,
        load_maps=load_maps,
        TrainData=TrainData,
        APN=lambda: APN(APNSettings(**APN.quick)),
        trainval=toy.trainval,
        labels=toy.train_labels,
        signatures=toy.signatures[toy.seen],
        test=toy.test_unseen,
    )
    assert names["where"].shape == (len(toy.test_unseen), 10, 3, 3)


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of drawn birds and all that the pages name with it."""
    folder = tmp_path_factory.mktemp("birds")
    data = BirdsSource(classes=6, images_per_class=4, unseen=2, side=32).dataset("birds", folder)
    datasets.save(folder / "dataset.h5", data, {})
    settings = Extract(backbone="test_resnet.r160_in1k", weights="random", image_size=32, precision="fp32")
    extract(folder / "dataset.h5", folder / "features.h5", settings, "cpu", store_folder=folder / "store")
    data = zsl.load_dataset(folder / "dataset.h5")
    method = ESZSL().fit(benchmark_task(data, data.features).train)
    (folder / "models").mkdir()
    model = zsl.package(data, {0: method}, calibration=0.1, features=folder / "features.h5")
    model.save(folder / "models/birds.zsl")
    (folder / "photos").mkdir()
    picture = Image.fromarray(np.full((40, 40, 3), 128, np.uint8))
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        picture.save(folder / name)
    new = pd.DataFrame([data.signatures[:2].mean(0)], index=["striped finch"], columns=data.attribute_names)
    new.to_csv(folder / "new.csv", index_label="class")
    return folder


@pytest.mark.parametrize("name", ["start.md", "predict.md"])
def test_predictions_of_the_pages_run(name: str, birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(birds)
    lines = [words for command, *words in commands(ROOT / "docs" / name) if command == "zsl" and words[0] == "predict"]
    assert lines
    for words in lines:
        get_command(app)(words, standalone_mode=False)


def test_the_model_of_the_page_on_predictions(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(birds)
    signature = zsl.load("models/birds.zsl").signatures[:2].mean(0)
    names = python("predict.md", signature=signature)
    assert [len(found.classes) for found in names["found"]] == [3, 3]
    assert "striped finch" in names["grown"].classes
