"""Closed-form pieces that several methods share, in float64."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, LinAlgWarning, qr, solve

from zslcore.errors import ZSLError
from zslcore.io.rows import Rows, blocks
from zslcore.scaling import add_by_class

Array = NDArray[np.floating[Any]]
Matrix = NDArray[np.float64]


def solve_positive(a: NDArray[Any], b: NDArray[Any], strength: float) -> Matrix:
    """(a + strength I)⁻¹ b for a symmetric positive semi-definite (k, k).

    Raises ZSLError when that is singular, which only a strength of (nearly) 0 allows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", LinAlgWarning)
        try:
            return np.asarray(solve(a + strength * np.eye(len(a)), b, assume_a="pos"))
        except (LinAlgError, LinAlgWarning) as error:
            raise ZSLError(f"singular system without enough regularisation ({strength:g}); use a larger one") from error


def ridge(x: NDArray[Any], y: NDArray[Any], strength: float) -> Matrix:
    """(XᵀX + strength I)⁻¹ Xᵀ Y for x (n, d), y (n, k): by the d×d system, or the n×n one where that is smaller.

    Raises ZSLError when strength is 0 and the system is singular.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    n, d = x.shape
    if d <= n:
        return solve_positive(x.T @ x, x.T @ y, strength)
    return np.asarray(x.T @ solve_positive(x @ x.T, y, strength))


def products(x: NDArray[Any], labels: NDArray[np.int64], classes: int) -> tuple[Matrix, Matrix]:
    """XᵀX (d, d) and the sum of each class's rows (classes, d), of x (n, d); of `Rows` once for all fits on them."""
    if isinstance(x, Rows):
        return x.once(("products", labels.tobytes(), classes), lambda: _products(x, labels, classes))
    return _products(x, labels, classes)


def _products(x: NDArray[Any], labels: NDArray[np.int64], classes: int) -> tuple[Matrix, Matrix]:
    gram, sums = np.zeros((x.shape[1], x.shape[1])), np.zeros((classes, x.shape[1]))
    for block, of_block in blocks(x, labels):
        rows = block.astype(np.float64)
        gram += rows.T @ rows
        add_by_class(sums, rows, of_block)
    return gram, sums


def row_span(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Coordinates (n, k) of rows (n, d) in an orthonormal basis (d, k) of their span, k = min(n, d): x = c basisᵀ.

    What is learned from x by products of its rows alone can be learned from the coordinates, which may be fewer.
    """
    n, d = x.shape
    if d <= n:
        return x, np.eye(d, dtype=x.dtype)
    basis, coordinates = qr(x.T, mode="economic")
    return coordinates.T, basis


def one_hot(labels: NDArray[np.int64], classes: int) -> Matrix:
    """(n,) -> (n, classes) of zeros and ones."""
    codes = np.zeros((len(labels), classes))
    codes[np.arange(len(labels)), labels] = 1
    return codes


def simplex_codes(targets: NDArray[Any], atoms: NDArray[Any], strength: float, steps: int = 500) -> Matrix:
    """min over rows z ≥ 0 that sum to 1 of ½‖t − zᵀ atoms‖² + ½ strength ‖z‖², for every target row at once.

    targets (n, a), atoms (k, a) -> (n, k). Accelerated projected gradient descent.
    """
    gram = atoms.astype(np.float64) @ atoms.T + strength * np.eye(len(atoms))
    linear = targets.astype(np.float64) @ atoms.T
    rate = 1 / np.linalg.eigvalsh(gram)[-1]
    z = np.full(linear.shape, 1 / len(atoms))
    ahead, momentum = z, 1.0
    for _ in range(steps):
        previous = z
        z = project_to_simplex(ahead - rate * (ahead @ gram - linear))
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = z + (momentum - 1) / faster * (z - previous)
        momentum = faster
    return z


def project_to_simplex(rows: Matrix) -> Matrix:
    """The nearest point, row by row, with entries ≥ 0 that sum to 1."""
    descending = -np.sort(-rows, axis=1)
    excess = (np.cumsum(descending, axis=1) - 1) / np.arange(1, rows.shape[1] + 1)
    last = (descending > excess).sum(axis=1) - 1
    return np.maximum(rows - excess[np.arange(len(rows)), last][:, None], 0)
