"""f-CLSWGAN: a feature-generating Wasserstein GAN (Xian, Lorenz, Schiele and Akata, CVPR 2018)."""

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._adversarial import Adversarial, WGANSettings
from zslcore.methods._generative import Data
from zslcore.training.loop import Player, Terms, minimise
from zslcore.training.seeding import seeded


class FCLSWGANSettings(WGANSettings):
    """The classification loss and its pretrained classifier."""

    cls_weight: float = Field(1.0, ge=0, description="β, weight of the classification loss; 0.01 in the paper")
    pretrain_epochs: int = Field(10, ge=1, description="of the softmax classifier on real features")
    pretrain_lr: float = Field(1e-3, gt=0, description="Adam's step there")


class FCLSWGAN(Adversarial[FCLSWGANSettings]):
    """min over G, max over D of W(D; x, x̂) − λ E(‖∇D‖ − 1)² + β E[−log P(y | x̂)], with x̂ = G(z, a).

    D sees the signature too; P is a softmax classifier trained on real features beforehand and then left alone.
    """

    name = "f-clswgan"
    title = "f-CLSWGAN"
    citation = "Xian et al., CVPR 2018"
    summary = "A Wasserstein GAN with gradient penalty, led by a classifier of real images."
    Settings = FCLSWGANSettings
    quick = {**Adversarial.quick, "cls_weight": 0.1, "pretrain_epochs": 5}
    search_space = {
        **Adversarial.search_space,
        "cls_weight": (0.01, 0.1, 1.0),
    }

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """G, D and P."""
        super().build(dimensions, attributes, classes)
        self.judge = nn.Linear(dimensions, classes)

    def prepare(self, data: Data, seed: int) -> None:
        """Train P."""
        settings = self.settings
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
        """D, several steps for one of G; then the running mean."""
        generator = self.player(lambda rows, epoch: self.generator_terms(*data[rows]), [self.generator], "generator")
        return [self.critic_player(data), generator, self.averaging_player()]

    def generator_terms(self, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """What G minimises."""
        drawn = self.synthesise(self.noise(x), a)
        adversarial = -self.critic(drawn, a).mean()
        guidance = self.guidance(drawn, x, a, y)
        return {"total": adversarial + sum(guidance.values()), "adversarial": adversarial, **guidance}

    def guidance(self, drawn: Tensor, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """Further weighted terms of G's loss: P must recognise the drawn features' classes."""
        return {"cls": self.settings.cls_weight * functional.cross_entropy(self.judge(drawn), y)}
