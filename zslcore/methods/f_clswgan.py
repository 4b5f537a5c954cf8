"""f-CLSWGAN: a feature-generating Wasserstein GAN (Xian, Lorenz, Schiele and Akata, CVPR 2018)."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._generative import Data, Generative, GenerativeSettings
from zslcore.methods.base import MethodSettings
from zslcore.models.critic import Critic, critic_terms, normal_weights
from zslcore.models.cvae import Generator
from zslcore.training import Player, Terms, minimise, seeded


class WGANSettings(GenerativeSettings):
    """What methods with a critic add."""

    lr: float = Field(1e-4, gt=0, description="Adam's step")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's")
    critic_steps: int = Field(5, ge=1, description="of the critic for one of the generator")
    penalty: float = Field(10.0, ge=0, description="weight of the gradient penalty")
    initial: float | None = Field(
        None, gt=0, description="spread of the first weights; null: torch's own, which suits every width"
    )


class FCLSWGANSettings(WGANSettings):
    """The classification loss and its pretrained classifier."""

    cls_weight: float = Field(0.01, ge=0, description="β, weight of the classification loss")
    pretrain_epochs: int = Field(50, ge=1, description="of the softmax classifier on real features")
    pretrain_lr: float = Field(1e-3, gt=0, description="Adam's step there")


class FCLSWGAN(Generative):
    """min over G, max over D of W(D; x, x̂) − λ E(‖∇D‖ − 1)² + β E[−log P(y | x̂)], with x̂ = G(z, a).

    D sees the signature too; P is a softmax classifier trained on real features beforehand and then left alone.
    """

    name: ClassVar[str] = "f-clswgan"
    citation: ClassVar[str] = "Xian et al., CVPR 2018"
    Settings: ClassVar[type[MethodSettings]] = FCLSWGANSettings

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """G, D and P."""
        settings: FCLSWGANSettings = self.settings
        self.generator = Generator(self.latent, attributes, settings.hidden, dimensions, settings.output)
        self.critic = Critic(dimensions, attributes, settings.hidden)
        self.judge = nn.Linear(dimensions, classes)
        normal_weights(settings.initial, self.generator, self.critic)

    def prepare(self, data: Data, seed: int) -> None:
        """Train P."""
        settings: FCLSWGANSettings = self.settings
        with seeded(seed, f"{self.name}/pretrain"):
            minimise(
                lambda rows, epoch: {"total": functional.cross_entropy(self.judge(data.x[rows]), data.y[rows])},
                self.judge.parameters(),
                count=len(data.x),
                epochs=settings.pretrain_epochs,
                batch_size=settings.batch_size,
                lr=settings.pretrain_lr,
                label=f"{self.name}: classifier",
            )

    def players(self, data: Data) -> list[Player]:
        """D, several steps for one of G."""
        return [
            self.player(
                lambda rows, epoch: self.critic_terms(*data[rows]), [self.critic], "critic", self.settings.critic_steps
            ),
            self.player(lambda rows, epoch: self.generator_terms(*data[rows]), [self.generator], "generator"),
        ]

    def critic_terms(self, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """What D minimises."""
        return critic_terms(self.critic, x, self.generator(self.noise(x), a), a, self.settings.penalty)

    def generator_terms(self, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """What G minimises."""
        drawn = self.generator(self.noise(x), a)
        adversarial = -self.critic(drawn, a).mean()
        guidance = self.guidance(drawn, x, a, y)
        return {"total": adversarial + sum(guidance.values()), "adversarial": adversarial, **guidance}

    def guidance(self, drawn: Tensor, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """Weighted terms beside the critic's that lead G: here, P must recognise the drawn features' classes."""
        return {"cls": self.settings.cls_weight * functional.cross_entropy(self.judge(drawn), y)}
