"""RFF-GZSL: learning the redundancy-free features (Han, Fu and Yang, CVPR 2020)."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._generative import Data
from zslcore.methods.f_clswgan import FCLSWGAN, FCLSWGANSettings
from zslcore.nn.cvae import Encoder, reparameterise
from zslcore.nn.losses import kl_to_standard_normal
from zslcore.settings import Classify
from zslcore.training.loop import Player, Terms


class RFFGZSLSettings(FCLSWGANSettings):
    """The mapping and its information bound."""

    mapped: int = Field(1024, ge=1, description="dimensions of the redundancy-free features")
    bound: float = Field(0.1, ge=0, description="b, on the information kept a dimension, in nats; per dimension here")
    centre: float = Field(0.1, ge=0, description="weight of the centre loss; not stated")
    classify: Classify = Classify(kind="softmax")


class Multiplier(nn.Module):
    """β = softplus(value) > 0, of the information bound."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


class RFFGZSL(FCLSWGAN):
    """f-CLSWGAN, judged and classified in a space M(x) that may keep only so much information about x.

    M: x -> N(m, v) minimises a softmax loss and a centre loss under E KL(M(x) ‖ N(0, I)) ≤ b, on real and drawn
    features of seen classes; the multiplier β > 0 of the bound climbs with its excess. G's classification loss is
    taken through M. The published description determines these parts; it does not determine the terms'
    weights, nor whether drawn features of unseen classes also train M (they do not here).
    """

    name = "rff-gzsl"
    title = "RFF-GZSL"
    citation = "Han, Fu and Yang, CVPR 2020"
    summary = "f-CLSWGAN, with classifiers that see features through a mapping of bounded information."
    Settings = RFFGZSLSettings
    settings: RFFGZSLSettings
    quick = {**FCLSWGAN.quick, "mapped": 32}

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """f-CLSWGAN's modules, with a judge on mapped features; M and its class centres."""
        settings = self.settings
        super().build(dimensions, attributes, classes)
        self.judge = nn.Linear(settings.mapped, classes)
        self.mapping = Encoder(dimensions, settings.mapped, settings.mapped)
        self.centres = nn.Embedding(classes, settings.mapped)
        self.multiplier = Multiplier()

    def prepare(self, data: Data, seed: int) -> None:
        """Nothing: the judge learns together with M."""

    def players(self, data: Data) -> list[Player]:
        """M with its judge, centres and multiplier; then D and G."""
        learning = [self.mapping, self.judge, self.centres, self.multiplier]
        mapping = self.player(lambda rows, epoch: self.mapping_terms(*data[rows]), learning, "mapping")
        return [mapping, *super().players(data)]

    def mapping_terms(self, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """What M minimises, and β maximises."""
        settings = self.settings
        with torch.no_grad():
            drawn = self.synthesise(self.noise(x), a)
        mean, log_variance = self.mapping(torch.cat([x, drawn]))
        z, labels = reparameterise(mean, log_variance), torch.cat([y, y])
        cls = functional.cross_entropy(self.judge(z), labels)
        centre = (z - self.centres(labels)).square().mean()
        excess = kl_to_standard_normal(mean, log_variance) / settings.mapped - settings.bound
        weight = functional.softplus(self.multiplier.value)
        bounded = weight.detach() * excess - weight * excess.detach()  # M goes down, the multiplier up
        total = cls + settings.centre * centre + bounded
        return {"total": total, "cls": cls, "centre": centre, "excess": excess}

    def guidance(self, drawn: Tensor, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """The classification loss of drawn features, through M."""
        loss = functional.cross_entropy(self.judge(self.mapping(drawn)[0]), y)
        return {"cls": self.settings.cls_weight * loss}

    def embed(self, x: Tensor) -> Tensor:
        """The mean of M(x)."""
        return self.mapping(x)[0]
