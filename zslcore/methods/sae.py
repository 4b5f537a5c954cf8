"""SAE: semantic autoencoder (Kodirov, Xiang and Gong, CVPR 2017)."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import eigh

from zslcore.errors import ZSLError
from zslcore.methods._linalg import Matrix
from zslcore.methods._scaled import FeatureScaling, ScaledMethod, ScaledSettings, Score, cosine
from zslcore.methods.base import Observe, TrainData


class SAESettings(ScaledSettings):
    """The weight of the encoder, and where classes are compared."""

    strength: float = Field(0.2, ge=0, description="λ of eq. 4, weight of the encoder's error")
    direction: Literal["feature_to_signature", "signature_to_feature"] = Field(
        "signature_to_feature", description="compare images and classes as signatures, or as features"
    )
    scaling: FeatureScaling = "l2"


class SAE(ScaledMethod[SAESettings]):
    """min over W of ‖X − Wᵀ S‖² + λ ‖W X − S‖² (eq. 4), solved as S Sᵀ W + λ W X Xᵀ = (1 + λ) S Xᵀ (eq. 6).

    X (d, n) features, S (a, n) their signatures, W (a, d). Classes score the cosine, of W x and s
    (feature_to_signature) or of x and Wᵀ s (signature_to_feature): one W, two ways of testing, as in the paper.
    """

    name = "sae"
    title = "SAE"
    citation = "Kodirov, Xiang and Gong, CVPR 2017"
    summary = (
        "One linear map that encodes features as signatures and, transposed, decodes them: a Sylvester equation. "
        "Classes are compared in either space."
    )
    family = "compatibility"
    Settings = SAESettings
    search_space = {
        "scaling": ("l2", "standard"),
        "signature_scaling": ("l2", "standard", "centred"),
        "direction": ("signature_to_feature", "feature_to_signature"),
        "strength": (0.02, 0.08, 0.2, 1.0, 5.0, 20.0, 80.0, 300.0),
    }
    random = False
    learned = ("weights",)

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Solve the Sylvester equation."""
        s = train.signatures[train.labels].astype(np.float64)
        self.weights = sylvester(train.features.astype(np.float64), s, self.settings.strength).astype(np.float32)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Cosines in the space of `direction`."""
        if self.settings.direction == "signature_to_feature":
            prototypes = signatures @ self.weights
            return lambda x: cosine(x, prototypes)
        return lambda x: cosine(x @ self.weights.T, signatures)


def sylvester(x: Matrix, s: Matrix, strength: float) -> Matrix:
    """W (a, d) with SᵀS W + strength W XᵀX = (1 + strength) SᵀX, for rows x (n, d) and s (n, a).

    Both matrices are symmetric, so their eigenvectors solve it at once, where the general (Schur) solver of SciPy
    takes minutes at d = 4096. With fewer images than dimensions W lies in the span of the images, and the n×n Gram
    matrix gives the eigenvectors. Raises ZSLError when strength is not positive.
    """
    if strength <= 0:
        raise ZSLError(f"strength {strength:g} leaves the system singular; use one above 0")
    left, left_vectors = eigh(s.T @ s)
    n, d = x.shape
    if d <= n:
        right, right_vectors = eigh(x.T @ x)
    else:
        right, gram_vectors = eigh(x @ x.T)
        positive = right > 1e-12 * right[-1]
        right = right[positive]
        right_vectors = x.T @ gram_vectors[:, positive] / np.sqrt(right)
    sums = np.maximum(left, 0)[:, None] + strength * np.maximum(right, 0)
    target = (1 + strength) * left_vectors.T @ (s.T @ x) @ right_vectors
    solution = np.divide(target, sums, out=np.zeros_like(target), where=sums > 1e-12 * sums.max())
    return np.asarray(left_vectors @ solution @ right_vectors.T)
