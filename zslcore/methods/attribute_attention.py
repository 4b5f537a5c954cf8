"""Attribute attention: each attribute looks at the regions that show it, as in MSDN (Chen et al., CVPR 2022)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._maps import PLAIN, MapMethod, MapSettings, compatibility, searched
from zslcore.methods._trained import Epochs
from zslcore.training.loop import Terms


class AttributeAttentionSettings(MapSettings):
    """Width of the attention, and the weight of the regression."""

    epochs: Epochs = 8
    width: int = Field(256, ge=1, description="dimension of queries and keys, and of the attributes' vectors")
    regression: float = Field(0.1, ge=0, description="weight of the squared error of attributes")


class AttributeAttention(MapMethod[AttributeAttentionSettings]):
    """min of cross-entropy of ψ(x)ᵀ s(y) over seen classes + λ ‖ψ(x) − s(y)‖²/a.

    Attribute k has a learned vector vₖ; αₖ = softmax over places of vₖᵀ K f / √d, Fₖ = Σ αₖ f, and ψₖ = vₖᵀ U Fₖ is how
    far it is there. This is MSDN's attribute-to-visual half, without its second half and their distillation, and with
    learned vectors for those of the attributes' names, which not every data set has.
    """

    name = "attribute-attention"
    title = "Attribute attention"
    citation = "after MSDN, Chen et al., CVPR 2022"
    summary = "Each attribute attends to the places that show it; what it finds there says how far it is present."
    family = "compatibility"
    Settings = AttributeAttentionSettings
    quick = {**PLAIN, "width": 32, "epochs": 40, "batch_size": 32, "lr": 0.01}
    search_space = searched(width=(128, 256, 512), regression=(0.0, 0.1, 1.0))
    network: "Attention"

    def build(self, image: tuple[int, int, int], attributes: int) -> nn.Module:
        """Attributes' vectors, K and U."""
        return Attention(image[2], attributes, self.settings.width)

    def terms(self, maps: Tensor, labels: Tensor, signatures: Tensor) -> Terms:
        """Cross-entropy and regression."""
        found = self.found(maps)
        cls = functional.cross_entropy(compatibility(found, signatures), labels)
        reg = (found - signatures[labels]).square().mean()
        return {"total": cls + self.settings.regression * reg, "cls": cls, "reg": reg}

    def found(self, maps: Tensor) -> Tensor:
        """ψ."""
        found: Tensor = self.network(maps)[0]
        return found

    def attribute_maps(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        """(n, h, w, c) -> (n, a, h, w): αₖ."""
        return self.in_blocks(lambda scaled: self.network(scaled)[1].unflatten(2, self.image[:2]), maps)


class Attention(nn.Module):
    """Maps (n, h, w, c) -> attributes ψ (n, a), and attention α (n, a, h·w)."""

    def __init__(self, channels: int, attributes: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(attributes, width))
        self.keys = nn.Linear(channels, width, bias=False)
        self.values = nn.Linear(channels, width, bias=False)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Softmax over places; the values are of the attended mean, as both are linear in f."""
        places = maps.flatten(1, 2)
        scale = self.vectors.shape[1] ** 0.5
        attention = (self.vectors @ self.keys(places).transpose(1, 2) / scale).softmax(2)
        found = ((attention @ self.values(places)) * self.vectors).sum(2) / scale
        return found, attention
