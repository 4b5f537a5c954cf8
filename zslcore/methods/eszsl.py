"""ESZSL: an embarrassingly simple closed form (Romera-Paredes and Torr, ICML 2015)."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.io.rows import Rows, fits
from zslcore.methods._linalg import Array, one_hot, products, ridge, solve_positive
from zslcore.methods._scaled import FeatureScaling, LinearMethod, ScaledSettings, SignatureScaling
from zslcore.methods.base import Observe, TrainData


class ESZSLSettings(ScaledSettings):
    """The ridge terms; the paper searches their exponents."""

    alpha: float = Field(-1.0, description="base-10 exponent of the ridge term on the features' side")
    gamma: float = Field(0.0, description="base-10 exponent of the ridge term on the signatures' side")
    absent: Literal[-1, 0] = Field(
        0,
        description="Y of the wrong classes: −1 in the paper, 0 in later code (the same on centred features, but for"
        " scale)",
    )
    scaling: FeatureScaling = "l2"
    signature_scaling: SignatureScaling = "centred"  # on validation classes of CUB 3.4 points of (T1 + H) / 2 over l2


class ESZSL(LinearMethod[ESZSLSettings]):
    """min over W of ‖XᵀW S − Y‖² + γ‖W S‖² + λ‖XᵀW‖² + γλ‖W‖², with Y = 1 or `absent`.

    Solved as W = (X Xᵀ + 10^alpha I)⁻¹ X Y Sᵀ (S Sᵀ + 10^gamma I)⁻¹; images score xᵀ W s, in units of what such scores
    spread over the classes that compete, on training images. These shrink as there are more seen classes to tell apart:
    in their units a calibration factor, a temperature and a threshold mean the same over any classes.
    """

    name = "eszsl"
    title = "ESZSL"
    citation = "Romera-Paredes and Torr, ICML 2015"
    summary = (
        "A bilinear map from features to signatures with squared loss on the class scores, by two ridge regressions."
    )
    Settings = ESZSLSettings
    search_space = {
        "scaling": ("standard", "l2", "max"),
        "signature_scaling": ("centred", "l2"),
        "absent": (0, -1),
        "alpha": (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
        "gamma": (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
    }
    random = False
    streams = True
    learned = ("weights", "moments")
    moments: Array

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Solve the two ridge systems, each in its smaller form."""
        settings, x = self.settings, train.features
        if isinstance(x, Rows) or not fits(len(train.labels), self.seen_classes):
            gram, by_class = products(x, train.labels, self.seen_classes)
            wrong = settings.absent * by_class.sum(axis=0)
            left = solve_positive(gram, ((1 - settings.absent) * by_class + wrong).T, 10.0**settings.alpha)
        else:
            y = np.where(one_hot(train.labels, self.seen_classes), 1.0, settings.absent)
            left = ridge(x, y, 10.0**settings.alpha)
        self.weights = ridge(train.signatures, left.T, 10.0**settings.gamma).T.astype(np.float32)
        if isinstance(x, Rows):
            self.moments = (self.weights.T @ gram @ self.weights / len(x)).astype(np.float32)
        else:
            z = x @ self.weights
            self.moments = z.T @ z / np.float32(len(x))

    def unit(self, signatures: NDArray[np.float32]) -> float:
        """√ of the scores' variance over these classes (classes, a), mean over the training images; 1 where that is 0.

        With M = E[z zᵀ] of z = Wᵀx and s̄ the mean signature: the mean over classes of (s − s̄)ᵀ M (s − s̄).
        """
        apart = signatures - signatures.mean(axis=0)
        return float(np.sqrt(((apart @ self.moments) * apart).sum(axis=1).mean())) or 1.0

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned; older files have no moments, and go with factors of the bare scores."""
        attributes = state["weights"].shape[1]
        super().set_state({"moments": np.zeros((attributes, attributes), np.float32), **state})
