"""CE-GZSL: contrastive embedding for generalised zero-shot learning (Han, Fu, Chen and Yang, CVPR 2021)."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._adversarial import Adversarial, WGANSettings
from zslcore.methods._generative import Data
from zslcore.nn.critic import SLOPE
from zslcore.settings import Classify
from zslcore.training.loop import Player, Terms


class CEGZSLSettings(WGANSettings):
    """The embedding and the two contrasts."""

    embedding: int = Field(2048, ge=1, description="outputs of the embedding, where the classifier learns")
    projection: int = Field(512, ge=1, description="outputs of the projection, where instances are contrasted")
    comparator: int = Field(512, ge=1, description="units of the comparator of embeddings and signatures")
    temperature: float = Field(0.1, gt=0, description="of both contrasts")
    instance: float = Field(0.001, ge=0, description="weight of the instance-level contrast in the generator's loss")
    class_level: float = Field(0.001, ge=0, description="weight of the class-level contrast in the generator's loss")
    classify: Classify = Classify(kind="softmax")


class Comparator(nn.Module):
    """F: how well embeddings (n, e) go with each signature (K, a): (n, K), by one hidden layer on h ⊕ a."""

    def __init__(self, embedding: int, attributes: int, hidden: int) -> None:
        super().__init__()
        self.of_image, self.of_class = nn.Linear(embedding, hidden), nn.Linear(attributes, hidden, bias=False)
        self.last = nn.Linear(hidden, 1)

    def forward(self, h: Tensor, signatures: Tensor) -> Tensor:
        """F(h, a) for all pairs; the first layer is applied to both sides apart."""
        pairs = self.of_image(h)[:, None] + self.of_class(signatures)
        return self.last(functional.leaky_relu(pairs, SLOPE, inplace=True)).squeeze(2)  # n · K · hidden numbers


class CEGZSL(Adversarial[CEGZSLSettings]):
    """A WGAN on features, and an embedding h = E(x) in which the classifier learns, both led by two contrasts.

    Instance level: supervised contrast of projections H(h) with temperature τ. Class level: softmax over the seen
    classes of F(h, a_k)/τ. E, H and F learn from real features in turn with the critic; G from both contrasts on x̂.
    """

    name = "ce-gzsl"
    title = "CE-GZSL"
    citation = "Han et al., CVPR 2021"
    summary = "A WGAN and an embedding, both led by instance- and class-level contrast."
    Settings = CEGZSLSettings
    coupled = ("embedding", "generator")
    quick = {**Adversarial.quick, "embedding": 32, "projection": 16, "comparator": 16, "class_level": 0.1}

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """G, D, E, H and F."""
        settings = self.settings
        super().build(dimensions, attributes, classes)
        self.embedding = nn.Sequential(nn.Linear(dimensions, settings.embedding), nn.ReLU())
        self.projection = nn.Linear(settings.embedding, settings.projection)
        self.comparator = Comparator(settings.embedding, attributes, settings.comparator)

    def players(self, data: Data) -> list[Player]:
        """D; E, H and F; G; the running mean."""
        embedding = [self.embedding, self.projection, self.comparator]
        return [
            self.critic_player(data),
            self.player(lambda rows, epoch: self.embedding_terms(*data[rows], data.a), embedding, "embedding"),
            self.player(lambda rows, epoch: self.generator_terms(*data[rows], data.a), [self.generator], "generator"),
            self.averaging_player(),
        ]

    def embedding_terms(self, x: Tensor, a: Tensor, y: Tensor, signatures: Tensor) -> Terms:
        """What E, H and F minimise, on real features."""
        h = self.embedding(x)
        tau = self.settings.temperature
        instance = contrast(self.projection(h), y, tau)
        among = functional.cross_entropy(self.comparator(h, signatures) / tau, y)
        return {"total": instance + among, "instance": instance, "class": among}

    def generator_terms(self, x: Tensor, a: Tensor, y: Tensor, signatures: Tensor) -> Terms:
        """What G minimises: drawn features are contrasted with each other and with real ones."""
        settings = self.settings
        drawn = self.synthesise(self.noise(x), a)
        h = self.embedding(drawn)
        codes = torch.cat([self.projection(h), self.projection(self.embedding(x)).detach()])
        instance = contrast(codes, torch.cat([y, y]), settings.temperature)
        among = functional.cross_entropy(self.comparator(h, signatures) / settings.temperature, y)
        adversarial = -self.critic(drawn, a).mean()
        total = adversarial + settings.instance * instance + settings.class_level * among
        return {"total": total, "adversarial": adversarial, "instance": instance, "class": among}

    def embed(self, x: Tensor) -> Tensor:
        """h = E(x)."""
        return self.embedding(x)


def contrast(codes: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Supervised contrast of codes (n, k), compared by cosine: −log of the positives' share of the softmax.

    For each anchor with positives (others of its class in y (n,)), the mean over them; then the mean over anchors.
    """
    unit = functional.normalize(codes)
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    positive = (y[:, None] == y) & ~itself
    log_share = (logits - logits.logsumexp(1, keepdim=True)).masked_fill(~positive, 0)
    counts = positive.sum(1)
    return -(log_share.sum(1) / counts.clamp_min(1)).sum() / (counts > 0).sum().clamp_min(1)
