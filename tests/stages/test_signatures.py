"""`zsl signatures`: a source is added whole or not at all, shown, and compared on validation classes."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages import prepare, resolve, signatures
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError

SOURCE = {"kind": "birds", "classes": 8, "images_per_class": 3, "unseen": 2, "side": 32}
ASKED = {"call": "words", "encoder": "tfidf", "template": ["{name}: {text}"], "whole": False, "without_first": False}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of eight kinds of birds, prepared, which is the working folder; with texts.json about them."""
    monkeypatch.chdir(write_project(tmp_path, data={"toy": {"source": SOURCE}}))
    prepare.command("toy")
    names = datasets.load(Path("artifacts/toy/dataset.h5")).classes
    Path("texts.json").write_text(json.dumps({name: [name, f"the {name} itself"] for name in names}))
    return tmp_path


def test_a_source_is_added_prepared_and_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signatures.command("toy", Path("texts.json"), **ASKED, compare=False)  # type: ignore[arg-type]
    said = YAML(typ="safe").load(Path("data/toy.yaml"))
    assert said["source"]["described"] == {
        "words": {"encoder": "tfidf", "templates": ["{name}: {text}"], "file": "data/toy/words-texts.json"}
    }
    assert said["signatures"] == {"weights": "auto"}
    resolve.command("toy")
    prepare.command("toy")
    data = datasets.load(Path("artifacts/toy/dataset.h5"))
    assert list(data.sources) == ["attributes", "text", "words"]
    signatures.command("toy")
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("attributes", "given", "words", "tfidf", "24"))
    with pytest.raises(ZSLError, match="'words' are there already"):
        signatures.command("toy", Path("texts.json"), **ASKED, compare=False)  # type: ignore[arg-type]


def test_a_bad_file_changes_nothing(project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    Path("texts.json").write_text('{"owl": "hoots"}')
    before[project / "texts.json"] = Path("texts.json").read_bytes()
    with pytest.raises(ZSLError, match="no text for"):
        signatures.command("toy", Path("texts.json"), **ASKED, compare=False)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
