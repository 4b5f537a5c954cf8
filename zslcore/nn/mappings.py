"""The two mappings: F (fine-tuning, eq. 9) and M (projection, eq. 2)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from zslcore.nn.losses import dot_similarity, gaussian_similarity


class FineTuning(nn.Module):
    """F: (n, d) -> (n, d), a linear layer that starts as the identity. Its shape is not stated in the paper."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dimensions, dimensions)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """F(x)."""
        return self.linear(x)


class SimilarityClassifier(nn.Module):
    """W′ of eq. 9: (n, d) -> (n, classes) similarities, Gaussian (eq. 7) or dot products (eq. 6).

    γ is kept positive by a softplus and divided by d: squared distances grow with the dimension and would saturate
    the softmax at the γ usual for low-dimensional codes.
    """

    def __init__(self, prototypes: Tensor, gaussian: bool, gamma: float, learn_gamma: bool) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(prototypes.clone())
        self.gaussian = gaussian
        inverse = gamma + math.log(-math.expm1(-gamma))  # of softplus; log(exp γ − 1) would overflow at γ = 89
        self.raw_gamma = nn.Parameter(torch.tensor(inverse), requires_grad=learn_gamma and gaussian)

    @property
    def gamma(self) -> Tensor:
        """γ of eq. 7."""
        return functional.softplus(self.raw_gamma) / self.prototypes.shape[1]

    def forward(self, h: Tensor) -> Tensor:
        """Similarities to every class."""
        if self.gaussian:
            return gaussian_similarity(h, self.prototypes, self.gamma)
        return dot_similarity(h, self.prototypes)


class Projection(nn.Module):
    """M: (n, d) -> (n, m) in (0, 1), one fully connected layer and a sigmoid."""

    def __init__(self, dimensions: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dimensions, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x′ = M(x)."""
        return torch.sigmoid(self.linear(x))
