"""Linear models with a convex loss over many outputs at once: the seen-class and attribute classifiers of old."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import inv
from scipy.special import expit, logit, softmax

from zslcore.errors import ZSLError
from zslcore.methods._linalg import Array, row_span

Loss = Literal["softmax", "sigmoid", "squared_hinge"]
TINY = 1e-30


def fit_linear(
    x: Array,
    targets: NDArray[Any],
    loss: Loss,
    strength: float,
    steps: int = 100,
    tolerance: float = 1e-3,
) -> tuple[Array, Array]:
    """min over W, b of (1/n) Σᵢ loss(xᵢᵀW + b, targetsᵢ) + ½ strength ‖W‖², in the precision of x.

    x (n, d); targets (n, m): probabilities for softmax and sigmoid, ±1 for squared_hinge. Returns W (d, m), b (m,).
    Conjugate gradients (Polak and Ribière) with a line search, each output at its own pace where the loss ties none
    to another: a step of all of them is two products with x. They share a preconditioner, the inverse of the Hessian
    at W = 0, so that a dozen steps do the work of a thousand. Ends after `steps`, or once every gradient, in the
    preconditioner's norm, has shrunk to `tolerance` of its largest. Raises ZSLError when strength is not positive.
    """
    if strength <= 0:
        raise ZSLError(f"strength {strength:g} leaves the classifier unbounded; use one above 0")
    x, basis = row_span(x)
    n, d = x.shape
    kind, targets = _LOSSES[loss], targets.astype(x.dtype)
    offset = x.mean(axis=0)
    x = np.column_stack([x - offset, np.ones(n, dtype=x.dtype)])  # the last weight is the bias, which costs nothing
    cost = np.append(np.full(d, strength), 0).astype(x.dtype)[:, None]
    weights = np.zeros((d + 1, targets.shape[1]), dtype=x.dtype)
    weights[-1], level = kind.start(targets.mean(axis=0))
    preconditioner = inv(level / n * (x.T @ x).astype(np.float64) + np.diagflat(cost)).astype(x.dtype)
    logits = np.tile(weights[-1], (n, 1))
    slope = kind.slope(logits, targets)

    gradient = direction = largest = np.zeros(1, dtype=x.dtype)
    size = np.full(1, np.inf, dtype=x.dtype)
    for _ in range(steps):
        last_gradient, last_size = gradient, size
        gradient = x.T @ slope / n + cost * weights
        descent = preconditioner @ gradient
        size = kind.total(gradient * descent)
        largest = np.maximum(largest, size)
        done = size <= tolerance**2 * largest
        if done.all():
            break
        momentum = kind.total((gradient - last_gradient) * descent) / np.maximum(last_size, TINY)
        direction = np.maximum(momentum, 0) * direction - descent
        direction = np.where(kind.total(direction * gradient) < 0, direction, -descent)
        change = x @ direction
        linear, quadratic = (kind.total(cost * direction * other) for other in (weights, direction))

        # Where the objective's rate along the direction is nearly 0: Newton's steps, kept between what is known to be
        # short of it and beyond it.
        step, rate = np.zeros_like(size), kind.total(direction * gradient)
        enough, short, beyond = np.abs(rate) / 4, step, np.full_like(size, np.inf)
        for _ in range(10):
            bend = kind.total(kind.bend(logits + step * change, targets, change)) / n + quadratic
            newton = step - rate / np.maximum(bend, TINY)
            between = np.where(np.isfinite(beyond), (short + beyond) / 2, 2 * short)
            step = np.where((newton > short) & (newton < beyond), newton, between)
            slope = kind.slope(logits + step * change, targets)
            rate = kind.total(change * slope) / n + linear + step * quadratic
            if (done | (np.abs(rate) <= enough)).all():
                break
            short, beyond = np.where(rate < 0, step, short), np.where(rate > 0, step, beyond)
        weights += step * direction
        logits += step * change
    return basis @ weights[:-1], weights[-1] - offset @ weights[:-1]


@dataclass(frozen=True)
class _Kind:
    """A loss by its derivatives in the logits: `slope`, and `bend`, the second one along a change; (n, m) terms both.

    start: mean targets (m,) -> logits (m,) that no feature touches, and about how large the second derivative is.
    tied: whether an output's terms depend on the logits of the others.
    """

    slope: Callable[[Array, Array], Array]
    bend: Callable[[Array, Array, Array], Array]
    start: Callable[[Array], tuple[Array, float]]
    tied: bool = False

    def total(self, terms: Array) -> Array:
        """Each output's sum (m,), or that of all (1,) where they are tied."""
        sums = terms.sum(axis=0)
        return sums.sum(keepdims=True) if self.tied else sums


def _softmax_bend(logits: Array, targets: Array, change: Array) -> Array:
    weighed = softmax(logits, axis=1) * change
    return weighed * (change - weighed.sum(axis=1, keepdims=True))


def _sigmoid_bend(logits: Array, targets: Array, change: Array) -> Array:
    chance = expit(logits)
    return chance * (1 - chance) * change**2


_LOSSES: dict[Loss, _Kind] = {
    "softmax": _Kind(
        lambda logits, targets: softmax(logits, axis=1) - targets,
        _softmax_bend,
        lambda mean: (np.log(np.maximum(mean, 1e-4)), float((mean * (1 - mean)).mean())),
        tied=True,
    ),
    "sigmoid": _Kind(
        lambda logits, targets: expit(logits) - targets,
        _sigmoid_bend,
        lambda mean: (logit(np.clip(mean, 1e-4, 1 - 1e-4)), float((mean * (1 - mean)).mean())),
    ),
    "squared_hinge": _Kind(
        lambda logits, targets: -2 * targets * np.maximum(1 - targets * logits, 0),
        lambda logits, targets, change: np.where(targets * logits < 1, 2 * change**2, 0),
        lambda mean: (mean, 1.0),
    ),
}
