"""Stage `prepare`: the same bytes for the same input, and nothing written on an error."""

from pathlib import Path

import pytest

from stages import prepare, resolve
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.io import artifacts

HOME = "data/mine"
SOURCE = {
    "kind": "folder",
    "images": f"{HOME}/images",
    "signatures": f"{HOME}/signatures.csv",
    "unseen": f"{HOME}/unseen.txt",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one data set of five classes, which is the working folder."""
    home = tmp_path / "data/mine"
    for name in "abcde":
        (home / "images" / name).mkdir(parents=True)
        for number in range(10):
            (home / "images" / name / f"{number}.png").touch()
    rows = [f"{name},{position},{position * position}" for position, name in enumerate("abcde")]
    (home / "signatures.csv").write_text("\n".join(["class,x,y", *rows]), encoding="utf-8")
    (home / "unseen.txt").write_text("e\n", encoding="utf-8")
    write_project(tmp_path, {"seeds": [0, 7]}, {"mine": {"source": SOURCE}})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_artifact_holds_the_data_set_and_is_the_same_each_time(project: Path) -> None:
    prepare.command("mine")
    path = project / "artifacts/mine/dataset.h5"
    first = path.read_bytes()
    data = datasets.load(path)
    assert (len(data.trainval), len(data.test_seen), len(data.test_unseen)) == (32, 8, 10)
    with artifacts.open_artifact(path, artifacts.DATASET) as file:
        assert '"kind": "folder"' in file.attrs["params"]
        assert artifacts.sha256(Path("data/mine/unseen.txt")) in file.attrs["inputs"]
    prepare.command("mine")
    assert path.read_bytes() == first


def test_an_error_leaves_the_old_artifact_alone(project: Path) -> None:
    prepare.command("mine")
    before = (project / "artifacts/mine/dataset.h5").read_bytes()
    (project / "data/mine/unseen.txt").write_text("f\n", encoding="utf-8")
    with pytest.raises(ZSLError, match=r"^data/mine/unseen\.txt: unknown class 'f'"):
        prepare.command("mine")
    assert [path.name for path in (project / "artifacts/mine").iterdir()] == ["dataset.h5"]
    assert (project / "artifacts/mine/dataset.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "dataset", "message"),
    [
        ({}, "main", r"data/main\.yaml: unknown data set 'main': did you mean 'mine'\?"),
        (
            {"source": SOURCE | {"kind": "flder"}},
            "mine",
            r"mine\.yaml: source: unknown kind .*'flder': did you mean 'folder'\?",
        ),
        ({"source": {"seed": 1}}, "mine", r"data/mine\.yaml: source: a data set needs a 'kind', one of birds, "),
        (
            {"source": {"kind": "folder", "images": "i", "signatures": "s", "unsene": "u"}},
            "mine",
            r"data/mine\.yaml: source: unknown parameter 'unsene'; did you mean 'unseen'",
        ),
        ({"train": {"hidden": "many"}}, "mine", r"data/mine\.yaml \(data set 'mine'\): train\.hidden is 'many'"),
    ],
)
def test_wrong_settings_are_named(change: dict, dataset: str, message: str, project: Path) -> None:
    write_project(project, data={"mine": {"source": SOURCE} | change}, resolve=False)
    with pytest.raises(ZSLError, match=message):
        resolve.command(dataset)
    assert not (project / "artifacts").exists()


def test_strict_splits_is_refused_where_it_means_nothing(project: Path) -> None:
    with pytest.raises(ZSLError, match="unknown parameter 'strict_splits'"):
        prepare.command("mine", strict_splits=True)


def test_too_few_seen_classes_are_refused_before_anything_is_extracted(project: Path) -> None:
    (project / "data/mine/unseen.txt").write_text("d\ne\n", encoding="utf-8")
    with pytest.raises(ZSLError, match="'mine': 3 seen classes; choosing on validation classes needs at least 4"):
        prepare.command("mine")


def test_classes_of_one_signature_are_noted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signatures = project / "data/mine/signatures.csv"
    signatures.write_text(signatures.read_text().replace("e,4,16", "e,1,1"), encoding="utf-8")
    prepare.command("mine")
    assert "mine: note: 'b', 'e': the same signature, so nothing can tell them apart" in capsys.readouterr().err
