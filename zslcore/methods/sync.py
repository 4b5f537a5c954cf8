"""SYNC: synthesised classifiers (Changpinyo et al., CVPR 2016)."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax

from zslcore.methods._convex import fit_linear
from zslcore.methods._linalg import Matrix, one_hot, ridge
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score, squared_distances
from zslcore.methods.base import Observe, TrainData


class SYNCSettings(ScaledSettings):
    """The seen-class classifiers, and the mixtures of phantoms."""

    strength: float = Field(0.1, ge=0, description="λ of eq. 7 over the number of images")
    width: float = Field(2.0, gt=0, description="σ² of eq. 3, over the median squared distance of two seen signatures")
    ridge: float = Field(1e-6, ge=0, description="ridge term of the phantoms; not in the paper")


class SYNC(ScaledMethod[SYNCSettings]):
    """Classifiers are mixtures of phantom ones, w_c = Σ_r s_cr v_r, s_cr ∝ exp(−‖a_c − b_r‖²/σ²) (eq. 3, 5).

    One phantom a seen class (b_r = a_r), so that the seen classifiers are free: they minimise the one-versus-other
    squared hinge loss + ½ strength ‖w_c‖² (eq. 7), and the phantoms are the v that mix to them (ridge regression).
    The loss is a mean over the images where eq. 7 has their sum: `strength` is λ over their number.
    """

    name = "sync"
    title = "SYNC"
    citation = "Changpinyo et al., CVPR 2016"
    summary = (
        "Classifiers are mixed from phantom ones by the distances of signatures. The phantoms are those that mix "
        "to the best seen-class classifiers."
    )
    family = "convex combination"
    linear_scores = True
    Settings = SYNCSettings
    search_space = {
        "scaling": ("standard", "sphere", "root"),
        "signature_scaling": ("l2", "standard", "centred"),
        "strength": (0.003, 0.01, 0.03, 0.1, 0.3),
        "width": (0.1, 0.3, 1.0, 2.0, 5.0),
        "ridge": (1e-7, 1e-6, 1e-5, 1e-4, 1e-3),
    }
    random = False
    learned = ("phantoms", "signatures", "variance")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Fit the seen classifiers, then the phantoms that mix to them."""
        settings = self.settings
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
