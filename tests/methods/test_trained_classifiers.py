"""Classifiers that methods train in `for_classes`: saved, put back, and not trained again."""

from typing import Any

import numpy as np
import pytest

from zslcore.evaluation.protocol import Task
from zslcore.methods import _generative, registry
from zslcore.methods.base import Method, TrainsClassifiers
from zslcore.methods.clusterable import label_spaces


def fitted(name: str, task: Task) -> Method[Any]:
    kind = registry.get(name)
    quick: dict[str, Any] = {"epochs": 2}
    if name == "clusterable":
        quick = {"train": {**kind.quick["train"], "epochs": 2}}
    return kind(kind.Settings(**{**kind.quick, **quick})).fit(task.train)


@pytest.mark.parametrize("name", ["clusterable", "cvae-zsl"])
def test_what_was_put_back_scores_alike_and_is_not_trained(
    name: str, toy_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, signatures, mask = fitted(name, toy_task), toy_task.signatures, toy_task.seen_mask
    assert isinstance(method, TrainsClassifiers)
    spaces = ((signatures, mask), (signatures[~mask], mask[~mask]))
    expected = [method.for_classes(*space, seed=5).scores(toy_task.unseen_features) for space in spaces]
    state, trained = method.state(), method.classifiers(signatures, mask, seed=5)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    again = type(method)(method.settings)
    again.set_state(state)
    assert isinstance(again, TrainsClassifiers)
    again.set_classifiers(trained, signatures, mask, seed=5)
    for module in (_generative, label_spaces):
        monkeypatch.setattr(module, "fit_classifier", never)
    for space, scores in zip(spaces, expected, strict=True):
        np.testing.assert_array_equal(again.for_classes(*space, seed=5).scores(toy_task.unseen_features), scores)
    with pytest.raises(AssertionError, match="trained again"):  # another seed is another classifier
        again.for_classes(signatures, mask, seed=6).scores(toy_task.unseen_features)
