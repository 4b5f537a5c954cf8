import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from zslcore.errors import ZSLError
from zslcore.methods._convex import fit_linear


def data(classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.arange(60) % classes
    return random.normal(size=(60, 5)) + np.eye(classes, 5)[labels], labels


def test_softmax_equals_scikit_learn() -> None:
    x, labels = data()
    weights, bias = fit_linear(x, np.eye(3)[labels], "softmax", 0.05)
    other = LogisticRegression(C=1 / (0.05 * len(x)), tol=1e-10, max_iter=5000).fit(x, labels)
    logits = x @ weights + bias
    expected = other.decision_function(x)
    np.testing.assert_allclose(
        logits - logits.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True), atol=1e-3
    )


def test_sigmoid_equals_scikit_learn_output_by_output() -> None:
    x, labels = data()
    targets = np.column_stack([labels == 0, labels == 2]).astype(float)
    weights, bias = fit_linear(x, targets, "sigmoid", 0.05)
    for output in range(2):
        other = LogisticRegression(C=1 / (0.05 * len(x)), tol=1e-10, max_iter=5000).fit(x, targets[:, output])
        np.testing.assert_allclose(weights[:, output], other.coef_[0], atol=1e-3)
        assert bias[output] == pytest.approx(other.intercept_[0], abs=1e-3)


def test_squared_hinge_is_a_minimum_of_the_loss_written_out() -> None:
    x, labels = data()
    targets = 2 * np.eye(3)[labels] - 1

    def objective(weights: np.ndarray, bias: np.ndarray) -> float:
        total = 0.0
        for row, target in zip(x, targets, strict=True):
            for output in range(3):
                total += max(0.0, 1 - target[output] * (row @ weights[:, output] + bias[output])) ** 2 / len(x)
        return total + 0.05 / 2 * (weights**2).sum()

    weights, bias = fit_linear(x, targets, "squared_hinge", 0.05)
    best, random = objective(weights, bias), np.random.default_rng(1)
    for _ in range(20):
        moved = objective(weights + 0.01 * random.normal(size=weights.shape), bias + 0.01 * random.normal(size=3))
        assert moved > best


def test_refuses_no_regularisation() -> None:
    x, labels = data()
    with pytest.raises(ZSLError, match="unbounded"):
        fit_linear(x, np.eye(3)[labels], "softmax", 0.0)
