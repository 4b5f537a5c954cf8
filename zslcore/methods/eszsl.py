"""ESZSL: an embarrassingly simple closed form (Romera-Paredes and Torr, ICML 2015)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from zslcore.methods._linalg import one_hot, ridge
from zslcore.methods._scaled import LinearMethod, ScaledSettings
from zslcore.methods.base import MethodSettings, Observe, TrainData
from zslcore.scaling import Scaling


class ESZSLSettings(ScaledSettings):
    """alpha, gamma: base-10 exponents of the ridge terms on features and on signatures.

    absent: Y of the wrong classes, −1 in the paper and 0 in later code (the same on centred features, but for scale).
    """

    alpha: float = -1.0
    gamma: float = -1.0
    absent: Literal[-1, 0] = 0
    scaling: Scaling = "l2"


class ESZSL(LinearMethod):
    """min over W of ‖XᵀW S − Y‖² + γ‖W S‖² + λ‖XᵀW‖² + γλ‖W‖², with Y = 1 or `absent`.

    Solved as W = (X Xᵀ + 10^alpha I)⁻¹ X Y Sᵀ (S Sᵀ + 10^gamma I)⁻¹; images score xᵀ W s.
    """

    name: ClassVar[str] = "eszsl"
    citation: ClassVar[str] = "Romera-Paredes and Torr, ICML 2015"
    Settings: ClassVar[type[MethodSettings]] = ESZSLSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("standard", "l2", "max"),
        "absent": (0, -1),
        "alpha": (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
        "gamma": (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
    }
    random: ClassVar[bool] = False

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Solve the two ridge systems, each in its smaller form."""
        settings: ESZSLSettings = self.settings
        y = np.where(one_hot(train.labels, self.seen_classes), 1.0, settings.absent)
        left = ridge(train.features, y, 10.0**settings.alpha)
        self.weights = ridge(train.signatures, left.T, 10.0**settings.gamma).T.astype(np.float32)
