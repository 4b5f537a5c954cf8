"""JLSE: joint latent similarity embedding (Zhang and Saligrama, CVPR 2016)."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import eigh

from zslcore.errors import ZSLError
from zslcore.methods._linalg import Matrix, one_hot, ridge, row_span, simplex_codes, solve_positive
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score
from zslcore.methods.base import Observe, TrainData


class JLSESettings(ScaledSettings):
    """Weights of eq. 4 and 5."""

    source: float = Field(0.01, ge=0, description="ridge term of the signatures' codes, eq. 5")
    target: float = Field(1.0, ge=0, description="ridge term of the images' codes, eq. 4")
    similarity: float = Field(100.0, ge=0, description="weight of the similarity term, eq. 4")
    map_strength: float = Field(1.0, ge=0, description="ridge term of W, eq. 4")
    latent: int = Field(150, ge=1, description="size of the images' codes")
    steps: int = Field(5, ge=1, description="alternations; not stated")


class JLSE(ScaledMethod[JLSESettings]):
    """Signatures and images have latent codes z_s, z_t, and a pair scores by ⟨z_t, W z_s⟩, all learned jointly.

    z_s: on the simplex, ½‖s − z_sᵀ S‖² + ½ source ‖z_s‖² with the seen signatures S as dictionary (eq. 5). Then, in
    turn, min over B, Z_t, W of ‖X − Z_t B‖² + target ‖Z_t‖² + similarity ‖Y − Z_t W Z_sᵀ‖² + map_strength ‖W‖² (eq. 4,
    with Y = ±1 and the squared loss where the paper has a hinge, so that every step is a closed form).
    A pair is scored with the z_t that suits it best (eq. 7), which leaves a linear score and an offset for each class.
    """

    name = "jlse"
    title = "JLSE"
    citation = "Zhang and Saligrama, CVPR 2016"
    summary = (
        "Latent codes of images and of signatures, and a bilinear score of both, learned jointly. A pair is "
        "scored with the image code that suits it best."
    )
    family = "dictionaries"
    linear_scores = True
    Settings = JLSESettings
    search_space = {
        "scaling": ("standard", "sphere", "l2"),
        "signature_scaling": ("l2", "centred"),
        "source": (0.0001, 0.001, 0.01, 0.1),
        "target": (0.1, 1.0, 10.0, 100.0, 1000.0),
        "similarity": (1.0, 10.0, 100.0, 1000.0),
        "map_strength": (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
        "latent": (75, 150, 300),
    }
    random = False
    learned = ("dictionary", "weights", "signatures")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Alternate W, the dictionary and the image codes, from principal components."""
        settings = self.settings
        x = train.features.astype(np.float64)
        y = 2 * one_hot(train.labels, self.seen_classes) - 1
        self.signatures = train.signatures
        source = simplex_codes(train.signatures, train.signatures, settings.source)
        inside, _ = row_span(x)
        k = inside.shape[1]
        codes = inside @ eigh(inside.T @ inside, subset_by_index=(max(0, k - settings.latent), k - 1))[1]
        for _ in range(settings.steps):
            self.dictionary = ridge(codes, x, 1e-3)
            self.weights = bilinear_ridge(codes, y, source, settings.map_strength)
            classes = self.weights @ source.T
            system = self.dictionary @ self.dictionary.T + settings.similarity * classes @ classes.T
            pull = x @ self.dictionary.T + settings.similarity * y @ classes.T
            codes = solve_positive(system, pull.T, settings.target).T

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """max over z of −‖x − zB‖² − target ‖z‖² + 2⟨z, W z_s⟩, less what no class changes."""
        classes = self.weights @ simplex_codes(signatures, self.signatures, self.settings.source).T
        inverse = solve_positive(self.dictionary @ self.dictionary.T, classes, self.settings.target)
        return lambda x: 2 * x @ (self.dictionary.T @ inverse) + (classes * inverse).sum(axis=0)


def bilinear_ridge(left: Matrix, y: Matrix, right: Matrix, strength: float) -> Matrix:
    """argmin over W of ‖Y − L W Rᵀ‖² + strength ‖W‖², for L (n, k), Y (n, m), R (m, l): W (k, l).

    Raises ZSLError when that is singular, which only a strength of (nearly) 0 allows.
    """
    left_values, left_vectors = eigh(left.T @ left)
    right_values, right_vectors = eigh(right.T @ right)
    target = left_vectors.T @ (left.T @ y @ right) @ right_vectors
    system = np.outer(left_values, right_values) + strength
    if system.min() <= 1e-14 * system.max():
        raise ZSLError(f"singular system without enough regularisation ({strength:g}); use a larger one")
    return np.asarray(left_vectors @ (target / system) @ right_vectors.T)
