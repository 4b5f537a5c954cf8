"""What the ranking methods share: a bilinear map trained in batches; each adds its loss over a batch's scores."""

from abc import abstractmethod
from typing import Generic, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from zslcore.methods._scaled import LinearMethod
from zslcore.methods._trained import TrainedSettings, train_batches
from zslcore.methods.base import Observe, TrainData
from zslcore.training.seeding import seeded


class RankingSettings(TrainedSettings):
    """Of the loss. The papers step an image at a time by SGD."""

    margin: float = Field(1.0, gt=0, description="by which the true class must win")


RankingS = TypeVar("RankingS", bound=RankingSettings)


class RankingMethod(LinearMethod[RankingS], Generic[RankingS]):
    """W of xᵀ W s minimising `loss` of the seen classes' scores, from small random numbers."""

    quick = {"lr": 0.01, "epochs": 20, "batch_size": 32}

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch: scores (n, K) of the seen classes, labels (n,) int64 -> scalar."""

    def compatibility(self, x: Tensor, weights: Tensor, signatures: Tensor) -> Tensor:
        """Scores (n, K) of features (n, d) and signatures (K, a)."""
        return torch.linalg.multi_dot([x, weights, signatures.T])

    def start(self, d: int, a: int) -> Tensor:
        """The map before training, drawn from torch's current seed."""
        return torch.randn(d, a) / (d * a) ** 0.5

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Minimise the mean loss over shuffled batches."""
        x, labels, signatures = map(torch.from_numpy, (train.features, train.labels, train.signatures))

        def loss(rows: Tensor) -> Tensor:
            return self.loss(self.compatibility(x[rows], weights, signatures), labels[rows])

        with seeded(seed, self.name):
            weights = self.start(x.shape[1], signatures.shape[1]).requires_grad_()
            train_batches(self, loss, {"weights": weights}, len(x), observe)


def violations(scores: Tensor, labels: Tensor, margin: float) -> Tensor:
    """(n, K): [margin + F(x, y) − F(x, y_n)]₊ for every wrong class y, 0 for the right one."""
    short = (margin + scores - scores.gather(1, labels[:, None])).clamp(min=0)
    return short.scatter(1, labels[:, None], 0.0)
