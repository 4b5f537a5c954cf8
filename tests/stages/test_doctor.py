"""`zsl doctor`: what `zsl import` said of a data set is said again, and nothing is changed."""

from pathlib import Path

import pytest
from PIL import Image

from stages import doctor
from tests.conftest import write_project
from zslcore.errors import ZSLError

SOURCE = {"kind": "folder", "images": "images", "signatures": "words.csv", "unseen": "new.txt"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose folder is the working folder, with five classes of two images."""
    for position, name in enumerate("abcde"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (4, 4), (position, number, 0)).save(tmp_path / f"images/{name}/{number}.png")
    (tmp_path / "words.csv").write_text("class,x,y\na,1,2\nb,2,1\nc,3,5\nd,4,2\ne,5,7\n", encoding="utf-8")
    (tmp_path / "new.txt").write_text("e\n", encoding="utf-8")
    write_project(tmp_path, {}, {"mine": {"source": SOURCE}}, resolve=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_set_is_counted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor.command("mine")
    assert capsys.readouterr().out == (
        "mine: 15 images (8 trainval, 4 test_seen, 3 test_unseen), 4 seen and 1 unseen classes, 2 attributes\n"
        "nothing to note\n"
    )


def test_notes_and_refusals_are_those_of_the_import(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (project / "images/e/0.png").read_bytes()
    (project / "images/e/1.png").write_bytes(content)
    doctor.command("mine")
    assert "\nnote: 1 group of identical images: images/e/0.png (e, test_unseen) = " in capsys.readouterr().out
    (project / "images/a/0.png").write_bytes(b"")
    with pytest.raises(ZSLError, match=r"1 of 15 images cannot be read:\n  images/a/0\.png: the file is empty"):
        doctor.command("mine")
    with pytest.raises(ZSLError, match="unknown data set 'mne': did you mean 'mine'"):
        doctor.command("mne")
