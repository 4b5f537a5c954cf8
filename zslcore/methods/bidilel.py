"""BiDiLEL: bidirectional latent embedding (Wang and Chen, IJCV 2017)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import LinAlgError, eigh
from scipy.optimize import minimize

from zslcore.errors import ZSLError
from zslcore.methods._linalg import Matrix, row_span, simplex_codes
from zslcore.methods._scaled import ScaledMethod, ScaledSettings, Score, squared_distances
from zslcore.methods.base import Observe, TrainData
from zslcore.scaling import class_means


class BiDiLELSettings(ScaledSettings):
    """The projection."""

    strength: float = Field(0.1, ge=0, description="ridge term of the projection, over the mean variance; not stated")
    latent: int = Field(100, ge=1, description="size of the latent space")


class BiDiLEL(ScaledMethod[BiDiLELSettings]):
    """Bottom up: supervised locality-preserving projections P, min tr(PᵀXᵀLXP) with PᵀXᵀXP = I (eq. 2), L the graph
    that joins images of a class; class landmarks are the means of x P. Top down: unseen landmarks b minimise Sammon's
    stress Σ (‖b − b′‖ − δ)² / δ against all landmarks b′ (eq. 6), δ the distance of the signatures, scaled to fit the
    seen landmarks. Classes score −‖x P − b‖².
    """

    name = "bidilel"
    title = "BiDiLEL"
    citation = "Wang and Chen, IJCV 2017"
    summary = (
        "A projection that keeps images of a class together; unseen classes are placed in it by their signatures'"
        " distances to all others. The nearest class wins."
    )
    family = "metric"
    Settings = BiDiLELSettings
    search_space = {
        "scaling": ("standard", "l2", "sphere"),
        "signature_scaling": ("l2", "standard", "centred"),
        "strength": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        "latent": (25, 50, 100, 149, 300),
    }
    random = False
    learned = ("projection", "offset", "landmarks", "signatures", "stretch")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """One generalised eigenproblem, and the scale between the two kinds of distance."""
        settings = self.settings
        self.signatures = train.signatures
        self.offset = train.features.mean(axis=0, dtype=np.float64)
        x, basis = row_span(train.features - self.offset)
        means = class_means(x, train.labels, self.seen_classes)
        total = x.T @ x
        within = total - (means.T * np.bincount(train.labels)) @ means
        ballast = settings.strength * np.trace(total) / len(basis) * np.eye(len(total))
        latent = min(settings.latent, len(total))
        try:
            projection = eigh(within + ballast, total + ballast, subset_by_index=(0, latent - 1))[1]
        except LinAlgError as error:
            raise ZSLError(
                f"singular system without enough regularisation ({settings.strength:g}); use a larger strength"
            ) from error
        projection *= np.sqrt(len(x))
        self.projection, self.landmarks = basis @ projection, means @ projection
        pairs = np.triu_indices(self.seen_classes, 1)
        semantic = _distances(train.signatures, train.signatures)[pairs]
        latent_distances = _distances(self.landmarks, self.landmarks)[pairs]
        self.stretch = np.array(semantic @ latent_distances / (semantic @ semantic))

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Nearest landmark."""
        landmarks = np.empty((len(signatures), self.landmarks.shape[1]))
        landmarks[seen_mask] = self.landmarks[: seen_mask.sum()]
        landmarks[~seen_mask] = self._place(signatures[~seen_mask])
        return lambda x: -squared_distances((x - self.offset) @ self.projection, landmarks)

    def _place(self, signatures: NDArray[np.float32]) -> Matrix:
        """Landmarks (unseen, k) of least stress, from convex combinations of the seen ones."""
        if not len(signatures):
            return np.empty((0, self.landmarks.shape[1]))
        start = simplex_codes(signatures, self.signatures, 1e-3) @ self.landmarks
        others = np.concatenate([self.signatures, signatures])
        wanted = np.maximum(self.stretch * _distances(signatures, others), 1e-9)

        def objective(flat: Matrix) -> tuple[float, Matrix]:
            value, slope = stress(flat.reshape(start.shape), self.landmarks, wanted)
            return value, slope.ravel()

        solution = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300})
        return np.asarray(solution.x.reshape(start.shape))


def stress(placed: Matrix, fixed: Matrix, wanted: Matrix) -> tuple[float, Matrix]:
    """Sammon's stress Σ (‖b − b′‖ − δ)² / δ over pairs with a placed point, and its slope (placed, k).

    placed (m, k) points, fixed (f, k) ones; wanted (m, f + m) the δ of each placed point to all, fixed ones first.
    """
    weight = np.ones_like(wanted)
    weight[:, len(fixed) :] = 0.5 * (1 - np.eye(len(placed)))  # each pair of placed points stands there twice
    every = np.concatenate([fixed, placed])
    distances = np.maximum(_distances(placed, every), 1e-9)
    pull = 2 * weight * (distances - wanted) / (wanted * distances)
    slope = pull.sum(axis=1)[:, None] * placed - pull @ every
    mirrored = pull[:, len(fixed) :]
    slope += mirrored.sum(axis=0)[:, None] * placed - mirrored.T @ placed
    return float((weight * (distances - wanted) ** 2 / wanted).sum()), slope


def _distances(a: NDArray[Any], b: NDArray[Any]) -> Matrix:
    return np.sqrt(squared_distances(a.astype(np.float64), b.astype(np.float64)))
