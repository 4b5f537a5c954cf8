"""ESZSL: an embarrassingly simple closed form (Romera-Paredes and Torr, ICML 2015)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from zslcore.errors import ZSLError
from zslcore.methods.base import (
    LinearScorer,
    Method,
    MethodSettings,
    Observe,
    Scorer,
    TrainData,
    check_classes,
)
from zslcore.scaling import Scaler, Scaling


class ESZSLSettings(MethodSettings):
    """alpha, gamma: base-10 exponents of the ridge terms on features and on signatures."""

    alpha: float = 3.0
    gamma: float = 0.0
    scaling: Scaling = "standard"
    normalise_signatures: bool = True


class ESZSL(Method):
    """min over W of ‖XᵀW S − Y‖² + γ‖W S‖² + λ‖XᵀW‖² + γλ‖W‖², with Y = ±1.

    Solved as W = (X Xᵀ + 10^alpha I)⁻¹ X Y Sᵀ (S Sᵀ + 10^gamma I)⁻¹; images score xᵀ W s.
    """

    name: ClassVar[str] = "eszsl"
    citation: ClassVar[str] = "Romera-Paredes and Torr, ICML 2015"
    Settings: ClassVar[type[MethodSettings]] = ESZSLSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("standard", "l2", "max"),
        "alpha": (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
        "gamma": (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
    }
    random: ClassVar[bool] = False

    def fit(self, train: TrainData, seed: int = 0, observe: Observe | None = None) -> Self:
        """Solve the two ridge systems, the one over images in its smaller form (primal or dual)."""
        settings: ESZSLSettings = self.settings
        self.seen_classes = len(train.signatures)
        self.scaler = Scaler.fit(train.features, settings.scaling)
        x = self.scaler(train.features).astype(np.float64)
        s = self._signatures(train.signatures)
        y = np.where(train.labels[:, None] == np.arange(self.seen_classes), 1.0, -1.0)
        left = ridge(x, y, 10.0**settings.alpha)
        covariance = s.T @ s + 10.0**settings.gamma * np.eye(s.shape[1])
        self.weights = solve(covariance, (left @ s).T, assume_a="pos").T.astype(np.float32)
        return self

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Linear scores over the classes."""
        check_classes(signatures, seen_mask, self.seen_classes, self.weights.shape[1])
        return LinearScorer(self.scaler, self.weights @ self._signatures(signatures).T)

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights (d, a) and the scaler."""
        return {"weights": self.weights, "seen_classes": np.array(self.seen_classes), **self.scaler.state()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        self.weights, self.seen_classes = state["weights"], int(state["seen_classes"])
        self.scaler = Scaler.from_state(self.settings.scaling, state)

    def _signatures(self, signatures: NDArray[np.float32]) -> NDArray[np.float64]:
        s = signatures.astype(np.float64)
        if self.settings.normalise_signatures:
            return s / np.maximum(np.linalg.norm(s, axis=1, keepdims=True), 1e-12)
        return s


def ridge(x: NDArray[np.float64], y: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """(XᵀX + strength I)⁻¹ Xᵀ Y for x (n, d), y (n, k): by the d×d system, or the n×n one where that is smaller.

    Raises ZSLError when strength is 0 and the system is singular.
    """
    n, d = x.shape
    try:
        if d <= n:
            return np.asarray(solve(x.T @ x + strength * np.eye(d), x.T @ y, assume_a="pos"))
        return np.asarray(x.T @ solve(x @ x.T + strength * np.eye(n), y, assume_a="pos"))
    except np.linalg.LinAlgError as error:
        raise ZSLError(f"singular system without enough regularisation ({strength:g}); use a larger one") from error
