"""LisGAN: leveraging the invariant side of generative zero-shot learning (Li et al., CVPR 2019)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.cluster import KMeans
from torch import Tensor

from zslcore.methods._generative import Data, GenerativeScorer
from zslcore.methods.base import Scorer
from zslcore.methods.f_clswgan import FCLSWGAN, FCLSWGANSettings
from zslcore.nn.losses import class_means
from zslcore.synthesis.classifier import FeaturesAndLabels, fit_classifier
from zslcore.training.loop import Player, Terms


class LisGANSettings(FCLSWGANSettings):
    """Soul samples and the cascade."""

    souls: int = Field(3, ge=1, description="soul samples a class")
    soul_weight: float = Field(0.01, ge=0, description="of each drawn feature's distance to its nearest soul")
    mean_weight: float = Field(0.01, ge=0, description="of drawn classes' distance to their souls")
    cascade: float = Field(
        0.0,
        ge=0,
        le=1,
        description="fraction of images, most certain first, that a second classifier learns from; 0: none",
    )


class LisGAN(FCLSWGAN):
    """f-CLSWGAN + λ₁ E minₖ ‖x̂ − s_yₖ‖² + λ₂ mean over classes of minₖ ‖mean x̂ of the class − s_yₖ‖².

    The souls s_yₖ are the centres of k clusters of each class's images. Distances are means over dimensions.

    The paper's second classifier learns from the most certain test images as well (lowest entropy first): it is
    transductive, its scores depend on which images are scored together. `cascade` turns it on; it is off by default
    and in every comparison of inductive methods.
    """

    name = "lisgan"
    title = "LisGAN"
    citation = "Li et al., CVPR 2019"
    summary = "f-CLSWGAN, and soul samples of each class. Its second classifier, which learns from test images, is off."
    Settings = LisGANSettings
    coupled = ("generator",)
    settings: LisGANSettings

    def players(self, data: Data) -> list[Player]:
        """As f-CLSWGAN's, once the souls are known."""
        self.souls = soul_samples(data.x, data.y, self.settings.souls)
        return super().players(data)

    def guidance(self, drawn: Tensor, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """The classification loss and the two soul terms."""
        near = to_nearest_soul(drawn, self.souls[y]).mean()
        classes = len(self.souls)
        present = (y[:, None] == torch.arange(classes, device=y.device)).any(0)
        apart = to_nearest_soul(class_means(drawn, y, classes), self.souls)
        together = (apart * present).sum() / present.sum()
        souls = {"soul": self.settings.soul_weight * near, "mean": self.settings.mean_weight * together}
        return {**super().guidance(drawn, x, a, y), **souls}

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """As every generative method's; with `cascade`, a second classifier for each set of images scored."""
        first = super().for_classes(signatures, seen_mask, seed)
        if not self.settings.cascade:
            return first
        assert isinstance(first, GenerativeScorer)
        return Cascade(first, self.training_set(signatures, seen_mask, seed), self.settings.cascade, seed)


@dataclass(frozen=True)
class Cascade:
    """Scores with a classifier that also learns from the images the first one is most certain of."""

    first: GenerativeScorer
    training_set: FeaturesAndLabels
    fraction: float
    seed: int

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) unscaled features -> (n, classes); depends on all of them."""
        method = self.first.method
        images = method.embed_rows(method.scaler(features))
        scores = self.first.classifier.scores(images)
        x, y = with_certain(self.training_set, images, scores, self.fraction)
        classify = method.settings.classify
        second = fit_classifier(
            x, y, scores.shape[1], classify, seed=self.seed, device=method.device, purpose="cascade"
        )
        return second.scores(images)


def with_certain(
    training_set: FeaturesAndLabels, images: NDArray[np.float32], scores: NDArray[np.float32], fraction: float
) -> FeaturesAndLabels:
    """A training set plus a fraction of images (n, m): those whose log-probabilities (n, classes) are most certain."""
    entropy = -(np.exp(scores) * np.where(np.isfinite(scores), scores, 0)).sum(axis=1)
    certain = np.argsort(entropy, kind="stable")[: round(fraction * len(images))]
    predicted = scores[certain].argmax(axis=1)
    x, y = training_set
    return np.concatenate([x, images[certain]]), np.concatenate([y, predicted])


def soul_samples(x: Tensor, y: Tensor, count: int) -> Tensor:
    """Centres of `count` clusters of each class's features: (n, d), (n,) -> (classes, count, d).

    A class with fewer images than that repeats them.
    """
    souls: list[NDArray[Any]] = []
    for k in range(int(y.max()) + 1):
        rows = x[y == k].cpu().numpy()
        centres = KMeans(min(count, len(rows)), n_init=3, random_state=0).fit(rows).cluster_centers_
        souls.append(centres[np.arange(count) % len(centres)])
    return torch.from_numpy(np.stack(souls)).to(x)


def to_nearest_soul(x: Tensor, souls: Tensor) -> Tensor:
    """(n, d) features and the souls (n, k, d) of each one's class -> (n,) squared distances, means over d."""
    return (x[:, None] - souls).square().mean(2).amin(1)
