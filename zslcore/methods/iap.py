"""IAP: indirect attribute prediction (Lampert, Nickisch and Harmeling, CVPR 2009 and PAMI 2014)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from zslcore.methods._convex import fit_linear
from zslcore.methods._linalg import one_hot
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score
from zslcore.methods.base import MethodSettings, Observe, TrainData, check_distinct
from zslcore.methods.dap import Array, attribute_scores, binarise, share


class IAPSettings(ScaledSettings):
    """strength: of the ridge term of the seen-class classifier."""

    strength: float = 0.01


class IAP(ScaledMethod):
    """Seen-class posteriors give the attributes, p(a_m | x) = Σ_k p(k | x) [s_km = 1], which score classes as in DAP.

    The classifier is softmax regression with a ridge term.
    """

    name: ClassVar[str] = "iap"
    citation: ClassVar[str] = "Lampert, Nickisch and Harmeling, PAMI 2014"
    Settings: ClassVar[type[MethodSettings]] = IAPSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("standard", "sphere", "root"),
        "strength": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    }
    random: ClassVar[bool] = False
    learned: ClassVar[tuple[str, ...]] = ("weights", "bias", "threshold", "binary")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Fit the seen-class classifier; keep the seen classes' binary signatures."""
        settings: IAPSettings = self.settings
        self.threshold = train.signatures.mean(axis=0)
        self.binary = binarise(train.signatures, self.threshold)
        targets = one_hot(train.labels, self.seen_classes)
        self.weights, self.bias = fit_linear(train.features, targets, "softmax", settings.strength)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Attribute posteriors by way of the seen classes, then DAP's score."""
        binary, prior = binarise(signatures, self.threshold), share(self.binary)
        check_distinct(binary, what="binary signatures")

        def score(x: NDArray[np.float32]) -> Array:
            # mixed with a little of the prior: an attribute no seen class of any weight has would get log 0
            present = 0.99 * softmax(x @ self.weights + self.bias, axis=1) @ self.binary + 0.01 * prior
            return attribute_scores(np.log(present), np.log1p(-present), binary, prior)

        return score
