"""DeViSE: a deep visual-semantic embedding model (Frome et al., NIPS 2013)."""

from torch import Tensor

from zslcore.methods._ranking import RankingMethod, RankingSettings, violations


class DeViSE(RankingMethod[RankingSettings]):
    """min over W of (1/n) Σᵢ Σ_{y ≠ yᵢ} [margin − s(yᵢ)ᵀ W x + s(y)ᵀ W x]₊ (eq. 1), signatures at unit length.

    The whole sum, where the authors stop at the first violating class of a random order to save time.
    """

    name = "devise"
    title = "DeViSE"
    citation = "Frome et al., NIPS 2013"
    summary = (
        "A bilinear map and a hinge loss, all violating classes of an image counted alike. Signatures have unit length."
    )
    Settings = RankingSettings
    search_space = {
        "scaling": ("standard", "l2", "sphere"),
        "signature_scaling": ("l2", "standard", "centred"),
        "margin": (0.1, 0.3, 1.0, 3.0),
        "lr": (0.0001, 0.0003, 0.001, 0.003, 0.01),
        "weight_decay": (0.0, 0.0001, 0.001),
        "epochs": (20,),
    }

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The sum of each image's violations."""
        return violations(scores, labels, self.settings.margin).sum(dim=1).mean()
