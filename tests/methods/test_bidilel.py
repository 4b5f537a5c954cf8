import numpy as np
import pytest
from scipy.optimize import check_grad

from zslcore.evaluation.protocol import Task
from zslcore.methods.base import TrainData
from zslcore.methods.bidilel import BiDiLEL, BiDiLELSettings, stress


def points(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3))


def test_stress_by_loop_over_pairs() -> None:
    placed, fixed = points(3, 0), points(4, 1)
    wanted = np.random.default_rng(2).uniform(0.5, 2, (3, 7))
    wanted[:, 4:] = (wanted[:, 4:] + wanted[:, 4:].T) / 2
    total = 0.0
    for i in range(3):
        for j in range(4):
            total += (np.linalg.norm(placed[i] - fixed[j]) - wanted[i, j]) ** 2 / wanted[i, j]
        for j in range(i + 1, 3):
            total += (np.linalg.norm(placed[i] - placed[j]) - wanted[i, 4 + j]) ** 2 / wanted[i, 4 + j]
    np.testing.assert_allclose(stress(placed, fixed, wanted)[0], total)


def test_slope_of_the_stress() -> None:
    fixed = points(4, 1)
    wanted = np.random.default_rng(2).uniform(0.5, 2, (3, 7))
    wanted[:, 4:] = (wanted[:, 4:] + wanted[:, 4:].T) / 2
    error = check_grad(
        lambda flat: stress(flat.reshape(3, 3), fixed, wanted)[0],
        lambda flat: stress(flat.reshape(3, 3), fixed, wanted)[1].ravel(),
        points(3, 0).ravel(),
    )
    assert error < 1e-5


@pytest.mark.parametrize("images", [108, 20])
def test_projection_equals_a_direct_solve_in_either_form(toy_task: Task, images: int) -> None:
    """With fewer images than dimensions (20 of 24) too, where the smaller system is solved."""
    train = toy_task.train
    rows = np.sort(np.argsort(np.arange(len(train.labels)) % 9, kind="stable")[:images])
    part = TrainData(train.features[rows], train.labels[rows], train.signatures)
    method = BiDiLEL(BiDiLELSettings(latent=5, strength=0.1, scaling="none")).fit(part)
    x = part.features.astype(np.float64)
    x -= x.mean(axis=0)
    apart = x - np.array([x[part.labels == k].mean(axis=0) for k in range(12)])[part.labels]
    ballast = 0.1 * np.trace(x.T @ x) / 24 * np.eye(24)
    values, vectors = np.linalg.eig(np.linalg.inv(x.T @ x + ballast) @ (apart.T @ apart + ballast))
    expected = vectors.real[:, np.argsort(values.real)[:5]]
    span = expected @ np.linalg.pinv(expected)
    found = method.projection @ np.linalg.pinv(method.projection)
    np.testing.assert_allclose(found, span, atol=1e-4)


def test_projection_is_orthonormal_and_keeps_classes_tight(toy_task: Task) -> None:
    train = toy_task.train
    method = BiDiLEL(BiDiLELSettings(latent=6, strength=0.01)).fit(train)
    x = method.scaler(train.features) - method.offset
    ballast = 0.01 * np.trace(x.T @ x) / x.shape[1] * np.eye(x.shape[1])
    gram = method.projection.T @ (x.T @ x + ballast) @ method.projection
    np.testing.assert_allclose(gram / len(x), np.eye(6), atol=1e-4)

    def spread(projected: np.ndarray) -> float:
        """Variance inside classes, as a share of all."""
        inside = sum(
            ((rows - rows.mean(axis=0)) ** 2).sum() for rows in (projected[train.labels == k] for k in range(12))
        )
        return inside / ((projected - projected.mean(axis=0)) ** 2).sum()

    random = np.random.default_rng(0).normal(size=(x.shape[1], 6))
    assert spread(x @ method.projection) < spread(x @ random)


def test_a_class_with_a_seen_signature_is_placed_on_its_landmark(toy_task: Task) -> None:
    """Distances that fit exactly leave no stress: a point between landmarks on a line is found again."""
    method = BiDiLEL().fit(toy_task.train)
    line = np.linspace(0, 1, 5)[:, None] * np.ones((1, 3), dtype=np.float32)
    method.signatures, method.landmarks, method.stretch = line.astype(np.float32), 2.0 * line, np.array(2.0)
    placed = method._place(np.full((1, 3), 0.4, dtype=np.float32))
    np.testing.assert_allclose(placed, np.full((1, 3), 0.8), atol=1e-2)
