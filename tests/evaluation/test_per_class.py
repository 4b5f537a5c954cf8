"""Accuracy class by class, and intervals over classes."""

import numpy as np
import pytest

from zslcore.datasets.dataset import Dataset
from zslcore.evaluation.metrics import Scores
from zslcore.evaluation.per_class import ClassAccuracies, accuracies
from zslcore.evaluation.protocol import evaluate, summarise
from zslcore.io.artifacts import read_json, write_json


def made_up(classes: int, spread: float, seed: int = 0) -> ClassAccuracies:
    random = np.random.default_rng(seed)
    zsl, unseen, seen = (random.normal(60, spread, size) for size in (classes, classes, 2 * classes))
    return ClassAccuracies(zsl, unseen, seen)


def test_figures_are_those_of_the_metrics(toy: Dataset) -> None:
    random = np.random.default_rng(0)
    runs = {}
    for seed in (0, 1):
        zsl, seen, unseen = (
            random.normal(size=(rows, columns)).astype("f4")
            for rows, columns in (
                (len(toy.test_unseen), len(toy.unseen)),
                (len(toy.test_seen), len(toy.classes)),
                (len(toy.test_unseen), len(toy.classes)),
            )
        )
        runs[seed] = Scores.of(toy, zsl=zsl, joint_seen=seen, joint_unseen=unseen)
    found = accuracies(toy, runs, 0.3).over_classes()
    metrics = summarise({seed: evaluate(scores, 0.3) for seed, scores in runs.items()})
    assert found["T1"].mean == pytest.approx(metrics["zsl"]["T1"]["mean"])
    assert found["U"].mean == pytest.approx(metrics["gzsl"]["U"]["mean"])
    assert found["S"].mean == pytest.approx(metrics["gzsl"]["S"]["mean"])
    assert found["T1"].count == len(toy.unseen)
    assert all(one.low <= one.mean <= one.high for one in found.values())


def test_the_interval_is_that_of_the_mean_of_many_classes() -> None:
    """Of the mean of 200 classes, the bootstrap's width is that of the normal distribution."""
    one = made_up(200, 15.0)
    found = one.over_classes()["T1"]
    assert found.high - found.low == pytest.approx(2 * 1.96 * one.zsl.std() / np.sqrt(200), rel=0.05)


def test_covers_what_other_classes_would_give() -> None:
    found = [made_up(20, 15.0, seed).over_classes()["T1"] for seed in range(200)]
    assert np.mean([one.low <= 60 <= one.high for one in found]) == pytest.approx(0.93, abs=0.04)


def test_pairing_removes_what_makes_a_class_hard_for_both() -> None:
    one = made_up(30, 15.0)
    better = ClassAccuracies(one.zsl + 1, one.unseen, one.seen)
    lead = better.over_classes(one)
    assert (lead["T1"].low, lead["T1"].high) == pytest.approx((1.0, 1.0))
    assert lead["T1"].excludes_zero
    assert (lead["H"].mean, lead["H"].low, lead["H"].high, lead["H"].p_value) == (0.0, 0.0, 0.0, 1.0)
    apart = made_up(30, 15.0, seed=1).over_classes(one)["T1"]
    assert apart.high - apart.low > 5


def test_classes_without_test_images_count_for_nothing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    one = ClassAccuracies(np.array([50.0, 70.0]), np.array([40.0, 60.0]), np.array([80.0, np.nan, 60.0]))
    found = one.over_classes()
    assert found["S"].mean == 70.0
    assert found["H"].mean == pytest.approx(2 * 50 * 70 / 120)
    write_json(tmp_path / "lists.json", one.lists())
    again = ClassAccuracies.read(read_json(tmp_path / "lists.json"))
    assert again.over_classes() == found
