import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from zslcore.errors import ZSLError
from zslcore.methods._convex import Loss, fit_linear


def data(classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.arange(60) % classes
    return random.normal(size=(60, 5)) + np.eye(classes, 5)[labels], labels


def test_softmax_equals_scikit_learn() -> None:
    x, labels = data()
    weights, bias = fit_linear(x, np.eye(3)[labels], "softmax", 0.05, tolerance=1e-8)
    other = LogisticRegression(C=1 / (0.05 * len(x)), tol=1e-10, max_iter=5000).fit(x, labels)
    logits = x @ weights + bias
    expected = other.decision_function(x)
    np.testing.assert_allclose(
        logits - logits.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True), atol=1e-5
    )


def test_sigmoid_equals_scikit_learn_output_by_output() -> None:
    x, labels = data()
    targets = np.column_stack([labels == 0, labels == 2]).astype(float)
    weights, bias = fit_linear(x, targets, "sigmoid", 0.05, tolerance=1e-8)
    for output in range(2):
        other = LogisticRegression(C=1 / (0.05 * len(x)), tol=1e-10, max_iter=5000).fit(x, targets[:, output])
        np.testing.assert_allclose(weights[:, output], other.coef_[0], atol=1e-5)
        assert bias[output] == pytest.approx(other.intercept_[0], abs=1e-5)


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


@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "squared_hinge"])
@pytest.mark.parametrize("strength", [1e-4, 1.0])
def test_the_gradient_vanishes_even_where_the_loss_saturates(loss: Loss, strength: float) -> None:
    """Classes far apart and next to no ridge term: Newton's step along a line overshoots there."""
    x, labels = data()
    x = 30 * x + 100
    targets = 2 * np.eye(3)[labels] - 1 if loss == "squared_hinge" else np.eye(3)[labels]
    weights, bias = fit_linear(x, targets, loss, strength, steps=1000, tolerance=1e-9)
    logits = x @ weights + bias
    if loss == "softmax":
        slope = softmax(logits, axis=1) - targets
    elif loss == "sigmoid":
        slope = expit(logits) - targets
    else:
        slope = -2 * targets * np.maximum(1 - targets * logits, 0)
    np.testing.assert_allclose(x.T @ slope / len(x) + strength * weights, 0, atol=1e-6)
    np.testing.assert_allclose(slope.mean(axis=0), 0, atol=1e-7)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_fewer_images_than_dimensions_give_the_same_model(loss: Loss) -> None:
    """Turned into 80 dimensions, 60 images span what they did in 5."""
    x, labels = data()
    turned = x @ np.linalg.qr(np.random.default_rng(2).normal(size=(80, 5)))[0].T
    weights, bias = fit_linear(x, np.eye(3)[labels], loss, 0.05, tolerance=1e-8)
    other, other_bias = fit_linear(turned, np.eye(3)[labels], loss, 0.05, tolerance=1e-8)
    assert other.shape == (80, 3)
    np.testing.assert_allclose(turned @ other + other_bias, x @ weights + bias, atol=1e-5)


def test_an_output_that_is_always_there_leaves_the_others_alone() -> None:
    x, labels = data()
    targets = np.column_stack([labels == 0, np.ones(60)]).astype(float)
    weights, bias = fit_linear(x.astype(np.float32), targets, "sigmoid", 0.05, tolerance=1e-5)
    alone, _ = fit_linear(x.astype(np.float32), targets[:, :1], "sigmoid", 0.05, tolerance=1e-5)
    np.testing.assert_allclose(weights[:, :1], alone, atol=1e-3)
    assert weights.dtype == bias.dtype == np.float32
    assert bias[1] > 3


def test_refuses_no_regularisation() -> None:
    x, labels = data()
    with pytest.raises(ZSLError, match="unbounded"):
        fit_linear(x, np.eye(3)[labels], "softmax", 0.0)
