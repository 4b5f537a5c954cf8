"""Every script of examples/ runs, on little data, and prints what it promises."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAID = {
    "own_images": r"^48 images, 9 seen and 3 unseen classes\nyour images, ESZSL +T1 .* H +\d+\.\d\n$",
    "new_classes": r"^(a [\w -]+: [\w -]+ \(\d+%\), [\w -]+\n){2}$",
    "text_signatures": r"^[\w -]+ is described so: .*\.\nattributes +T1 .*\nsentences +T1 .*\nboth +T1 .*\n$",
    "new_method": r"^Plain ridge +T1 .*\nESZSL +T1 .*\n$",
    "compare_backbones": r"^pretrained +(T1 .*)\nrandom weights +(?!\1\n)T1 .*\n$",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, so that features are computed once."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", SAID)
def test_it_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    import_module(name).main(folder, images_per_class=4)
    assert re.search(SAID[name], capsys.readouterr().out)


def test_none_is_left_out() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} - {"birds"} == SAID.keys()
