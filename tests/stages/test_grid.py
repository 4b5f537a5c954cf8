"""`zsl grid`: every combination, each chosen and measured as elsewhere, once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import grid
from stages.workspace import Workspace
from tests.conftest import make_dataset, write_project
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.evaluation.signatures import judge
from zslcore.experiments.compare import compare
from zslcore.experiments.grid import describe
from zslcore.experiments.settings import Compare
from zslcore.io import artifacts
from zslcore.io.artifacts import read_json
from zslcore.methods.eszsl import ESZSL
from zslcore.signatures.source import Source

SETTINGS = {
    "select": {"splits": 1, "train_epochs": [2, 3]},
    "finetune": {"epochs": 1},
    "train": {"hidden": 8, "projection": 6, "batch_size": 32, "members": 1},
    "generate": {"per_unseen": 5, "per_seen": 5},
    "classify": {"epochs": 2},
}
RESULT = Path("experiments/results/toy/grid.json")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two sources of signatures, half of the attributes each, with given features."""
    folder = tmp_path_factory.mktemp("grid")
    choice = {"budget": 3, "splits": 1}
    write_project(folder, {}, {"toy": SETTINGS}, {"compare": choice, "grid": {}})
    data = make_dataset(seen=8, unseen=3, per_class=8)
    halves = {"att": Source(data.signatures[:, :5]), "text": Source(data.signatures[:, 5:])}
    data = replace(data, signatures=data.signatures[:, :5], image_attributes=None, sources=halves)
    dataset = folder / "artifacts/toy/dataset.h5"
    datasets.save(dataset, data, {})
    with artifacts.create(
        folder / "artifacts/toy/features.h5", artifacts.FEATURES, {"given": True}, {"dataset": dataset}
    ) as file:
        file["features"] = data.features
    artifacts.write_json(folder / "results/toy/selected.json", {})
    return folder


def test_each_cell_is_measured_once_as_compare_does(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    grid.command("toy")
    found = read_json(RESULT)
    shown = capsys.readouterr()
    own = Workspace("toy").settings.extract.backbone
    labels = [f"{own}, {s}, {m}" for s in ("att", "text", "att+text") for m in ("eszsl", "clusterable")]
    assert sorted(found["cells"]) == sorted(labels)
    assert "second" not in RESULT.read_text(), "times are no output"
    assert Path(".zsl/grid/toy.png").exists()
    workspace = Workspace("toy")
    one = compare(
        ESZSL, workspace.data, workspace.seen(), workspace.features(), None, workspace.section("compare"), [0]
    )
    cell = found["cells"][f"{own}, att, eszsl"]
    assert (cell["zsl"], cell["gzsl"]) == (one["zsl"], one["gzsl"])
    assert found["cells"][labels[1]]["about"]["settings"]["train"]["epochs"] in (2, 3), "as `select` chose"
    reached = {label: sum(one["about"]["validation"].values()) for label, one in found["cells"].items()}
    assert reached[found["about"]["best"]] == max(reached.values())
    assert f"{found['about']['best']} *" in shown.out

    measured: list[str] = []

    def watched(method: type, *rest: object) -> dict:
        measured.append(method.name)
        return real(method, *rest)

    real = grid.measure
    monkeypatch.setattr(grid, "measure", watched)
    grid.command("toy", signatures="att", methods="eszsl,sae")
    assert measured == ["sae"], "what is done is read back"


def test_joined_signatures_are_no_worse_on_validation_classes_than_their_parts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    workspace = Workspace("toy")
    data, seen, choice = workspace.data_sources(), workspace.seen_sources(), Compare(splits=1)
    judged = {}
    for names in (("att",), ("text",), ("att", "text")):
        of_data, of_seen = describe(ESZSL, data, seen, names, workspace.settings, choice)
        np.testing.assert_array_equal(of_data.signatures, of_seen.signatures)
        assert set(of_seen.composition.weights) <= set(names)
        judged[names] = judge(of_seen, of_seen.composition, 1, 0).score
    assert judged["att", "text"] >= max(judged["att",], judged["text",])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"signatures": "words"}, "unknown source of signatures 'words'"),
        ({"methods": "best"}, "unknown method 'best'"),
        ({"methods": "apn"}, "apn learns from feature maps, which `zsl compare` measures"),
        ({"backbones": "resnet18"}, r"dataset.h5: its features are given, so it has no images for backbone resnet18"),
    ],
)
def test_bad_input(project: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], message: str) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(ZSLError, match=message):
        grid.command("toy", **{"methods": "eszsl", **asked})
