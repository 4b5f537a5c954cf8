"""DAP: direct attribute prediction (Lampert, Nickisch and Harmeling, CVPR 2009 and PAMI 2014)."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.methods._convex import fit_linear
from zslcore.methods._linalg import Array
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score
from zslcore.methods.base import Observe, TrainData, check_distinct


class DAPSettings(ScaledSettings):
    """The classifiers of attributes."""

    strength: float = Field(0.01, ge=0, description="ridge term ½ strength ‖W‖² of the classifiers; SVMs in the paper")


class DAP(ScaledMethod[DAPSettings]):
    """One logistic classifier p(a_m | x) an attribute; a class scores Σ_m log p(a_m = s_m | x) − log p(a_m = s_m).

    Attributes are made binary at their mean over seen classes, and the prior p(a_m) is the fraction of seen classes
    that have them. The paper's probabilities come from SVMs with Platt scaling; here from the logistic loss itself.
    """

    name = "dap"
    title = "DAP"
    citation = "Lampert, Nickisch and Harmeling, PAMI 2014"
    summary = (
        "A logistic classifier for each attribute, fitted on seen classes. A class scores the product of its "
        "attributes' posteriors, each over its prior."
    )
    family = "attribute classifiers"
    needs_binary_attributes = True
    Settings = DAPSettings
    search_space = {
        "scaling": ("standard", "sphere", "root"),
        "strength": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    }
    random = False
    learned = ("weights", "bias", "threshold", "prior")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Fit all attribute classifiers at once."""
        self.threshold = train.signatures.mean(axis=0)
        binary = binarise(train.signatures, self.threshold)
        self.prior = attribute_prior(binary)
        self.weights, self.bias = fit_linear(train.features, binary[train.labels], "sigmoid", self.settings.strength)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Posterior log-odds of the classes' binary signatures."""
        binary = binarise(signatures, self.threshold)
        check_distinct(binary, what="binary signatures")

        def score(x: NDArray[np.float32]) -> Array:
            logits = x @ self.weights + self.bias
            present = -np.logaddexp(0, -logits)
            return attribute_scores(present, present - logits, binary, self.prior)

        return score


def binarise(signatures: Array, threshold: Array) -> NDArray[np.float64]:
    """(classes, a) -> 1 where an attribute lies above its threshold (a,), else 0."""
    return (signatures > threshold).astype(np.float64)


def attribute_prior(binary: NDArray[np.float64]) -> NDArray[np.float64]:
    """p(a_m): fraction of seen classes with each attribute, one pseudo-class each way so that no log is infinite."""
    return (binary.sum(axis=0) + 1) / (len(binary) + 2)


def attribute_scores(present: Array, absent: Array, binary: NDArray[np.float64], prior: NDArray[np.float64]) -> Array:
    """Σ_m log p(a_m = s_m | x) − log p(a_m = s_m).

    present, absent: (n, a) log p(a_m = 1 | x) and log p(a_m = 0 | x); binary (classes, a); prior (a,).
    """
    return (present - np.log(prior)) @ binary.T + (absent - np.log1p(-prior)) @ (1 - binary).T
