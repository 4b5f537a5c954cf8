import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from zslcore.errors import ZSLError
from zslcore.methods._linalg import project_to_simplex, ridge, row_span, simplex_codes


@pytest.mark.parametrize(("n", "d"), [(20, 5), (5, 20)])
def test_ridge_equals_a_direct_solve_in_either_form(n: int, d: int) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(n, d)), random.normal(size=(n, 3))
    direct = np.linalg.inv(x.T @ x + 0.7 * np.eye(d)) @ x.T @ y
    np.testing.assert_allclose(ridge(x, y, 0.7), direct, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", [(20, 5), (5, 20)])
def test_row_span_rebuilds_the_rows_with_the_fewest_coordinates(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    coordinates, basis = row_span(x)
    assert coordinates.shape[1] == 5
    np.testing.assert_allclose(coordinates @ basis.T, x, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-12)


@pytest.mark.parametrize("shape", [(20, 5), (5, 20)])
def test_a_singular_system_is_an_error(shape: tuple[int, int]) -> None:
    x = np.zeros(shape)
    x[:, 0] = 1
    with pytest.raises(ZSLError, match="singular system without enough regularisation"):
        ridge(x, np.ones((shape[0], 2)), 0.0)


@given(st.integers(0, 1000))
def test_projection_to_the_simplex_is_the_nearest_point(seed: int) -> None:
    random = np.random.default_rng(seed)
    point = random.normal(size=(1, 5)) * 2
    projected = project_to_simplex(point)[0]
    assert projected.sum() == pytest.approx(1)
    assert (projected >= 0).all()
    others = random.dirichlet(np.full(5, 0.3), size=200)
    assert ((others - point) ** 2).sum(axis=1).min() >= ((projected - point) ** 2).sum() - 1e-12


def test_simplex_codes_are_the_constrained_minimum() -> None:
    random = np.random.default_rng(1)
    targets, atoms = random.normal(size=(3, 6)), random.normal(size=(4, 6))
    found = simplex_codes(targets, atoms, 0.1)
    for target, code in zip(targets, found, strict=True):

        def objective(z: np.ndarray, target: np.ndarray = target) -> float:
            return 0.5 * ((target - z @ atoms) ** 2).sum() + 0.05 * (z @ z)

        best = minimize(
            objective,
            np.full(4, 0.25),
            method="SLSQP",
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda z: z.sum() - 1},
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(code, best.x, atol=1e-5)
