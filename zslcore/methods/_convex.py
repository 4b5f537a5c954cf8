"""Linear models with a convex loss over many outputs at once: the seen-class and attribute classifiers of old."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from zslcore.errors import ZSLError
from zslcore.methods._linalg import Matrix

Loss = Literal["softmax", "sigmoid", "squared_hinge"]


def fit_linear(
    x: NDArray[Any], targets: NDArray[Any], loss: Loss, strength: float, steps: int = 100
) -> tuple[Matrix, Matrix]:
    """min over W, b of (1/n) Σᵢ loss(xᵢᵀW + b, targetsᵢ) + ½ strength ‖W‖², by L-BFGS from zero.

    x (n, d); targets (n, m): probabilities for softmax and sigmoid, ±1 for squared_hinge. Returns W (d, m), b (m,).
    Raises ZSLError when strength is not positive. Solved for V = R W with RᵀR = XᵀX/n + strength I, where features
    are uncorrelated and a few dozen steps do the work of a thousand.
    """
    if strength <= 0:
        raise ZSLError(f"strength {strength:g} leaves the classifier unbounded; use one above 0")
    n, d = x.shape
    m = targets.shape[1]
    x = x.astype(np.float64)
    root = cholesky(x.T @ x / n + strength * np.eye(d))
    whitened = solve_triangular(root, x.T, trans="T").T
    value_and_slope = _LOSSES[loss]

    def objective(flat: Matrix) -> tuple[float, Matrix]:
        white, bias = flat[: d * m].reshape(d, m), flat[d * m :]
        weights = solve_triangular(root, white)
        value, slope = value_and_slope(whitened @ white + bias, targets)
        gradient = whitened.T @ slope / n + strength * solve_triangular(root, weights, trans="T")
        total = value / n + strength / 2 * float((weights * weights).sum())
        return total, np.concatenate([gradient.ravel(), slope.mean(axis=0)])

    options = {"maxiter": steps, "gtol": 1e-6}
    found = minimize(objective, np.zeros((d + 1) * m), jac=True, method="L-BFGS-B", options=options).x
    return solve_triangular(root, found[: d * m].reshape(d, m)), found[d * m :]


def _softmax(logits: Matrix, targets: NDArray[Any]) -> tuple[float, Matrix]:
    log_total = logsumexp(logits, axis=1, keepdims=True)
    return float((log_total - (targets * logits).sum(axis=1, keepdims=True)).sum()), np.exp(
        logits - log_total
    ) - targets


def _sigmoid(logits: Matrix, targets: NDArray[Any]) -> tuple[float, Matrix]:
    return float((np.logaddexp(0, logits) - targets * logits).sum()), expit(logits) - targets


def _squared_hinge(logits: Matrix, targets: NDArray[Any]) -> tuple[float, Matrix]:
    short = np.maximum(1 - targets * logits, 0)
    return float((short * short).sum()), -2 * targets * short


_LOSSES: dict[Loss, Callable[[Matrix, NDArray[Any]], tuple[float, Matrix]]] = {
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "squared_hinge": _squared_hinge,
}
