"""CVAE-ZSL: a conditional variational auto-encoder (Mishra, Reddy, Mittal and Murthy, CVPR Workshops 2018)."""

import torch
from pydantic import Field
from torch import Tensor

from zslcore.methods._generative import Data, Generative, GenerativeSettings
from zslcore.nn.cvae import Encoder, Generator, reparameterise
from zslcore.nn.losses import kl_to_standard_normal, ramp, reconstruction
from zslcore.training.loop import Player, Terms


class CVAESettings(GenerativeSettings):
    """What methods built on the CVAE add."""

    kl_weight: float = Field(1.0, ge=0, description="of the KL term; the squared error is a sum over dimensions")
    kl_warmup: int = Field(0, ge=0, description="epochs over which the KL weight rises from 0")
    dropout: float = Field(0.0, ge=0, lt=1, description="in the encoder's hidden layer")


class CVAEZSL(Generative[CVAESettings]):
    """min over E, G of ‖x − G(z, a)‖² + KL(E(x, a) ‖ N(0, I)), with z ~ E(x, a); a classifier on what G draws.

    The paper's last classifier is a linear SVM; here it is the softmax its followers use.
    """

    name = "cvae-zsl"
    title = "CVAE-ZSL"
    citation = "Mishra et al., CVPR Workshops 2018"
    summary = "A conditional VAE; a classifier learns from what it draws."
    Settings = CVAESettings
    search_space = {
        "signature_scaling": ("sphere", "centred_sphere"),
        "kl_weight": (0.3, 0.6, 1.0, 3.0),
        "lr": (5e-4, 1e-3),
        "generate": ({}, {"noise": 0.4}),
    }

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """E on x ⊕ a, and G."""
        settings = self.settings
        self.encoder = Encoder(dimensions + attributes, settings.hidden, self.latent, settings.dropout)
        self.generator = Generator(self.latent, attributes, settings.hidden, dimensions, settings.output)

    def players(self, data: Data) -> list[Player]:
        """E and G together."""
        return [
            self.player(lambda rows, epoch: self.terms(*data[rows], epoch), [self.encoder, self.generator]),
        ]

    def terms(self, x: Tensor, a: Tensor, y: Tensor, epoch: int) -> Terms:
        """What E and G minimise."""
        return self.evidence(x, a, epoch)[0]

    def evidence(self, x: Tensor, a: Tensor, epoch: int) -> tuple[Terms, Tensor]:
        """Squared error + weighted KL term of x (n, d) with signatures a (n, attributes); and G's output (n, d).

        The squared error lacks the ½ of a Gaussian's log-density: at a KL weight of 1 this is twice the negative
        evidence lower bound of a β-VAE with β = ½.
        """
        mean, log_variance = self.encode(x, a)
        output = self.generator(reparameterise(mean, log_variance), a)
        rebuilt = reconstruction(x, output, "sum")
        kl = kl_to_standard_normal(mean, log_variance)
        total = rebuilt + self.settings.kl_weight * ramp(epoch + 1, 0, self.settings.kl_warmup) * kl
        return {"total": total, "reconstruction": rebuilt, "kl": kl}, output

    def encode(self, x: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of z, each (n, latent), for x (n, d) and signatures a (n, attributes)."""
        mean, log_variance = self.encoder(torch.cat([x, a], dim=1))
        return mean, log_variance
