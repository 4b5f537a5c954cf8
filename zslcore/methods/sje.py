"""SJE: structured joint embedding (Akata et al., CVPR 2015)."""

from torch import Tensor

from zslcore.methods._ranking import RankingMethod, RankingSettings, violations


class SJE(RankingMethod[RankingSettings]):
    """min over W of (1/n) Σᵢ max_y [Δ(yᵢ, y) + xᵢᵀ W s(y) − xᵢᵀ W s(yᵢ)]₊, Δ = margin for every wrong y (eq. 5-6)."""

    name = "sje"
    title = "SJE"
    citation = "Akata et al., CVPR 2015"
    summary = (
        "A bilinear map and a hinge loss, as in a structured SVM: only the worst violating class of an image counts."
    )
    Settings = RankingSettings
    search_space = {
        "scaling": ("standard", "l2", "sphere"),
        "signature_scaling": ("l2", "standard", "centred"),
        "margin": (0.5, 1.0, 2.0, 4.0),
        "lr": (0.0003, 0.001, 0.003, 0.01),
        "weight_decay": (0.0, 0.0001, 0.001),
        "epochs": (20,),
    }

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The worst violation of each image."""
        return violations(scores, labels, self.settings.margin).amax(dim=1).mean()
