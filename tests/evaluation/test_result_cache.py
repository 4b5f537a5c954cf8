"""Keys of cached results: everything that a result depends on is in them."""

from dataclasses import replace

import numpy as np
import pytest

from zslcore.evaluation.protocol import Task
from zslcore.evaluation.result_cache import fingerprint

NAMES = ("signatures", "seen_features", "seen_labels", "unseen_features", "unseen_labels")


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint_sees_every_array_of_a_task(toy_task: Task, name: str) -> None:
    changed = np.roll(getattr(toy_task, name), 1)
    assert fingerprint(replace(toy_task, **{name: changed})) != fingerprint(toy_task)


@pytest.mark.parametrize("name", ["features", "labels", "signatures"])
def test_fingerprint_sees_every_array_that_is_fitted(toy_task: Task, name: str) -> None:
    changed = np.roll(getattr(toy_task.train, name), 1)
    assert fingerprint(replace(toy_task, train=replace(toy_task.train, **{name: changed}))) != fingerprint(toy_task)
