"""Losses of the metric-learning method; equation numbers are those of Bucher, Herbin and Jurie, 2016."""

from collections.abc import Callable

from torch import Tensor

Hinge = Callable[[Tensor, Tensor, int], Tensor]


def hinge_printed(squared: Tensor, tau: Tensor, z: int) -> Tensor:
    """l_H of eq. 3 as it is printed: max(0, 1 − z (τ − S)²), elementwise.

    squared: S², any shape; z: +1 for pairs that belong together, −1 for others. It draws negatives towards S = τ
    rather than beyond it, and would let positives flee to S > τ + 1 but for l_A.
    """
    distance = (squared + 1e-12).sqrt()  # the root has no slope at 0
    return (1 - z * (tau - distance).square()).clamp_min(0)


def hinge_parent(squared: Tensor, tau: Tensor, z: int) -> Tensor:
    """l_H of the parent method (Bucher et al., ECCV 2016): max(0, 1 − z (τ − S²)), elementwise."""
    return (1 - z * (tau - squared)).clamp_min(0)


HINGES: dict[str, Hinge] = {"parent": hinge_parent, "printed": hinge_printed}


def attribute_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """l_A of eq. 4 for positive pairs (it is 0 for others): ‖y − Â(x)‖², (n, a), (n, a) -> (n,)."""
    return (true - predicted).square().sum(1)


def regulariser(*parameters: Tensor) -> Tensor:
    """R of eq. 5: ‖W_X‖² + ‖b_X‖² + ‖W_A‖²."""
    return sum((parameter.square().sum() for parameter in parameters[1:]), parameters[0].square().sum())


def objective(
    positive: Tensor,
    attribute: Tensor,
    negative: Tensor,
    counts: Tensor,
    penalty: Tensor,
    *,
    lambda_attributes: float,
    mu: float,
    positive_weight: float,
    negative_weight: float,
) -> Tensor:
    """Eq. 11, with weights 1/|D₊| and 1/|D₋|; eq. 6 with both weights 1.

    positive, attribute: (n,) l_H and l_A of the positive pairs; negative: (n, c) l_H of each image with each
    candidate; counts: (n, c), how many times D₋ holds that pair. A draw with replacement repeats pairs, so the sum
    over D₋ is this weighted sum.
    """
    pairs = (positive + lambda_attributes * attribute).sum()
    return positive_weight * pairs + negative_weight * (counts * negative).sum() + mu * penalty
