"""LAD: learning discriminative latent attributes (Jiang et al., ICCV 2017)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zslcore.methods._linalg import one_hot, ridge, solve_positive
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score, cosine
from zslcore.methods.base import MethodSettings, Observe, TrainData
from zslcore.scaling import Scaling


class LADSettings(ScaledSettings):
    """alpha, beta: weights of the signature and of the class term. strength: ridge term of D, W and U.

    code: ridge term of test codes. steps: alternations.
    """

    alpha: float = 1.0
    beta: float = 0.1
    strength: float = 1.0
    code: float = 0.1
    steps: int = 3
    scaling: Scaling = "l2"


class LAD(ScaledMethod):
    """min over D, Y, W, U of ‖X − Y D‖² + α ‖Y − S W‖² + β ‖H − Y U‖² (eq. 6), with ridge terms on D, W and U.

    X (n, d) features, Y (n, a) latent attributes, S (n, a) signatures, H (n, K) one-hot labels. Closed forms in turn,
    from Y = S; the ridge terms stand where the paper bounds the length of rows. Test images get ridge codes
    y = argmin ‖x − y D‖² + code ‖y‖², and classes score cos(y, s W).
    """

    name: ClassVar[str] = "lad"
    citation: ClassVar[str] = "Jiang et al., ICCV 2017"
    Settings: ClassVar[type[MethodSettings]] = LADSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("l2", "standard", "sphere"),
        "signature_scaling": ("l2", "standard"),
        "alpha": (0.01, 0.1, 1.0, 10.0, 100.0),
        "beta": (0.0, 0.01, 0.1, 1.0, 10.0),
        "strength": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        "code": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    }
    random: ClassVar[bool] = False
    learned: ClassVar[tuple[str, ...]] = ("dictionary", "weights")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Alternate the four closed forms."""
        settings: LADSettings = self.settings
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
