"""Losses of the main method; equation numbers are those of Xu, Shu and Samaras, 2020."""

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function_unary

CANCELLED = 1e-4
"""Squared distances below this share of the squared lengths have lost their digits in the expanded square."""


def dot_similarity(h: Tensor, w: Tensor) -> Tensor:
    """s(h, w) = wᵀh of eq. 6. h: (n, d), w: (classes, d) -> (n, classes)."""
    return h @ w.T


def gaussian_similarity(h: Tensor, w: Tensor, gamma: Tensor | float) -> Tensor:
    """s(h, w) = −γ‖h − w‖², eq. 7. h: (n, d), w: (classes, d) -> (n, classes).

    By ‖h‖² − 2wᵀh + ‖w‖², one matrix product; by differences where long features lie so close that this cancels.
    """
    lengths = h.square().sum(1, keepdim=True) + w.square().sum(1)
    squares = h.square().sum(1, keepdim=True) - 2 * h @ w.T + w.square().sum(1)
    if (squares < CANCELLED * lengths).any():
        squares = torch.cdist(h, w, compute_mode="donot_use_mm_for_euclid_dist").square()
    return -gamma * squares.clamp_min(0)


def similarity_loss(similarities: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of −s(h, w_y) + log Σₖ exp s(h, wₖ): eq. 6 with dot products, eq. 8 with Gaussian ones.

    The inner exponent of eq. 8 is printed with w_y where the sum over k needs wₖ.
    """
    return functional.cross_entropy(similarities, labels)


def reconstruction(target: Tensor, output: Tensor, reduce: str = "mean") -> Tensor:
    """Squared error of eq. 1 and 11: mean over the batch; mean or sum over the dimensions."""
    squares = (target - output).square()
    return squares.mean() if reduce == "mean" else squares.sum(1).mean()


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag exp log_variance) ‖ N(0, I)) of eq. 1: summed over z's dimensions, mean over the batch."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()


def perturb(x: Tensor, strength: float) -> Tensor:
    """x̃ = x + strength · ε with ε ~ N(0, 1), eq. 10."""
    return x + strength * torch.randn_like(x) if strength else x


def batch_mean(x: Tensor) -> Tensor:
    """Mean over a batch's rows, (n, d) -> (d,): over all of them where replicas share it, then without a gradient."""
    return handle_torch_function(batch_mean, (x,), x) if has_torch_function_unary(x) else x.mean(0)


def class_means(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """Mean of x (n, d) over each label of y (n,): (classes, d), 0 for a class without rows."""
    sums = x.new_zeros(classes, x.shape[1]).index_add(0, y, x)
    counts = x.new_zeros(classes).index_add(0, y, torch.ones_like(y, dtype=x.dtype))
    return sums / counts.clamp_min(1)[:, None]


def ramp(epoch: float | Tensor, start: float, end: float) -> Tensor:
    """A warm-up, as 0-d: 0 up to epoch `start`, 1 from epoch `end` on, linear between."""
    epoch = torch.as_tensor(epoch)
    return (epoch >= end).float() if end <= start else ((epoch - start) / (end - start)).clamp(0, 1)
