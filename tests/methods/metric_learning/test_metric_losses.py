"""Equations 1-7 and 11 of Bucher et al. against loops over pairs in float64."""

import numpy as np
import pytest
import torch

from zslcore.methods.metric_learning.losses import HINGES, attribute_loss, objective, regulariser
from zslcore.methods.metric_learning.metric import AttributeMetric


@pytest.fixture
def model() -> AttributeMetric:
    torch.manual_seed(0)
    made = AttributeMetric(6, np.full(4, 0.1, dtype=np.float32), 3, scale_x=2.0, scale_a=0.7, tau=1.3)
    return made.double()


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.normal(size=(5, 6)), random.uniform(size=(7, 4))


def weights(model: AttributeMetric) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    w_x, b_x, w_a = (parameter.detach().numpy() for parameter in (model.w_x, model.b_x, model.w_a))
    return w_x, b_x, w_a, float(model.tau.detach())


def embed(model: AttributeMetric, x: np.ndarray) -> np.ndarray:
    """Eq. 2 for one image."""
    w_x, b_x, _, _ = weights(model)
    return np.array([max(0.0, sum(x[j] * w_x[j, k] for j in range(len(x))) + b_x[k]) for k in range(len(b_x))])


def similarity(model: AttributeMetric, x: np.ndarray, y: np.ndarray) -> float:
    """Eq. 1 for one pair."""
    difference, w_a = embed(model, x) - y, weights(model)[2]
    return float(np.sqrt(sum(float(difference @ w_a[:, j]) ** 2 for j in range(w_a.shape[1]))))


def hinge(form: str, s: float, tau: float, z: int) -> float:
    return max(0.0, 1 - z * (tau - s) ** 2) if form == "printed" else max(0.0, 1 - z * (tau - s**2))


def test_embedding_and_similarity(model: AttributeMetric, data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    predicted = model.attributes(torch.from_numpy(x))
    np.testing.assert_allclose(predicted.detach(), [embed(model, row) for row in x], rtol=1e-12)
    assert (predicted == 0).any(), "the case must reach the ReLU's flat side"
    found = model.squared_to_each(predicted, torch.from_numpy(y)).sqrt()
    np.testing.assert_allclose(found.detach(), [[similarity(model, a, b) for b in y] for a in x], rtol=1e-9)
    own = model.squared_to_one(predicted, torch.from_numpy(y[:5])).sqrt()
    np.testing.assert_allclose(own.detach(), [similarity(model, a, b) for a, b in zip(x, y, strict=False)], rtol=1e-9)


def test_bf16_is_near_and_keeps_the_type(data: tuple[np.ndarray, np.ndarray]) -> None:
    x = torch.from_numpy(data[0].astype("f4"))
    found = []
    for bf16 in (False, True):
        torch.manual_seed(0)
        made = AttributeMetric(6, np.full(4, 0.1, dtype=np.float32), 3, 2.0, 0.7, 1.3, bf16)
        found.append(made.attributes(x))
    assert found[1].dtype == torch.float32
    assert not torch.equal(*found)
    torch.testing.assert_close(*found, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("form", sorted(HINGES))
@pytest.mark.parametrize("z", [1, -1])
def test_hinge(form: str, z: int) -> None:
    s, tau = np.linspace(0, 3, 31), 1.4
    found = HINGES[form](torch.from_numpy(s**2), torch.tensor(tau, dtype=torch.float64), z)
    np.testing.assert_allclose(found, [hinge(form, value, tau, z) for value in s], atol=1e-5)


def test_hinge_by_hand() -> None:
    squared, tau = torch.tensor([4.0]), torch.tensor(2.5)  # S = 2
    assert HINGES["printed"](squared, tau, 1).item() == pytest.approx(0.75)  # 1 − 0.5²
    assert HINGES["printed"](squared, tau, -1).item() == pytest.approx(1.25)
    assert HINGES["parent"](squared, tau, 1).item() == pytest.approx(2.5)  # 1 − (2.5 − 4)
    assert HINGES["parent"](squared, tau, -1).item() == pytest.approx(0.0)  # 1 + 2.5 − 4 < 0


@pytest.mark.parametrize("form", sorted(HINGES))
def test_hinge_has_a_gradient_at_zero_distance(form: str) -> None:
    squared = torch.zeros(1, requires_grad=True)
    HINGES[form](squared, torch.tensor(0.5), 1).sum().backward()
    assert torch.isfinite(squared.grad).all()  # type: ignore[arg-type]


def test_attribute_loss_and_regulariser_by_hand(model: AttributeMetric) -> None:
    found = attribute_loss(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    assert found.tolist() == [5.0, 25.0]
    w_x, b_x, w_a, _ = weights(model)
    expected = (w_x**2).sum() + (b_x**2).sum() + (w_a**2).sum()
    assert regulariser(model.w_x, model.b_x, model.w_a).item() == pytest.approx(expected)


@pytest.mark.parametrize("form", sorted(HINGES))
@pytest.mark.parametrize("equation", [6, 11])
def test_objective(model: AttributeMetric, data: tuple[np.ndarray, np.ndarray], form: str, equation: int) -> None:
    x, y = data
    own, tau = [0, 3, 3, 6, 1], weights(model)[3]
    negatives = [(0, 2), (0, 2), (0, 5), (1, 0), (2, 4), (4, 4), (4, 0)]  # (image, candidate), one of them twice
    positive = sum(hinge(form, similarity(model, x[i], y[own[i]]), tau, 1) for i in range(5))
    attribute = sum(float(((y[own[i]] - embed(model, x[i])) ** 2).sum()) for i in range(5))
    negative = sum(hinge(form, similarity(model, x[i], y[j]), tau, -1) for i, j in negatives)
    penalty = sum(float((w**2).sum()) for w in weights(model)[:3])
    first, second = (1, 1) if equation == 6 else (1 / 5, 1 / 7)
    expected = first * (positive + 0.3 * attribute) + second * negative + 0.01 * penalty

    counts = np.zeros((5, 7))
    for i, j in negatives:
        counts[i, j] += 1
    predicted, vectors = model.attributes(torch.from_numpy(x)), torch.from_numpy(y)
    found = objective(
        HINGES[form](model.squared_to_one(predicted, vectors[own]), model.tau, 1),
        attribute_loss(predicted, vectors[own]),
        HINGES[form](model.squared_to_each(predicted, vectors), model.tau, -1),
        torch.from_numpy(counts),
        regulariser(model.w_x, model.b_x, model.w_a),
        lambda_attributes=0.3,
        mu=0.01,
        positive_weight=first,
        negative_weight=second,
    )
    assert found.item() == pytest.approx(expected, rel=1e-9)
