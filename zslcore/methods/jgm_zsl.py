"""JGM-ZSL: a joint generative model for zero-shot learning (Gao, Hou, Qin, Liu, Zhu and Zhang, ECCV Workshops 2018)."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._generative import Data
from zslcore.methods.f_vaegan_d2 import FVAEGAN, FVAEGANSettings
from zslcore.training.loop import Player, Terms


class JGMZSLSettings(FVAEGANSettings):
    """The perceptual and classification terms; none of the weights is determined by the published description."""

    perceptual: float = Field(1.0, ge=0, description="weight of the error in the critic's hidden layer; not stated")
    cls_weight: float = Field(1.0, ge=0, description="weight of the categoriser's loss on what G makes; not stated")
    adversarial: float = Field(1.0, ge=0, description="weight of the critic's opinion; not stated")


class JGMZSL(FVAEGAN):
    """VAE and conditional GAN joined in one generator + μ‖D_h(x) − D_h(x̂)‖² + β E[−log C(y | x̂)].

    The published description determines the joint generator, the perceptual reconstruction (D_h: the critic's hidden
    layer) and a categoriser C that leads it. It does not determine the kind of adversarial loss (a Wasserstein critic
    with gradient penalty stands here), the widths, or any weight.
    """

    name = "jgm-zsl"
    title = "JGM-ZSL"
    citation = "Gao et al., ECCV Workshops 2018"
    summary = "A VAE and a WGAN that share the generator, led by the critic's hidden layer and by a classifier."
    Settings = JGMZSLSettings
    settings: JGMZSLSettings

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """E, G, D and C."""
        super().build(dimensions, attributes, classes)
        self.categoriser = nn.Linear(dimensions, classes)

    def players(self, data: Data) -> list[Player]:
        """C on real features; then as f-VAEGAN."""
        categoriser = self.player(
            lambda rows, epoch: {"total": functional.cross_entropy(self.categoriser(data.x[rows]), data.y[rows])},
            [self.categoriser],
            "categoriser",
        )
        return [categoriser, *super().players(data)]

    def guidance(self, drawn: Tensor, output: Tensor, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """Rebuilt features must look like the real ones to D; drawn and rebuilt ones must be recognised by C."""
        seen = (self.critic.hidden(x, a).detach() - self.critic.hidden(output, a)).square().sum(1).mean()
        recognised = functional.cross_entropy(self.categoriser(torch.cat([drawn, output])), torch.cat([y, y]))
        return {"perceptual": self.settings.perceptual * seen, "cls": self.settings.cls_weight * recognised}
