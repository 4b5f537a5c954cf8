"""What a stage's code is: the closure of its imports, and a hash that only what matters changes."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.code import reached
from stages.commands import STAGES
from zslcore.project.code import LEFT_OUT, ROOT, closure, code_hash
from zslcore.project.params import Resolved
from zslcore.settings import Settings

SOURCE = '''\
"""What this module does."""

import math
from zslcore import b
from zslcore.errors import ZSLError

DIMENSIONS = 3
"""Of a vector."""


class Loss:
    """A loss."""

    weight: float = Field(0.5, ge=0, description="of the term")

    def __call__(self, x: float) -> float:
        """The value."""
        if x < 0:
            raise ZSLError(f"x is {x}; give a number from 0 up")
        say(f"computed {x}")
        log.info("done")
        return self.weight * x + DIMENSIONS  # in nats
'''


def package(folder: Path, **sources: str) -> Path:
    """A project whose package `zslcore` has these modules."""
    for name, source in {"errors": "class ZSLError(Exception): ...\n", "b": "", **sources}.items():
        path = folder / "zslcore" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder


def hash_of(folder: Path, source: str = SOURCE, **others: str) -> str:
    return code_hash("zslcore.a", root=package(folder, a=source, **others))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # in nats", ""),
        ("  # in nats", "  # in bits"),
        ('"""What this module does."""\n', '"""Something else."""\n# And a comment.\n'),
        ('    """A loss."""\n\n', ""),
        ('        """The value."""\n', '        """A value."""\n'),
        ('"""Of a vector."""', '"""Of a space."""'),
        ("x is {x}; give a number from 0 up", "x is negative"),
        ("computed {x}", "computed"),
        ('log.info("done")', 'log.info("finished")'),
        ('log.info("done")', 'log.warning("done: %s", x)'),
        ("of the term", "of the loss"),
        ("ge=0, description", "ge=0 , description"),
        ("\n\n\nclass", "\n\n\n\nclass"),
    ],
)
def test_words_and_layout_leave_the_hash(old: str, new: str, tmp_path: Path) -> None:
    assert old in SOURCE
    assert hash_of(tmp_path, SOURCE.replace(old, new)) == hash_of(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("DIMENSIONS = 3", "DIMENSIONS = 4"),
        ("DIMENSIONS = 3", "DIMENSIONS = 3.0"),
        ("self.weight * x", "self.weight + x"),
        ("x < 0", "x <= 0"),
        ("Field(0.5", "Field(0.6"),
        ("ge=0", "gt=0"),
        ("import math", "import cmath"),
        ("from zslcore import b", "from zslcore import b as c"),
        ("raise ZSLError", "raise ValueError"),
        ("def __call__", "def forward"),
        ("x: float", "x: int"),
        ("self.weight * x + DIMENSIONS", "DIMENSIONS + self.weight * x"),
        ('        log.info("done")\n', "        x = x + 1\n"),
    ],
)
def test_what_the_code_does_changes_the_hash(old: str, new: str, tmp_path: Path) -> None:
    assert old in SOURCE
    assert hash_of(tmp_path, SOURCE.replace(old, new)) != hash_of(tmp_path)


def test_imported_modules_count_and_those_left_out_do_not(tmp_path: Path) -> None:
    first = hash_of(tmp_path)
    assert hash_of(tmp_path, b="X = 1\n") != first
    assert hash_of(tmp_path, b="X = 1  # one\n") == hash_of(tmp_path, b="X = 1\n")
    assert hash_of(tmp_path, errors="class ZSLError(ValueError): ...\n") == first
    assert hash_of(tmp_path, unrelated="X = 1\n") == first


def test_a_module_s_name_counts(tmp_path: Path) -> None:
    """Two files that change places are another program."""
    one = hash_of(tmp_path / "one", "from zslcore import b, c\n", b="X = 1\n", c="X = 2\n")
    assert hash_of(tmp_path / "two", "from zslcore import b, c\n", b="X = 2\n", c="X = 1\n") != one


def test_closure_follows_imports_inside_functions(tmp_path: Path) -> None:
    sources = {"a": "def f():\n    from zslcore import b\n", "b": "import zslcore.c\nimport numpy\n", "c": "", "d": ""}
    root = package(tmp_path, **sources)
    found = closure("zslcore.a", root=root)
    assert {name: path.relative_to(root).as_posix() for name, path in found.items()} == {
        f"zslcore.{name}": f"zslcore/{name}.py" for name in "abc"
    }


def test_every_module_left_out_exists_and_none_of_them_computes() -> None:
    for name in LEFT_OUT:
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), name
    for stage, module in STAGES.items():
        assert not {name for name in closure(module) if name in LEFT_OUT}, stage


def of_stage(stage: str) -> dict[str, Path]:
    """What `resolve` hashes for a stage, on drawn birds."""
    resolved = Resolved("toy", "best", "cpu", (0,), {"kind": "birds"}, Settings(), {})
    return closure(STAGES[stage], *reached(stage, resolved))


def test_an_edited_loss_touches_training_and_not_extraction() -> None:
    having = {stage for stage in STAGES if "zslcore.nn.losses" in of_stage(stage)}
    assert {"select", "finetune", "train", "generate", "classify", "tsne", "ablation"} <= having
    assert not having & {"prepare", "extract", "evaluate"}


def test_what_stages_reach_through_a_registry_counts() -> None:
    assert "zslcore.methods.eszsl" in of_stage("mining")
    assert {"zslcore.methods.eszsl", "zslcore.methods.sae", "zslcore.methods.tf_vaegan"} <= of_stage("compare").keys()
    assert any(name.startswith("zslcore.datasets.birds") for name in of_stage("prepare"))
    assert "zslcore.datasets.folder" not in of_stage("prepare")


APART = [name for name in LEFT_OUT if "." in name]
IMPORTED = """
import json, os, sys
import h5py, numpy, pandas, pydantic, ruamel.yaml, scipy.io, sklearn.manifold, torch, typer, PIL.Image
for stage, module in json.loads(sys.argv[1]).items():
    sys.stdout.flush()
    if not os.fork():
        __import__(module)
        print(json.dumps([stage, [name for name in sys.modules if name.split(".")[0] in ("zslcore", "stages")]]))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""
"""Imports each stage in a process of its own, forked where what others wrote is imported already."""


def test_the_closure_is_what_a_stage_imports() -> None:
    """Less what is left out, what reads settings for it, and packages' docstrings; exactly so in the pipeline.

    CLIP, as an encoder of texts, and devices, where jobs may be on a GPU, are imported when they are asked for.

    Experiments and `resolve` import some modules inside functions, which the closure has and a bare import has not.
    """
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", IMPORTED, json.dumps(STAGES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    imported = dict(map(json.loads, done.stdout.splitlines()))
    assert imported.keys() == STAGES.keys()
    printed = closure("zslcore.report.headline", "zslcore.report.numbers").keys()  # what `stages.lines` prints with
    clip = closure("zslcore.features.clip").keys()
    for stage, names in imported.items():
        counted = {name for name in names if not any(f"{name}.".startswith(f"{other}.") for other in APART)}
        counted -= {"zslcore.io.yaml", *LEFT_OUT} | packages()
        found = closure(STAGES[stage]).keys() - packages() - {"zslcore.io.yaml"}
        counted -= printed - found
        assert counted <= found, stage
        later = {"zslcore.training.device"} | (clip if "zslcore.signatures.encoders" in found else set())
        assert found - counted <= later or stage not in pipeline, stage


def packages() -> set[str]:
    """Packages whose own file holds nothing but a docstring."""
    files = [path for name in ("zslcore", "stages") for path in (ROOT / name).rglob("__init__.py")]
    empty = [path for path in files if len(ast.parse(path.read_text()).body) <= 1]
    return {".".join(path.parent.relative_to(ROOT).parts) for path in empty}
