"""dvc.yaml lists, for every stage, exactly the code the stage runs."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.code_deps import code, module_of
from zslcore.closure import ROOT, closure
from zslcore.settings import Classify, Generate

STAGES = {
    f"{file.parent.name}/{name}": stage
    for file in (ROOT / "dvc.yaml", *ROOT.glob("*/dvc.yaml"))
    for name, stage in YAML(typ="safe").load(file.read_text())["stages"].items()
}


@pytest.mark.parametrize("name", sorted(STAGES))
def test_dependencies_are_the_import_closure(name: str) -> None:
    stage = STAGES[name]
    listed = sorted(str(dep).removeprefix("../") for dep in stage["deps"] if str(dep).endswith(".py"))
    assert listed == code(module_of(stage)), "run: python -m stages.code_deps"


@pytest.mark.parametrize(
    ("stage", "section", "model", "of_no_use"),
    [
        ("select", "generate", Generate, {"storage"}),  # in memory
        ("classify", "classify", Classify, {"calibration"}),  # evaluate's
    ],
)
def test_a_section_is_listed_whole_but_for_what_a_stage_does_not_use(stage, section, model, of_no_use) -> None:
    params = [str(name) for name in STAGES[f"{ROOT.name}/{stage}"]["params"]]
    listed = {name.removeprefix(f"{section}.") for name in params if name.startswith(f"{section}.")}
    assert listed == set(model.model_fields) - of_no_use


def test_closure_follows_imports_inside_functions(tmp_path: Path) -> None:
    package = tmp_path / "zslcore"
    package.mkdir()
    (package / "a.py").write_text("def f():\n    from zslcore import b\n")
    (package / "b.py").write_text("import zslcore.c\nimport numpy\n")
    (package / "c.py").write_text("")
    (package / "d.py").write_text("")
    assert closure("zslcore.a", root=tmp_path) == ["zslcore/a.py", "zslcore/b.py", "zslcore/c.py"]


def test_an_edited_loss_touches_training_and_not_extraction() -> None:
    assert "zslcore/losses.py" in code("stages.train")
    assert "zslcore/losses.py" not in code("stages.evaluate")
