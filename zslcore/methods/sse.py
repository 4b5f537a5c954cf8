"""SSE: semantic similarity embedding (Zhang and Saligrama, ICCV 2015)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.methods._linalg import class_means, simplex_codes
from zslcore.methods._scaled import ScaledMethod, Score
from zslcore.methods._trained import TrainedSettings, train_batches
from zslcore.methods.base import MethodSettings, Observe, TrainData
from zslcore.scaling import Scaling
from zslcore.training import seeded


class SSESettings(TrainedSettings):
    """embedding: φ of eq. 4 (intersection) or eq. 5 (relu). source: γ of eq. 3. margin: of the loss."""

    embedding: Literal["intersection", "relu"] = "intersection"
    source: float = 0.01
    margin: float = 1.0
    epochs: int = 3
    batch_size: int = 64
    lr: float = 0.003
    weight_decay: float = 0.0
    scaling: Scaling = "minmax"


class SSE(ScaledMethod):
    """Classes and images are both seen as mixtures of the seen classes; F(x, y) = Σ_k z_k(y) ⟨w, φ_k(x)⟩ (eq. 2).

    z(y), on the simplex, mixes the signature of y from the seen ones (eq. 3). φ_k(x) = min(x, v_k) or max(x − v_k, 0)
    compares an image with seen class k's exemplar v_k, from its mean. w and V minimise the structured hinge loss over
    seen classes (eq. 6), in batches where the paper alternates between exact solvers.
    """

    name: ClassVar[str] = "sse"
    citation: ClassVar[str] = "Zhang and Saligrama, ICCV 2015"
    Settings: ClassVar[type[MethodSettings]] = SSESettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("minmax", "standard"),
        "embedding": ("intersection", "relu"),
        "source": (0.001, 0.01, 0.1),
        "margin": (0.1, 1.0, 3.0),
        "lr": (0.0003, 0.001, 0.003, 0.01),
        "epochs": (3,),
    }
    random: ClassVar[bool] = False
    learned: ClassVar[tuple[str, ...]] = ("weights", "exemplars", "signatures")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Train w and V together."""
        settings: SSESettings = self.settings
        self.signatures = train.signatures
        means = class_means(train.features, train.labels, self.seen_classes).astype(np.float32)
        mixtures = torch.from_numpy(self._mixtures(train.signatures))
        x, labels = torch.from_numpy(train.features), torch.from_numpy(train.labels)
        exemplars = torch.from_numpy(means).requires_grad_()
        weights = torch.full((x.shape[1],), x.shape[1] ** -0.5, requires_grad=True)
        self.weights, self.exemplars = weights.detach().numpy(), exemplars.detach().numpy()

        def loss(rows: Tensor) -> Tensor:
            scores = similarities(x[rows], exemplars, weights, settings.embedding) @ mixtures.T
            short = settings.margin + scores - scores.gather(1, labels[rows, None])
            return short.scatter(1, labels[rows, None], 0.0).amax(dim=1).clamp(min=0).mean()

        with seeded(0, self.name):  # nothing but the order of batches is drawn: always the same
            train_batches(loss, [weights, exemplars], settings, len(x), self.name, observe)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Mixtures of the similarities to seen classes."""
        mixtures, settings = self._mixtures(signatures), self.settings
        parts = torch.from_numpy(self.exemplars.copy()), torch.from_numpy(self.weights.copy())

        def score(x: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
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
        own = sign * weights > 0
        size = weights[own].abs()
        apart = apart + sign * torch.cdist(x[:, own] * size, exemplars[:, own] * size, p=1)
    images, classes = (x @ weights)[:, None], exemplars @ weights
    return (images + classes - apart) / 2 if embedding == "intersection" else (images - classes + apart) / 2
