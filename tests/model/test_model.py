"""A model in a file: the same predictions as the method in memory."""

from pathlib import Path

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task
from zslcore.methods.eszsl import ESZSL
from zslcore.model.header import Header, of_method
from zslcore.model.model import Model


@pytest.fixture(scope="module")
def model(toy_task: Task) -> Model:
    method = ESZSL().fit(toy_task.train)
    names = tuple(f"class {k}" for k in range(len(toy_task.signatures)))
    attributes = tuple(f"a{k}" for k in range(toy_task.signatures.shape[1]))
    header = Header(
        name="toy",
        method="eszsl",
        settings=of_method(method.settings),
        seeds=(0,),
        classes=names,
        attributes=attributes,
        calibration=0.1,
    )
    return Model(header, toy_task.signatures, toy_task.seen_mask, (method,))


def test_a_file_gives_the_same_predictions(model: Model, toy_task: Task, tmp_path: Path) -> None:
    model.save(tmp_path / "a.zsl")
    loaded = Model.load(tmp_path / "a.zsl")
    loaded.save(tmp_path / "b.zsl")
    assert (tmp_path / "a.zsl").read_bytes() == (tmp_path / "b.zsl").read_bytes()
    assert loaded.predict_features(toy_task.unseen_features) == model.predict_features(toy_task.unseen_features)


def test_a_new_class_is_found(model: Model, toy_task: Task) -> None:
    fewer = toy_task.signatures[:-1]
    header = model.header.model_copy(update={"classes": model.classes[:-1]})
    without = Model(header, fewer, toy_task.seen_mask[:-1], model.methods)
    described = dict(zip(model.attributes, toy_task.signatures[-1].tolist(), strict=True))
    grown = without.with_classes({model.classes[-1]: described})
    found, expected = (one.probabilities(toy_task.unseen_features) for one in (grown, model))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ZSLError, match="1 attributes are missing: a0"):
        without.with_classes({"new": {k: v for k, v in described.items() if k != "a0"}})


def test_probabilities_sum_to_one(model: Model, toy_task: Task) -> None:
    for among, rest in (("all", []), ("unseen", range(12)), (["class 1", "class 13"], [0, 2, 12, 14])):
        found = model.probabilities(toy_task.unseen_features, among)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
        assert not found[:, list(rest)].any()
