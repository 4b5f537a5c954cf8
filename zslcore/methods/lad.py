"""LAD: learning discriminative latent attributes (Jiang et al., ICCV 2017)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zslcore.methods._linalg import one_hot, ridge, solve_positive
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score, cosine, unit_rows
from zslcore.methods.base import MethodSettings, Observe, TrainData


class LADSettings(ScaledSettings):
    """alpha, beta: weights of the signature and of the class term. code: ridge term of codes. steps: alternations."""

    alpha: float = 10.0
    beta: float = 10.0
    code: float = 10.0
    steps: int = 5


class LAD(ScaledMethod):
    """min over D, Y, W, U of ‖X − Y D‖² + α ‖Y − S W‖² + β ‖H − Y U‖², rows of D of length at most 1 (eq. 6).

    X (n, d) features, Y (n, a) latent attributes, S (n, a) signatures, H (n, K) one-hot labels. Closed forms in turn,
    from Y = S. Test images get ridge codes y = argmin ‖x − y D‖² + code ‖y‖², and classes score cos(y, s W).
    """

    name: ClassVar[str] = "lad"
    citation: ClassVar[str] = "Jiang et al., ICCV 2017"
    Settings: ClassVar[type[MethodSettings]] = LADSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("standard", "sphere", "l2"),
        "signature_scaling": ("l2", "standard"),
        "alpha": (0.1, 1.0, 10.0, 100.0, 1000.0),
        "beta": (0.0, 0.1, 1.0, 10.0, 100.0, 1000.0),
        "code": (0.01, 0.1, 1.0, 10.0, 100.0),
    }
    random: ClassVar[bool] = False
    learned: ClassVar[tuple[str, ...]] = ("decoder", "weights")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Alternate the four closed forms."""
        settings: LADSettings = self.settings
        x, s = train.features.astype(np.float64), train.signatures.astype(np.float64)[train.labels]
        h = one_hot(train.labels, self.seen_classes)
        codes, small = s, 1e-3
        for _ in range(settings.steps):
            dictionary = _shorten(ridge(codes, x, small))
            weights = ridge(s, codes, small)
            to_class = ridge(codes, h, small)
            system = dictionary @ dictionary.T + settings.beta * to_class @ to_class.T
            pull = x @ dictionary.T + settings.alpha * s @ weights + settings.beta * h @ to_class.T
            codes = solve_positive(system, pull.T, settings.alpha).T
        self.decoder = solve_positive(dictionary @ dictionary.T, dictionary, settings.code).T
        self.weights = weights

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Cosine of an image's code and each class's latent attributes."""
        latent = signatures @ self.weights
        return lambda x: cosine(x @ self.decoder, latent)


def _shorten(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows longer than 1 at length 1, the others as they are."""
    return np.where(np.linalg.norm(rows, axis=1, keepdims=True) > 1, unit_rows(rows), rows)
