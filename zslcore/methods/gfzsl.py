"""GFZSL: class-conditional Gaussians regressed from signatures (Verma and Rai, ECML-PKDD 2017)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax

from zslcore.errors import ZSLError
from zslcore.methods._linalg import Matrix, solve_positive
from zslcore.methods._scaled import FeatureScaling, ScaledMethod, ScaledSettings, Score
from zslcore.methods.base import Observe, TrainData
from zslcore.scaling import class_means


class GFZSLSettings(ScaledSettings):
    """Of the two regressions."""

    mean_strength: float = Field(1.0, ge=0, description="ridge term of the regression of the means")
    variance_strength: float = Field(1e7, ge=0, description="ridge term of the regression of the log-variances")
    floor: float = Field(0.05, ge=0, description="added to every variance; not stated")
    scaling: FeatureScaling = "standard"


class GFZSL(ScaledMethod[GFZSLSettings]):
    """p(x | class) = N(μ, diag σ²), with μ and log σ² kernel-ridge-regressed from the signature (eq. 5-7).

    Kernel (1 + sᵀs′)², as in the authors' code. Both targets are centred on their mean over seen classes, so that a
    strong ridge term means "the same variance everywhere". Unseen and seen classes score alike, by log-likelihood.
    """

    name = "gfzsl"
    title = "GFZSL"
    citation = "Verma and Rai, ECML-PKDD 2017"
    summary = (
        "A Gaussian for each class, its moments regressed from the signature with a kernel. The likeliest class wins."
    )
    family = "generative"
    Settings = GFZSLSettings
    search_space = {
        "scaling": ("standard", "sphere", "l2", "max"),
        "signature_scaling": ("l2", "centred"),
        "mean_strength": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        "variance_strength": (1.0, 100.0, 1e7),
        "floor": (0.0001, 0.01, 0.05, 0.3, 1.0),
    }
    random = False
    learned: tuple[str, ...] = ("signatures", "centre", "mean_dual", "variance_dual")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Moments of every seen class, then one kernel ridge regression for each of the two."""
        settings = self.settings
        self.signatures = train.signatures
        kernel = _kernel(train.signatures, train.signatures)
        means = class_means(train.features, train.labels, self.seen_classes)
        squares = class_means(np.square(train.features, dtype=np.float64), train.labels, self.seen_classes)
        variances = np.maximum(squares - means**2, 0) + settings.floor
        if not variances.all():
            raise ZSLError("a feature is constant within a class, whose variance is then 0; use a floor above 0")
        logs = np.log(variances)
        self.centre = np.stack([means.mean(axis=0), logs.mean(axis=0)])
        self.mean_dual = solve_positive(kernel, means - self.centre[0], settings.mean_strength)
        self.variance_dual = solve_positive(kernel, logs - self.centre[1], settings.variance_strength)

    def moments(self, signatures: NDArray[np.float32]) -> tuple[Matrix, Matrix]:
        """Regressed means and variances, both (classes, d)."""
        kernel = _kernel(signatures, self.signatures)
        return self.centre[0] + kernel @ self.mean_dual, np.exp(self.centre[1] + kernel @ self.variance_dual)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Gaussian log-likelihoods."""
        means, variances = self.moments(signatures)
        return lambda x: log_likelihood(x, means, variances)


class TransductiveSettings(GFZSLSettings):
    """Of expectation maximisation."""

    steps: int = Field(10, ge=0, description="of EM; not stated")
    prior: float = Field(10.0, gt=0, description="how many images the regressed moments count as; not stated")


class TransductiveGFZSL(GFZSL):
    """GFZSL, then EM over unlabelled images of the unseen classes (section 3.3): TRANSDUCTIVE.

    It looks at the test images it is scored on (without their labels), so its numbers are not comparable with
    inductive ones. Each step's class moments are shrunk to the regressed ones, which count as `prior` images.
    Seen classes keep their moments. Without `fit_unlabelled` it is plain GFZSL.
    """

    name = "gfzsl-transductive"
    title = "GFZSL, TRANSDUCTIVE"
    summary = "GFZSL, then expectation maximisation over unlabelled test images of the unseen classes."
    transductive = True
    Settings = TransductiveSettings
    settings: TransductiveSettings
    search_space = {
        **GFZSL.search_space,
        "steps": (3, 10, 30),
        "prior": (1.0, 10.0, 30.0),
    }
    learned = (*GFZSL.learned, "unlabelled")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """As GFZSL."""
        super().learn(train, seed, observe)
        self.unlabelled = np.empty((0, train.features.shape[1]), dtype=np.float32)

    def fit_unlabelled(self, features: NDArray[np.float32]) -> None:
        """Keep unlabelled images (n, d) of the unseen classes, for EM once the competing classes are known."""
        self.unlabelled = self.scaler(features)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """EM over the unseen classes, then Gaussian log-likelihoods."""
        means, variances = self.moments(signatures)
        unseen = ~seen_mask
        if len(self.unlabelled) and unseen.any():
            means[unseen], variances[unseen] = self._refine(means[unseen], variances[unseen])
        return lambda x: log_likelihood(x, means, variances)

    def _refine(self, means: Matrix, variances: Matrix) -> tuple[Matrix, Matrix]:
        settings = self.settings
        x, first = self.unlabelled.astype(np.float64), (means, variances + means**2)
        for _ in range(settings.steps):
            chances = softmax(log_likelihood(x, means, variances), axis=1)
            count = chances.sum(axis=0)[:, None] + settings.prior
            means = (chances.T @ x + settings.prior * first[0]) / count
            squares = (chances.T @ x**2 + settings.prior * first[1]) / count
            variances = np.maximum(squares - means**2, 0) + settings.floor
        return means, variances


def log_likelihood(x: NDArray[Any], means: Matrix, variances: Matrix) -> Matrix:
    """log N(x; μ, diag σ²) up to a constant: x (n, d), moments (classes, d) -> (n, classes)."""
    precision = 1 / variances
    x = x.astype(np.float64)
    distance = x**2 @ precision.T - 2 * x @ (means * precision).T + (means**2 * precision).sum(axis=1)
    return np.asarray(-0.5 * (distance + np.log(variances).sum(axis=1)))


def _kernel(a: NDArray[np.float32], b: NDArray[np.float32]) -> Matrix:
    return (1 + a.astype(np.float64) @ b.T) ** 2
