"""Image-to-attribute metric (Bucher, Herbin and Jurie, 2016): the embedding of eq. 2 and the metric of eq. 1."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class AttributeMetric(nn.Module):
    """Â(x) = max(0, xᵀ W_X + b_X), eq. 2; S(x, y) = ‖(Â(x) − y)ᵀ W_A‖₂, eq. 1; and the threshold τ of eq. 3.

    W_X: (d, a); b_X: (a,); W_A: (a, m). Both matrices start normal, as in the paper; the rest of the start is not
    stated: standard deviations scale_x/√d and scale_a/√m, τ, and b_X at `mean`, that of the attribute vectors (a,), so
    that no unit of the ReLU starts dead. With `bf16`, x W_X, by far the largest product, is taken in bfloat16; S, a
    difference of near numbers, never is.
    """

    def __init__(
        self,
        features: int,
        mean: NDArray[np.float32],
        dimensions: int,
        scale_x: float,
        scale_a: float,
        tau: float,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.bf16 = bf16
        attributes = len(mean)
        self.w_x = nn.Parameter(torch.randn(features, attributes) * (scale_x / features**0.5))
        self.b_x = nn.Parameter(torch.from_numpy(mean.copy()))
        self.w_a = nn.Parameter(torch.randn(attributes, dimensions) * (scale_a / dimensions**0.5))
        self.tau = nn.Parameter(torch.tensor(tau))

    def attributes(self, x: Tensor) -> Tensor:
        """Â(x) of eq. 2: (n, d) -> (n, a), all ≥ 0."""
        if self.bf16:
            return torch.relu((x.bfloat16() @ self.w_x.bfloat16()).to(self.b_x.dtype) + self.b_x)
        return torch.relu(torch.addmm(self.b_x, x, self.w_x))

    def squared_to_one(self, predicted: Tensor, vectors: Tensor) -> Tensor:
        """S² of eq. 1 of each image with the vector in the same row: (n, a), (n, a) -> (n,)."""
        return ((predicted - vectors) @ self.w_a).square().sum(1)

    def squared_to_each(self, predicted: Tensor, vectors: Tensor) -> Tensor:
        """S² of eq. 1 of every pair: (n, a), (c, a) -> (n, c), by matrix products alone."""
        p, v = predicted @ self.w_a, vectors @ self.w_a
        squares = torch.addmm(p.square().sum(1, keepdim=True) + v.square().sum(1), p, v.T, alpha=-2)
        return squares.clamp_min(0)
