"""Every script of examples/ runs and prints what it promises; its notebook is the same."""

import ast
import re
import runpy
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
notebooks = runpy.run_path(str(ROOT / "docs/notebooks.py"))
SAID = {
    "own_images": r"^144 images, 9 seen and 3 unseen classes\nyour images, ESZSL +T1 .* H +\d+\.\d\n$",
    "new_classes": r"^(a [\w -]+: [\w -]+ \(\d+%\), [\w -]+\n){2}$",
    "text_signatures": r"^[\w -]+ is described so: .*\.\nattributes +T1 .*\nsentences +T1 .*\nboth +T1 .*\n$",
    "new_method": r"^Plain ridge +T1 .*\nESZSL +T1 .*\n$",
    "compare_backbones": r"^pretrained +(T1 .*)\nrandom weights +(?!\1\n)T1 .*\n$",
}


@pytest.mark.parametrize("name", SAID)
def test_it_prints_what_it_promises(name: str) -> None:
    """Run here, or by the build of the site before."""
    assert re.search(SAID[name], notebooks["output"](name))


@pytest.mark.parametrize("name", SAID)
def test_its_notebook_is_the_script(name: str) -> None:
    notebook = nbformat.reads(notebooks["notebook"](name), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    script = (ROOT / f"examples/{name}.py").read_text()
    assert ast.dump(ast.parse("\n".join(cell.source for cell in code))) == ast.dump(without_docstring(script))
    assert code[-1].outputs[0].text == notebooks["output"](name)


def without_docstring(script: str) -> ast.Module:
    """The tree of a script."""
    tree = ast.parse(script)
    del tree.body[0]
    return tree


def test_none_is_left_out() -> None:
    assert set(notebooks["names"]()) == SAID.keys()
