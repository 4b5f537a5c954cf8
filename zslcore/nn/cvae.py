"""The conditional VAE: encoder E and generator G, one hidden layer each (eq. 1)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

OUTPUTS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "linear": nn.Identity}


class Encoder(nn.Module):
    """E: x (n, m), optionally with its signature (n, a), -> mean and log-variance of z, each (n, latent).

    The heads are linear: a ReLU on them, as the paper prints it, would force the mean to be ≥ 0 and the variance ≥ 1.
    """

    def __init__(self, inputs: int, hidden: int, latent: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(0.2), nn.Dropout(dropout))
        self.heads = nn.Linear(hidden, 2 * latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log-variance)."""
        mean, log_variance = self.heads(self.hidden(x)).chunk(2, dim=1)
        return mean, log_variance


class Generator(nn.Module):
    """G: z (n, latent) and signature (n, a) -> synthetic feature (n, m)."""

    def __init__(self, latent: int, attributes: int, hidden: int, outputs: int, output: str) -> None:
        super().__init__()
        self.latent, self.attributes, self.outputs = latent, attributes, outputs
        self.net = nn.Sequential(
            nn.Linear(latent + attributes, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, outputs), OUTPUTS[output]()
        )

    def forward(self, z: Tensor, signatures: Tensor, feedback: Tensor | None = None) -> Tensor:
        """x̂′ = G(z, a); feedback (n, hidden), where a method gives it, is added to the hidden layer."""
        hidden = self.net[:2](torch.cat([z, signatures], dim=1))
        return self.net[2:](hidden if feedback is None else hidden + feedback)


def reparameterise(mean: Tensor, log_variance: Tensor) -> Tensor:
    """z = mean + exp(log_variance / 2) · ε: a draw from the encoder's posterior that gradients pass through."""
    return mean + (log_variance / 2).exp() * torch.randn_like(mean)
