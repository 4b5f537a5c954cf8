"""What the methods with a critic share: the critic's steps, and a running mean of G that draws."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._generative import Data, Generative, GenerativeSettings
from zslcore.nn.critic import Critic, critic_terms, normal_weights
from zslcore.nn.cvae import Generator
from zslcore.training.loop import Player, Terms


class WGANSettings(GenerativeSettings):
    """What methods with a critic add."""

    batch_size: int = Field(64, ge=1, description="images")
    lr: float = Field(5e-4, gt=0, description="Adam's step")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's")
    beta2: float = Field(0.9, ge=0, lt=1, description="Adam's")
    critic_lr: float | None = Field(2e-3, gt=0, description="the critic's Adam's step; null: as lr")
    critic_steps: int = Field(1, ge=1, description="of the critic for one of the generator; 5 in the papers")
    penalty: float = Field(1.0, ge=0, description="λ, weight of the gradient penalty; 10 in the papers")
    initial: float | None = Field(
        None, gt=0, description="spread of the first weights; null: torch's own, which suits every width"
    )
    average: float = Field(
        0.99, ge=0, lt=1, description="decay of the running mean of G that draws; 0: G itself, as in the papers"
    )


WGANS = TypeVar("WGANS", bound=WGANSettings)


class Adversarial(Generative[WGANS], Generic[WGANS]):
    """A generator G and a critic D that take turns (WGAN-GP).

    G circles around its equilibrium rather than settling in it; the running mean of its weights stands in the middle.
    """

    quick = {**Generative.quick, "hidden": 256, "epochs": 60, "lr": 1.5e-3, "critic_lr": 4e-3, "average": 0.95}
    search_space = {
        "signature_scaling": ("sphere", "centred_sphere"),
        "lr": (2e-4, 5e-4),
        "critic_lr": (None, 2e-3),
        "penalty": (1.0, 10.0),
        "critic_steps": (1, 2, 5),
    }

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """G, D, and the running mean of G."""
        settings = self.settings
        self.generator = Generator(self.latent, attributes, settings.hidden, dimensions, settings.output)
        self.critic = Critic(dimensions, attributes, settings.hidden)
        normal_weights(settings.initial, self.generator, self.critic)
        self.averaged = deepcopy(self.generator)

    def synthesise(self, z: Tensor, a: Tensor) -> Tensor:
        """G(z, a) in training, its running mean's output once fitted: (n, latent), (n, attributes) -> (n, d)."""
        return (self.generator if self.generator.training else self.averaged)(z, a)

    def draw(self, z: Tensor, signatures: Tensor) -> Tensor:
        """What the classifier sees of drawn features."""
        return self.embed(self.synthesise(z, signatures))

    def critic_player(self, data: Data) -> Player:
        """D."""
        return self.player(
            lambda rows, epoch: self.critic_terms(*data[rows]),
            [self.critic],
            "critic",
            self.settings.critic_steps,
            lr=self.settings.critic_lr,
        )

    def averages(self) -> list[tuple[nn.Module, nn.Module]]:
        """(running mean, module) of everything that draws."""
        return [(self.averaged, self.generator)]

    def averaging_player(self) -> Player:
        """The running means: SGD with step 1 − decay on ½‖mean − G‖² is the exponential average."""

        def terms(rows: Tensor, epoch: int) -> Terms:
            squares = [
                functional.mse_loss(mean, weight.detach(), reduction="sum")
                for averaged, module in self.averages()
                for mean, weight in zip(averaged.parameters(), module.parameters(), strict=True)
            ]
            return {"total": torch.stack(squares).sum() / 2}

        means = [mean for averaged, _ in self.averages() for mean in averaged.parameters()]
        return Player(terms, means, lr=1 - self.settings.average, optimiser="sgd", name="average")

    def critic_terms(self, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """What D minimises on real features x (n, d) with signatures a (n, attributes)."""
        with torch.no_grad():
            drawn = self.synthesise(self.noise(x), a)
        return critic_terms(self.critic, x, drawn, a, self.settings.penalty)
