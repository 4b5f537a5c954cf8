"""LATEM: latent embeddings for zero-shot classification (Xian et al., CVPR 2016)."""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from zslcore.methods._ranking import RankingMethod, RankingSettings, violations
from zslcore.methods._scaled import Score


class LATEMSettings(RankingSettings):
    """How many maps there are."""

    maps: int = Field(3, ge=1, description="K, the number of bilinear maps; the paper prunes a larger set")


class LATEM(RankingMethod[LATEMSettings]):
    """F(x, y) = max_k xᵀ W_k s(y) (eq. 2); min of (1/n) Σᵢ Σ_{y ≠ yᵢ} [margin + F(xᵢ, y) − F(xᵢ, yᵢ)]₊ (eq. 4).

    Only the winning map of each pair gets a gradient, as in the paper's algorithm 1, which draws one y an image where
    the whole sum stands here. The number of maps is a setting; the paper prunes a larger set.
    """

    name = "latem"
    title = "LATEM"
    citation = "Xian et al., CVPR 2016"
    summary = "Several bilinear maps; a pair scores by the best of them, and only that one learns from it."
    linear_scores = False
    Settings = LATEMSettings
    quick = {**RankingMethod.quick, "epochs": 3, "maps": 2, "margin": 3.0, "signature_scaling": "standard"}
    search_space = {
        "scaling": ("standard", "l2", "sphere"),
        "signature_scaling": ("l2", "standard", "centred"),
        "margin": (0.1, 0.3, 1.0, 3.0),
        "maps": (2, 3, 4),
        "lr": (0.0001, 0.0003, 0.001, 0.003),
        "weight_decay": (0.0, 0.0001, 0.001),
        "epochs": (12,),
    }

    def start(self, d: int, a: int) -> Tensor:
        """(maps, d, a)."""
        return torch.randn(self.settings.maps, d, a) / (d * a) ** 0.5

    def compatibility(self, x: Tensor, weights: Tensor, signatures: Tensor) -> Tensor:
        """The best map of every pair."""
        return (x @ (weights @ signatures.T)).amax(dim=0)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The sum of each image's violations."""
        return violations(scores, labels, self.settings.margin).sum(dim=1).mean()

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """max_k xᵀ W_k s."""
        classes = self.weights @ signatures.T
        return lambda x: (x @ classes).max(axis=0)
