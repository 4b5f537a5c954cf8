"""ConSE: convex combination of semantic embeddings (Norouzi et al., ICLR 2014)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax

from zslcore.methods._convex import fit_linear
from zslcore.methods._linalg import one_hot
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score, cosine
from zslcore.methods.base import Observe, TrainData


class ConSESettings(ScaledSettings):
    """The classifier of seen classes, and how much of it is used."""

    strength: float = Field(
        0.01, ge=0, description="ridge term ½ strength ‖W‖² of the classifier; a deep network in the paper"
    )
    top: int = Field(10, ge=1, description="T, how many of the most probable seen classes are combined")


class ConSE(ScaledMethod[ConSESettings]):
    """An image's embedding is the mean signature of its `top` most probable seen classes, weighted by probability.

    Classes score the cosine with it. The seen-class classifier is softmax regression with a ridge term.
    """

    name = "conse"
    title = "ConSE"
    citation = "Norouzi et al., ICLR 2014"
    summary = (
        "A classifier of seen classes; an image is the mean signature of its most probable ones, weighted by "
        "probability. The class with the nearest signature by angle wins."
    )
    family = "convex combination"
    Settings = ConSESettings
    quick = {"signature_scaling": "standard"}
    search_space = {
        "scaling": ("standard", "sphere"),
        "signature_scaling": ("l2", "standard", "centred"),
        "strength": (0.003, 0.01, 0.03, 0.1, 0.3),
        "top": (1, 5, 10, 20, 50, 1000),
    }
    random = False
    learned = ("weights", "bias", "signatures")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Fit the seen-class classifier."""
        self.signatures = train.signatures
        targets = one_hot(train.labels, self.seen_classes)
        self.weights, self.bias = fit_linear(train.features, targets, "softmax", self.settings.strength)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Cosine of the combined embedding and each signature."""
        top = min(self.settings.top, self.seen_classes)

        def score(x: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
            chances = softmax(x @ self.weights + self.bias, axis=1)
            least = -np.partition(-chances, top - 1, axis=1)[:, top - 1 : top]
            return cosine(np.where(chances >= least, chances, 0) @ self.signatures, signatures)

        return score
