"""LAD: learning discriminative latent attributes (Jiang et al., ICCV 2017)."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.methods._linalg import one_hot, ridge, solve_positive
from zslcore.methods._scaled import FeatureScaling, ScaledMethod, ScaledSettings, Score, cosine
from zslcore.methods.base import Observe, TrainData


class LADSettings(ScaledSettings):
    """Weights of eq. 6, and the ridge terms that stand for its bounds."""

    alpha: float = Field(1.0, ge=0, description="α of eq. 6, weight of the signature term")
    beta: float = Field(0.1, ge=0, description="β of eq. 6, weight of the class term")
    strength: float = Field(1.0, ge=0, description="ridge term of D, W and U, which are of bounded length in the paper")
    code: float = Field(0.1, ge=0, description="ridge term of the codes of test images; not stated")
    steps: int = Field(3, ge=1, description="alternations of the four closed forms; not stated")
    scaling: FeatureScaling = "l2"


class LAD(ScaledMethod[LADSettings]):
    """min over D, Y, W, U of ‖X − Y D‖² + α ‖Y − S W‖² + β ‖H − Y U‖² (eq. 6), with ridge terms on D, W and U.

    X (n, d) features, Y (n, a) latent attributes, S (n, a) signatures, H (n, K) one-hot labels. Closed forms in turn,
    from Y = S; the ridge terms stand where the paper bounds the length of rows. Test images get ridge codes
    y = argmin ‖x − y D‖² + code ‖y‖², and classes score cos(y, s W).
    """

    name = "lad"
    title = "LAD"
    citation = "Jiang et al., ICCV 2017"
    summary = (
        "A dictionary of latent attributes, tied to the given ones, that also has to separate the seen classes. "
        "Cosine of an image's code and a class's."
    )
    family = "dictionaries"
    Settings = LADSettings
    search_space = {
        "scaling": ("l2", "standard", "sphere"),
        "signature_scaling": ("l2", "standard", "centred"),
        "alpha": (0.01, 0.1, 1.0, 10.0, 100.0),
        "beta": (0.0, 0.01, 0.1, 1.0, 10.0),
        "strength": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        "code": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    }
    random = False
    learned = ("dictionary", "weights")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Alternate the four closed forms."""
        settings = self.settings
        x, s = train.features.astype(np.float64), train.signatures.astype(np.float64)[train.labels]
        h = one_hot(train.labels, self.seen_classes)
        codes = s
        for _ in range(settings.steps):
            self.dictionary = ridge(codes, x, settings.strength)
            self.weights = ridge(s, codes, settings.strength)
            to_class = ridge(codes, h, settings.strength)
            system = self.dictionary @ self.dictionary.T + settings.beta * to_class @ to_class.T
            pull = x @ self.dictionary.T + settings.alpha * s @ self.weights + settings.beta * h @ to_class.T
            codes = solve_positive(system, pull.T, settings.alpha).T

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Cosine of an image's code and each class's latent attributes."""
        latent = signatures @ self.weights
        decoder = solve_positive(self.dictionary @ self.dictionary.T, self.dictionary, self.settings.code).T
        return lambda x: cosine(x @ decoder, latent)
