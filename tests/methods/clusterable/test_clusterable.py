"""The main method while it is trained: watching it costs nothing, and changes nothing."""

from typing import Any

import numpy as np
import pytest

from zslcore.datasets.dataset import Dataset
from zslcore.evaluation.protocol import benchmark_task, score
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.clusterable.train import Trained
from zslcore.settings import Classify, Finetune, Generate, Train

SETTINGS = ClusterableSettings(
    finetune=Finetune(epochs=1),
    train=Train(hidden=16, projection=8, epochs=3),
    generate=Generate(per_unseen=5),
    classify=Classify(epochs=2),
    device="cpu",
)


def test_an_observer_projects_the_training_images_only_where_it_scores(
    toy: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = benchmark_task(toy, toy.features)
    unwatched = score(Clusterable(SETTINGS).fit(task.train), task)
    projected: list[int] = []
    project = Trained.project

    def counted(self: Trained, features: Any) -> Any:
        projected.append(len(features))
        return project(self, features)

    monkeypatch.setattr(Trained, "project", counted)
    method = Clusterable(SETTINGS)
    method.fit(task.train, observe=lambda done: None)
    assert projected == []
    method.fit(task.train, observe=lambda done: score(method, task) if done == 2 else None)
    assert projected.count(len(task.train.labels)) == 1
    watched = score(method, task)
    assert projected.count(len(task.train.labels)) == 2
    for name in ("zsl", "joint_seen", "joint_unseen"):
        np.testing.assert_array_equal(getattr(watched, name), getattr(unwatched, name))
