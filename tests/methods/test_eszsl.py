from collections.abc import Sequence

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task
from zslcore.methods.base import TrainData
from zslcore.methods.eszsl import ESZSL, ESZSLSettings


@pytest.mark.parametrize("images", [108, 15])
def test_weights_solve_the_paper_s_system(toy_task: Task, images: int) -> None:
    """Both with more images than dimensions, and with fewer (the dual form)."""
    train = toy_task.train
    rows = (
        np.concatenate([np.arange(12) * 9, np.arange(1, 4)])[:images] if images < 24 else np.arange(len(train.labels))
    )
    part = TrainData(train.features[rows], train.labels[rows], train.signatures)
    plain = ESZSLSettings(alpha=0.5, gamma=-0.5, absent=-1, scaling="none", signature_scaling="none")
    x, s = part.features.T.astype(np.float64), part.signatures.T.astype(np.float64)
    y = np.where(part.labels[:, None] == np.arange(12), 1.0, -1.0)
    left = np.linalg.inv(x @ x.T + 10**0.5 * np.eye(len(x)))
    right = np.linalg.inv(s @ s.T + 10**-0.5 * np.eye(len(s)))
    np.testing.assert_allclose(ESZSL(plain).fit(part).weights, left @ x @ y @ s.T @ right, rtol=1e-4, atol=1e-5)


def test_minimises_its_objective(toy_task: Task) -> None:
    train = toy_task.train
    settings = ESZSLSettings(alpha=1, gamma=0, absent=-1, scaling="none", signature_scaling="none")
    x, s = train.features.T.astype(np.float64), train.signatures.T.astype(np.float64)
    y = np.where(train.labels[:, None] == np.arange(12), 1.0, -1.0)

    def objective(w: np.ndarray) -> float:
        terms = (x.T @ w @ s - y, 1.0), (w @ s, 10.0), (x.T @ w, 1.0), (w, 10.0)
        return sum(strength * (part**2).sum() for part, strength in terms)

    weights = ESZSL(settings).fit(train).weights.astype(np.float64)
    random = np.random.default_rng(0)
    for _ in range(10):
        assert objective(weights + 1e-3 * random.normal(size=weights.shape)) > objective(weights)


@pytest.mark.parametrize("classes", [range(16), range(12), range(12, 16), (3, 14)])
def test_over_any_classes_scores_spread_by_1_on_training_images(toy_task: Task, classes: Sequence[int]) -> None:
    """However many are seen: a calibration factor and a temperature carry over to other label spaces."""
    for fitted in (12, 6):
        rows = toy_task.train.labels < fitted
        part = TrainData(toy_task.train.features[rows], toy_task.train.labels[rows], toy_task.train.signatures[:fitted])
        method = ESZSL().fit(part)
        signatures = toy_task.signatures[list(classes)]
        scores = method.for_classes(signatures, np.zeros(len(signatures), bool)).scores(part.features)
        assert scores.var(axis=1).mean() == pytest.approx(1, rel=1e-4)


def test_what_older_versions_stored_scores_as_it_did(toy_task: Task) -> None:
    method, older = ESZSL().fit(toy_task.train), ESZSL()
    older.set_state({name: values for name, values in method.state().items() if name != "moments"})
    scores = older.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.seen_features)
    bare = method.scaler(toy_task.seen_features) @ method.weights @ method.signature_scaler(toy_task.signatures).T
    np.testing.assert_allclose(scores, bare, rtol=1e-5, atol=1e-6)
    again = ESZSL()
    again.set_state(older.state())


def test_equal_signatures_are_named(toy_task: Task) -> None:
    train = toy_task.train
    signatures = train.signatures.copy()
    signatures[7] = signatures[2]
    with pytest.raises(ZSLError, match="number 2, number 7 coincide"):
        ESZSL().fit(TrainData(train.features, train.labels, signatures))
