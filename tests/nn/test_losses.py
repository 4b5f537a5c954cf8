"""Every loss against a brute-force NumPy version, and its gradient against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from zslcore.nn import losses


def draw(seed: int, n: int = 5, classes: int = 4, d: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)), random.normal(size=(classes, d)), random.integers(0, classes, n)


def brute_force_similarity_loss(h: np.ndarray, w: np.ndarray, y: np.ndarray, s) -> float:
    total = 0.0
    for i in range(len(h)):
        total += -s(h[i], w[y[i]]) + np.log(sum(np.exp(s(h[i], w[k])) for k in range(len(w))))
    return total / len(h)


@given(st.integers(0, 1000), st.floats(0.01, 3))
def test_gaussian_similarity_loss_is_equation_8(seed: int, gamma: float) -> None:
    h, w, y = draw(seed)
    expected = brute_force_similarity_loss(h, w, y, lambda a, b: -gamma * ((a - b) ** 2).sum())
    similarities = losses.gaussian_similarity(torch.tensor(h), torch.tensor(w), gamma)
    assert losses.similarity_loss(similarities, torch.tensor(y)).item() == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 1000))
def test_cross_entropy_is_equations_5_and_6(seed: int) -> None:
    h, w, y = draw(seed)
    expected = brute_force_similarity_loss(h, w, y, lambda a, b: a @ b)
    similarities = losses.dot_similarity(torch.tensor(h), torch.tensor(w))
    assert losses.similarity_loss(similarities, torch.tensor(y)).item() == pytest.approx(expected, rel=1e-6)


def test_gaussian_similarity_by_hand() -> None:
    got = losses.gaussian_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]), 0.5)
    assert got.tolist() == [[0.0, -2.5]]
    away = losses.gaussian_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]), 0.5)
    assert away.tolist() == [[-2.0]]


@pytest.mark.parametrize("length", [1, 4500, 1e5])
@pytest.mark.parametrize("apart", [1e-2, 1.0])
def test_gaussian_similarity_of_long_features_that_lie_close(length: float, apart: float) -> None:
    """In float32 the expanded square alone is off by 18 times the distance at a length of 4500 and 0.01 apart."""
    random = np.random.default_rng(0)
    w = random.normal(size=(3, 50))
    w *= length / np.linalg.norm(w, axis=1, keepdims=True)
    steps = random.normal(size=(4, 50))
    h = w[[0, 1, 2, 0]] + apart * steps / np.linalg.norm(steps, axis=1, keepdims=True)
    h, w = h.astype("f4"), w.astype("f4")
    exact = -0.7 * ((h[:, None].astype(float) - w.astype(float)) ** 2).sum(axis=2)
    x = torch.tensor(h, requires_grad=True)
    found = losses.gaussian_similarity(x, torch.tensor(w), 0.7)
    np.testing.assert_allclose(found.detach(), exact, rtol=5e-3)
    (slope,) = torch.autograd.grad(found[0, 0], x)
    np.testing.assert_allclose(slope[0], -1.4 * (h[0].astype(float) - w[0]), rtol=2e-2, atol=1e-3 * apart)


@pytest.mark.parametrize("length", [30, 4500])
def test_gaussian_similarity_of_each_long_pair_that_lies_close(length: float) -> None:
    """One pair at a time: none is saved by another's negative square."""
    random = np.random.default_rng(1)
    for _ in range(40):
        w, step = random.normal(size=(2, 1, 50))
        w, step = length * w / np.linalg.norm(w), length * 3e-3 * step / np.linalg.norm(step)
        h, w = (w + step).astype("f4"), w.astype("f4")
        exact = -((h.astype(float) - w.astype(float)) ** 2).sum()
        found = losses.gaussian_similarity(torch.tensor(h), torch.tensor(w), 1.0).item()
        assert found == pytest.approx(exact, rel=5e-3)


def test_reconstruction_is_a_mean_over_the_batch_and_a_mean_or_a_sum_over_dimensions() -> None:
    target, output = torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 3.0]])
    assert losses.reconstruction(target, output).item() == 3
    assert losses.reconstruction(target, output, "sum").item() == 9


def test_gaussian_loss_gradient() -> None:
    h, w, y = (torch.tensor(value) for value in draw(1))
    h.requires_grad_()
    w.requires_grad_()
    gamma = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda h, w, gamma: losses.similarity_loss(losses.gaussian_similarity(h, w, gamma), y), (h, w, gamma)
    )


@given(st.integers(0, 1000))
def test_kl_is_the_closed_form_and_zero_at_the_prior(seed: int) -> None:
    random = np.random.default_rng(seed)
    mean, log_variance = random.normal(size=(6, 3)), random.normal(size=(6, 3))
    expected = 0.0
    for i in range(6):
        for j in range(3):
            expected += 0.5 * (np.exp(log_variance[i, j]) + mean[i, j] ** 2 - 1 - log_variance[i, j])
    got = losses.kl_to_standard_normal(torch.tensor(mean), torch.tensor(log_variance)).item()
    assert got == pytest.approx(expected / 6)
    assert losses.kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0.0


def test_reconstruction_mean_and_sum() -> None:
    target, output = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert losses.reconstruction(target, output).item() == pytest.approx((1 + 4 + 0 + 1) / 4)
    assert losses.reconstruction(target, output, "sum").item() == pytest.approx((1 + 4 + 0 + 1) / 2)


def test_perturb_has_the_asked_spread_and_can_be_off() -> None:
    torch.manual_seed(0)
    x = torch.zeros(200, 200)
    assert losses.perturb(x, 0.2).std().item() == pytest.approx(0.2, rel=0.02)
    assert losses.perturb(x, 0.0) is x


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_perturb_adds_standard_normal_numbers_times_the_strength(strength: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 40)
    torch.manual_seed(1)
    epsilon = ((losses.perturb(x, strength) - x) / strength).numpy().ravel()
    assert kstest(epsilon, "norm").pvalue > 0.01


def test_class_means_by_hand() -> None:
    x, y = torch.tensor([[1.0, 0.0], [5.0, 2.0], [3.0, 4.0], [7.0, 7.0], [0.0, 1.0]]), torch.tensor([0, 0, 0, 3, 1])
    expected = [[3.0, 2.0], [0.0, 1.0], [0.0, 0.0], [7.0, 7.0]]  # of 3, 1, no and 1 rows
    assert losses.class_means(x, y, 4).tolist() == expected


def test_class_means_by_brute_force() -> None:
    x, _, y = draw(3, n=9)
    found = losses.class_means(torch.tensor(x), torch.tensor(y), 4).numpy()
    for k in range(4):
        np.testing.assert_allclose(found[k], x[y == k].mean(axis=0) if (y == k).any() else 0)


def test_ramp() -> None:
    assert [losses.ramp(epoch, 6, 22) for epoch in (0, 6, 10, 14, 22, 90)] == [0, 0, 0.25, 0.5, 1, 1]
    assert losses.ramp(0, 0, 0) == losses.ramp(1, 0, 0) == 1, "no warm-up"
