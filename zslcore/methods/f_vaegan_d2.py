"""f-VAEGAN-D2: a VAE and a WGAN that share their generator (Xian, Sharma, Schiele and Akata, CVPR 2019)."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from zslcore.methods._adversarial import Adversarial, WGANSettings
from zslcore.methods._generative import Data
from zslcore.nn.cvae import Encoder, reparameterise
from zslcore.nn.losses import kl_to_standard_normal, reconstruction
from zslcore.training.loop import Player, Terms


class FVAEGANSettings(WGANSettings):
    """Weights of the VAE's and of the critic's terms."""

    adversarial: float = Field(10.0, ge=0, description="weight of the critic's opinion in the generator's loss")
    kl_weight: float = Field(1.0, ge=0, description="of the KL term; the reconstruction is a sum, of squares without ½")
    reconstruction: Literal["bernoulli", "squared"] = Field(
        "squared", description="bernoulli, as in the authors' code, needs features and outputs in [0, 1]"
    )


def bernoulli(target: Tensor, output: Tensor) -> Tensor:
    """−Σ x log x̂ + (1 − x) log(1 − x̂), for both in [0, 1]: summed over dimensions, mean over the batch."""
    return functional.binary_cross_entropy(output, target.clamp(0, 1), reduction="none").sum(1).mean()


RECONSTRUCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bernoulli": bernoulli,
    "squared": lambda target, output: reconstruction(target, output, "sum"),
}


class FVAEGAN(Adversarial[FVAEGANSettings]):
    """min over E, G, max over D of −log p(x | z, a) + KL(E(x, a) ‖ N(0, I)) + γ WGAN-GP(D; x, G(z′, a)), z′ ~ N(0, I).

    The inductive form: the second, unconditional critic of the paper needs unlabelled images of unseen classes.
    """

    name = "f-vaegan-d2"
    title = "f-VAEGAN-D2"
    citation = "Xian et al., CVPR 2019"
    summary = "A VAE and a WGAN that share the generator (the inductive form)."
    Settings = FVAEGANSettings
    search_space = {
        **Adversarial.search_space,
        "adversarial": (0.1, 1.0, 10.0),
        "kl_weight": (0.3, 1.0),
    }

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """E, G and D."""
        super().build(dimensions, attributes, classes)
        self.encoder = Encoder(dimensions + attributes, self.settings.hidden, self.latent)

    def players(self, data: Data) -> list[Player]:
        """D, several steps for one of E and G together; then the running mean."""
        both = [self.encoder, self.generator]
        generator = self.player(lambda rows, epoch: self.generator_terms(*data[rows]), both, "generator")
        return [self.critic_player(data), generator, self.averaging_player()]

    def generator_terms(self, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """What E and G minimise."""
        settings = self.settings
        mean, log_variance = self.encoder(torch.cat([x, a], dim=1))
        output = self.synthesise(reparameterise(mean, log_variance), a)
        drawn = self.synthesise(self.noise(x), a)
        terms = {
            "reconstruction": RECONSTRUCTIONS[settings.reconstruction](x, output),
            "kl": settings.kl_weight * kl_to_standard_normal(mean, log_variance),
            "adversarial": -settings.adversarial * self.critic(drawn, a).mean(),
            **self.guidance(drawn, output, x, a, y),
        }
        return {"total": torch.stack(list(terms.values())).sum(), **terms}

    def guidance(self, drawn: Tensor, output: Tensor, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """Further weighted terms of G's loss: none here."""
        return {}
