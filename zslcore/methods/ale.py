"""ALE: attribute label embedding with a weighted approximate ranking loss (Akata et al., PAMI 2016)."""

import torch
from torch import Tensor

from zslcore.methods._ranking import RankingMethod, RankingSettings, violations


class ALE(RankingMethod[RankingSettings]):
    """min over W of (1/n) Σᵢ β(rᵢ)/rᵢ Σ_{y ≠ yᵢ} [margin + xᵢᵀ W s(y) − xᵢᵀ W s(yᵢ)]₊, β(r) = Σ_{j ≤ r} 1/j (eq. 13).

    rᵢ, the number of violating classes, is counted; WARP's sampling only estimates it, (K − 1) over the draws it took.
    """

    name = "ale"
    title = "ALE"
    citation = "Akata et al., PAMI 2016"
    summary = "A bilinear map and a ranking loss: violations are weighted by how far down they push the true class."
    Settings = RankingSettings
    quick = {**RankingMethod.quick, "epochs": 40, "signature_scaling": "standard"}
    search_space = {
        "scaling": ("standard", "l2", "sphere"),
        "signature_scaling": ("l2", "standard", "centred"),
        "margin": (0.3, 1.0, 3.0),
        "lr": (0.0003, 0.001, 0.003, 0.01),
        "weight_decay": (0.0, 0.0001, 0.001),
        "epochs": (20,),
    }

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Violations weighted by the rank they put the right class at."""
        excess = violations(scores, labels, self.settings.margin)
        rank = (excess > 0).sum(dim=1)
        beta = torch.cumsum(torch.cat([torch.zeros(1), 1 / torch.arange(1, scores.shape[1])]), 0)
        return (beta[rank] / rank.clamp(min=1) * excess.sum(dim=1)).mean()
