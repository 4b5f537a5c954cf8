"""`import zslcore as zsl`: light, every name there, every name shown at work on docs/python.md."""

import doctest
import re
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import zslcore as zsl
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task
from zslcore.methods import registry

PAGE = Path(__file__).parents[2] / "docs/python.md"


def test_the_examples_of_the_page_run(packaged: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(packaged, folder)
    with chdir(folder):
        failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 40
    assert not failed


def test_every_public_name_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert [name for name in zsl.NAMES if not re.search(rf"zsl\.{name}\b", text)] == []
    assert set(zsl.NAMES) <= set(dir(zsl))


def test_importing_is_light() -> None:
    program = (
        "import sys, time; start = time.process_time(); import zslcore; took = time.process_time() - start;"
        "print({'torch', 'numpy', 'sklearn'} & set(sys.modules), took < 0.3)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set() True\n"


def test_every_method_is_an_estimator() -> None:
    for name in registry.METHODS:
        kind = zsl.estimator(name)
        assert getattr(zsl, kind.__name__) is kind
        made = kind(seed=3)
        assert clone(made).get_params() == made.get_params()
        assert kind.__doc__
        assert set(made.get_params()) == {"seed", "calibration", *kind.method.Settings.model_fields}


def test_it_predicts_what_the_method_predicts(toy_task: Task) -> None:
    train, mask = toy_task.train, toy_task.seen_mask
    new = toy_task.signatures[~mask]
    model = zsl.ESZSL(alpha=1.0, signature_scaling="l2").fit(train.features, train.labels, train.signatures)
    expected = model.method_.for_classes(new, np.zeros(len(new), bool)).scores(toy_task.unseen_features)
    np.testing.assert_array_equal(model.predict(toy_task.unseen_features, new), expected.argmax(axis=1))
    by_name = {f"new {k}": values for k, values in enumerate(new)}
    joint = model.method_.for_classes(toy_task.signatures, mask).scores(toy_task.unseen_features).astype(float)
    joint[:, mask] -= 0.25
    found = model.set_params(calibration=0.25).predict(toy_task.unseen_features, by_name, seen=True)
    np.testing.assert_array_equal(found, np.array([*map(str, range(12)), *by_name])[joint.argmax(axis=1)])
    assert model.score(train.features, train.labels) > 0.9  # among the seen classes, no factor taken off


def test_what_does_not_fit_together_is_said(toy_task: Task) -> None:
    train = toy_task.train
    with pytest.raises(ZSLError, match="unknown setting of ESZSL 'alhpa': did you mean 'alpha'"):
        zsl.ESZSL(alhpa=1)
    with pytest.raises(ZSLError, match="not fitted"):
        zsl.ESZSL().predict(train.features)
    with pytest.raises(ZSLError, match=r"give a row for each"):
        zsl.ESZSL().fit(train.features, train.labels, train.signatures[:-1])
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zsl.nothing
