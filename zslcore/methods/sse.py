"""SSE: semantic similarity embedding (Zhang and Saligrama, ICCV 2015)."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from zslcore.methods._linalg import Array, simplex_codes
from zslcore.methods._ranking import violations
from zslcore.methods._scaled import FeatureScaling, ScaledMethod, Score
from zslcore.methods._trained import BatchSize, Decay, Epochs, Rate, TrainedSettings, train_batches
from zslcore.methods.base import Observe, TrainData
from zslcore.scaling import class_means
from zslcore.training.seeding import seeded


class SSESettings(TrainedSettings):
    """The two mixtures, and the loss that matches them."""

    embedding: Literal["intersection", "relu"] = Field(
        "intersection", description="φ of eq. 4 (intersection) or eq. 5 (relu)"
    )
    source: float = Field(0.01, ge=0, description="γ of eq. 3, ridge term of the classes' mixtures")
    margin: float = Field(1.0, gt=0, description="by which the true class must win in the loss of eq. 6")
    epochs: Epochs = 3
    batch_size: BatchSize = 64
    lr: Rate = 0.003
    weight_decay: Decay = 0.0
    scaling: FeatureScaling = "minmax"


class SSE(ScaledMethod[SSESettings]):
    """Classes and images are both seen as mixtures of the seen classes; F(x, y) = Σ_k z_k(y) ⟨w, φ_k(x)⟩ (eq. 2).

    z(y), on the simplex, mixes the signature of y from the seen ones (eq. 3). φ_k(x) = min(x, v_k) or max(x − v_k, 0)
    compares an image with seen class k's exemplar v_k, from its mean. w and V minimise the structured hinge loss over
    seen classes (eq. 6), in batches where the paper alternates between exact solvers. It starts from class means and
    takes the batches in one order whatever the seed: a single figure without a deviation, and no closed form either.
    """

    name = "sse"
    title = "SSE"
    citation = "Zhang and Saligrama, ICCV 2015"
    summary = (
        "Classes are mixtures of seen classes, and so are images, by how much they share with each seen class's "
        "exemplar. Both mixtures are matched."
    )
    family = "convex combination"
    Settings = SSESettings
    quick = {"epochs": 20, "batch_size": 32}
    search_space = {
        "scaling": ("minmax", "standard"),
        "embedding": ("intersection", "relu"),
        "source": (0.001, 0.01, 0.1),
        "margin": (0.1, 1.0, 3.0),
        "lr": (0.0003, 0.001, 0.003, 0.01),
        "epochs": (3,),
    }
    random = False
    learned = ("weights", "exemplars", "signatures")
    weights: Array
    exemplars: Array

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Train w and V together."""
        settings = self.settings
        self.signatures = train.signatures
        means = class_means(train.features, train.labels, self.seen_classes).astype(np.float32)
        mixtures = torch.from_numpy(self._mixtures(train.signatures))
        x, labels = torch.from_numpy(train.features), torch.from_numpy(train.labels)
        exemplars = torch.from_numpy(means).requires_grad_()
        weights = torch.full((x.shape[1],), x.shape[1] ** -0.5, requires_grad=True)

        def loss(rows: Tensor) -> Tensor:
            scores = similarities(x[rows], exemplars, weights, settings.embedding) @ mixtures.T
            return violations(scores, labels[rows], settings.margin).amax(dim=1).mean()

        with seeded(0, self.name):  # nothing but the order of batches is drawn: always the same
            train_batches(self, loss, {"weights": weights, "exemplars": exemplars}, len(x), observe)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Mixtures of the similarities to seen classes."""
        mixtures, settings = self._mixtures(signatures), self.settings
        parts = torch.from_numpy(self.exemplars), torch.from_numpy(self.weights)

        def score(x: NDArray[np.float32]) -> Array:
            with torch.inference_mode():
                return similarities(torch.from_numpy(x), *parts, settings.embedding).numpy() @ mixtures.T

        return score

    def _mixtures(self, signatures: NDArray[np.float32]) -> NDArray[np.float32]:
        return simplex_codes(signatures, self.signatures, self.settings.source).astype(np.float32)


def similarities(x: Tensor, exemplars: Tensor, weights: Tensor, embedding: str) -> Tensor:
    """⟨w, φ_k(x)⟩ for every image and seen class: (n, K).

    min(a, b) and max(a − b, 0) are (a ± b ∓ |a − b|) / 2: distances in L1, for which no (n, K, d) array is needed.
    """
    apart = x.new_zeros(len(x), len(exemplars))
    for sign in (1, -1):
        signed = sign * weights > 0
        size = weights[signed].abs()
        apart = apart + sign * torch.cdist(x[:, signed] * size, exemplars[:, signed] * size, p=1)
    images, classes = (x @ weights)[:, None], exemplars @ weights
    return (images + classes - apart) / 2 if embedding == "intersection" else (images - classes + apart) / 2
