"""IAP: indirect attribute prediction (Lampert, Nickisch and Harmeling, CVPR 2009 and PAMI 2014)."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax

from zslcore.methods._convex import fit_linear
from zslcore.methods._linalg import Array, one_hot
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score
from zslcore.methods.base import Observe, TrainData, check_distinct
from zslcore.methods.dap import attribute_prior, attribute_scores, binarise


class IAPSettings(ScaledSettings):
    """The classifier of seen classes."""

    strength: float = Field(0.01, ge=0, description="ridge term ½ strength ‖W‖² of the classifier; not stated")


class IAP(ScaledMethod[IAPSettings]):
    """Seen-class posteriors give the attributes, p(a_m | x) = Σ_k p(k | x) [s_km = 1], which score classes as in DAP.

    The classifier is softmax regression with a ridge term.
    """

    name = "iap"
    title = "IAP"
    citation = "Lampert, Nickisch and Harmeling, PAMI 2014"
    summary = (
        "A classifier of seen classes, whose posteriors give those of the attributes. Classes then score as in DAP."
    )
    family = "attribute classifiers"
    needs_binary_attributes = True
    Settings = IAPSettings
    search_space = {
        "scaling": ("standard", "sphere", "root"),
        "strength": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    }
    random = False
    learned = ("weights", "bias", "threshold", "binary")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Fit the seen-class classifier; keep the seen classes' binary signatures."""
        self.threshold = train.signatures.mean(axis=0)
        self.binary = binarise(train.signatures, self.threshold)
        targets = one_hot(train.labels, self.seen_classes)
        self.weights, self.bias = fit_linear(train.features, targets, "softmax", self.settings.strength)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Attribute posteriors by way of the seen classes, then DAP's score."""
        binary, prior = binarise(signatures, self.threshold), attribute_prior(self.binary)
        check_distinct(binary, what="binary signatures")

        def score(x: NDArray[np.float32]) -> Array:
            # mixed with a little of the prior: an attribute no seen class of any weight has would get log 0
            present = 0.99 * softmax(x @ self.weights + self.bias, axis=1) @ self.binary + 0.01 * prior
            return attribute_scores(np.log(present), np.log1p(-present), binary, prior)

        return score
