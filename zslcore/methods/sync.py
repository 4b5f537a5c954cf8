"""SYNC: synthesised classifiers (Changpinyo et al., CVPR 2016)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from zslcore.methods._convex import fit_linear
from zslcore.methods._linalg import Matrix, one_hot, ridge
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score, squared_distances
from zslcore.methods.base import MethodSettings, Observe, TrainData


class SYNCSettings(ScaledSettings):
    """strength: of ½‖w_c‖². width: σ² over the median squared distance of seen signatures. ridge: of the phantoms."""

    strength: float = 0.1
    width: float = 2.0
    ridge: float = 1e-6


class SYNC(ScaledMethod):
    """Classifiers are mixtures of phantom ones, w_c = Σ_r s_cr v_r, s_cr ∝ exp(−‖a_c − b_r‖²/σ²) (eq. 3, 5).

    One phantom a seen class (b_r = a_r), so that the seen classifiers are free: they minimise the one-versus-other
    squared hinge loss + ½ strength ‖w_c‖² (eq. 7), and the phantoms are the v that mix to them (ridge regression).
    """

    name: ClassVar[str] = "sync"
    citation: ClassVar[str] = "Changpinyo et al., CVPR 2016"
    Settings: ClassVar[type[MethodSettings]] = SYNCSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("standard", "sphere", "root"),
        "signature_scaling": ("l2", "standard"),
        "strength": (0.003, 0.01, 0.03, 0.1, 0.3),
        "width": (0.1, 0.3, 1.0, 2.0, 5.0),
        "ridge": (1e-7, 1e-6, 1e-5, 1e-4, 1e-3),
    }
    random: ClassVar[bool] = False
    learned: ClassVar[tuple[str, ...]] = ("phantoms", "signatures", "variance")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Fit the seen classifiers, then the phantoms that mix to them."""
        settings: SYNCSettings = self.settings
        self.signatures = train.signatures
        apart = squared_distances(train.signatures, train.signatures)[np.triu_indices(self.seen_classes, 1)]
        self.variance = np.array(settings.width * np.median(apart))
        targets = 2 * one_hot(train.labels, self.seen_classes) - 1
        weights, bias = fit_linear(train.features, targets, "squared_hinge", settings.strength)
        classifiers = np.column_stack([weights.T, bias])
        self.phantoms = ridge(self._mixture(train.signatures), classifiers, settings.ridge)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Mixtures of the phantoms; seen classes are mixed like the unseen."""
        synthesised = self._mixture(signatures) @ self.phantoms
        return lambda x: x @ synthesised[:, :-1].T + synthesised[:, -1]

    def _mixture(self, signatures: NDArray[np.float32]) -> Matrix:
        """s of eq. 3: (classes, phantoms), rows sum to 1."""
        return np.asarray(softmax(-squared_distances(signatures, self.signatures) / self.variance, axis=1))
