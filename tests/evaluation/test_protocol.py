import numpy as np
import pytest

from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError
from zslcore.evaluation import protocol
from zslcore.evaluation.metrics import harmonic_mean, per_class_top1
from zslcore.methods.eszsl import ESZSL


def seen_of(data: Dataset) -> Seen:
    assert data.features is not None
    rows = data.trainval
    return Seen("toy", data.features[rows], data.labels[rows], data.signatures, data.seen, data.unseen)


def test_benchmark_task_keeps_features_labels_and_signatures_together(toy: Dataset) -> None:
    task = protocol.benchmark_task(toy, toy.features)
    np.testing.assert_array_equal(task.train.signatures[task.train.labels], toy.signatures[toy.labels[toy.trainval]])
    np.testing.assert_array_equal(task.signatures[task.unseen_labels], toy.signatures[toy.labels[toy.test_unseen]])
    np.testing.assert_array_equal(task.signatures[task.seen_labels], toy.signatures[toy.labels[toy.test_seen]])
    assert task.seen_mask.sum() == len(toy.seen) == task.seen_count
    assert (task.unseen_labels >= task.seen_count).all()
    assert (task.seen_labels < task.seen_count).all()


def test_validation_task_uses_no_held_out_class_for_training_and_no_real_unseen_class(toy: Dataset) -> None:
    held_out = toy.seen[:4]
    task = protocol.validation_task(seen_of(toy), held_out, holdout=0.25, seed=0)
    assert len(task.signatures) == len(toy.seen)
    assert task.seen_count == len(toy.seen) - 4
    np.testing.assert_array_equal(task.signatures[task.seen_count :], toy.signatures[held_out])
    trained, tested = ({row.tobytes() for row in rows} for rows in (task.train.features, task.seen_features))
    assert not trained & tested
    assert len(task.unseen_labels) == np.isin(toy.labels[toy.trainval], held_out).sum()


def test_validation_splits_published_first_else_by_seed(toy: Dataset) -> None:
    seen = seen_of(toy)
    derived = protocol.validation_splits(seen, 3, seed=1)
    assert [len(split) for split in derived] == [4, 4, 4]
    assert all(np.isin(split, seen.seen).all() for split in derived)
    published = Seen(**{**seen.__dict__, "validation_splits": (toy.seen[:2], toy.seen[2:4])})
    assert [split.tolist() for split in protocol.validation_splits(published)] == [[0, 1], [2, 3]]
    with pytest.raises(ZSLError, match="at least 4"):
        protocol.validation_splits(Seen(**{**seen.__dict__, "seen": toy.seen[:3]}))


def test_evaluate_against_brute_force(toy_task: protocol.Task) -> None:
    scores = protocol.score(ESZSL().fit(toy_task.train), toy_task)
    found = protocol.evaluate(scores, calibration=0.1)
    mask = scores.seen_mask
    unseen = per_class_top1(scores.unseen_labels, (scores.joint_unseen - 0.1 * mask).argmax(axis=1))
    seen = per_class_top1(scores.seen_labels, (scores.joint_seen - 0.1 * mask).argmax(axis=1))
    assert found["gzsl"]["U"] == pytest.approx(100 * unseen)
    assert found["gzsl"]["S"] == pytest.approx(100 * seen)
    assert found["gzsl"]["H"] == pytest.approx(100 * harmonic_mean(seen, unseen))
    assert found["zsl"]["T1"] == pytest.approx(
        100 * per_class_top1(scores.unseen_labels, scores.seen_count + scores.zsl.argmax(axis=1))
    )
    assert found["diagnostic"]["test_selected_H"] >= found["gzsl"]["H"] - 1e-9


def test_calibration_is_the_best_mean_over_tasks(toy_task: protocol.Task) -> None:
    curves = [protocol.score(ESZSL(ESZSL.Settings(alpha=a)).fit(toy_task.train), toy_task).curve() for a in (0.0, 4.0)]
    chosen = protocol.choose_calibration(curves)

    def mean(factor: float) -> float:
        return float(np.mean([curve.at(factor)[2] for curve in curves]))

    assert mean(chosen) >= max(mean(factor) for factor in np.linspace(-2, 2, 201)) - 1e-9


def test_summarise_keeps_each_seed() -> None:
    runs = {0: {"zsl": {"T1": 10.0}}, 5: {"zsl": {"T1": 14.0}}}
    got = protocol.summarise(runs)["zsl"]["T1"]
    assert got == {"mean": 12.0, "std": pytest.approx(np.sqrt(8)), "seeds": {"0": 10.0, "5": 14.0}}
    assert protocol.summarise({0: runs[0]})["zsl"]["T1"]["std"] == 0.0
