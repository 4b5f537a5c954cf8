"""A model in a file: the same predictions as the method in memory."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task
from zslcore.methods.eszsl import ESZSL
from zslcore.model.header import Confidence, Header, Temperature, of_method
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
    done: list[int] = []
    grown = without.with_classes({model.classes[-1]: described}, advance=lambda count=1, note="": done.append(count))
    assert done == [1]  # of one seed
    found, expected = (one.probabilities(toy_task.unseen_features) for one in (grown, model))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ZSLError, match=r"no value for 1 of \d+ attributes: a0"):
        without.with_classes({"new": {k: v for k, v in described.items() if k != "a0"}})


@pytest.mark.parametrize("among", ["unseen", "all"])
def test_an_explanation_adds_up_to_how_much_likelier_the_first_class_is(
    model: Model, toy_task: Task, among: str
) -> None:
    """Of linear scores, but for the calibration factor, whatever the temperature; with one class named, too."""
    warm = Confidence(temperature=Temperature(joint=0.3, unseen=0.5))
    header = model.header.model_copy(update={"confidence": warm})
    warmed = dataclasses.replace(model, header=header)
    two = warmed.predict_features(toy_task.unseen_features, top=2, among=among, explain=True)
    one = warmed.predict_features(toy_task.unseen_features, top=1, among=among, explain=True)
    for alone, both in zip(one, two, strict=True):
        first, second = both.classes
        assert (alone.against, alone.attributes) == (both.against, both.attributes) == (second, both.attributes)
        seen = [model.seen[model.classes.index(name)] for name in (first, second)]
        factor = 0.1 / 0.3 * (int(seen[0]) - int(seen[1])) if among == "all" else 0.0
        lead = sum(each.value for each in both.attributes)
        assert lead - factor == pytest.approx(np.log(both.probabilities[0] / both.probabilities[1]), abs=1e-4)


def test_an_explanation_says_which_seen_classes_an_image_is_most_like(model: Model, toy_task: Task) -> None:
    likely = -model.probabilities(toy_task.unseen_features, "seen")
    expected = [tuple(model.classes[k] for k in row[:3]) for row in np.argsort(likely, axis=1)]
    for among in ("all", "unseen"):
        found = model.predict_features(toy_task.unseen_features, among=among, explain=True)
        assert [one.nearest for one in found] == expected
    assert not any(one.nearest for one in model.predict_features(toy_task.unseen_features))


def test_probabilities_sum_to_one(model: Model, toy_task: Task) -> None:
    for among, rest in (("all", []), ("unseen", range(12)), (["class 1", "class 13"], [0, 2, 12, 14])):
        found = model.probabilities(toy_task.unseen_features, among)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
        assert not found[:, list(rest)].any()
