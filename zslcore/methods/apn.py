"""APN: attribute prototype network (Xu et al., NeurIPS 2020), on feature maps."""

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


class APNSettings(MapSettings):
    """The weights of the losses, which no search chose; the length was chosen on a validation split of birds."""

    epochs: Epochs = 8
    width: int = Field(512, ge=0, description="channels of a 1 × 1 layer before both branches; 0: none")
    regression: float = Field(1.0, ge=0, description="λ₁, of the squared error of attributes")
    decorrelation: float = Field(0.01, ge=0, description="λ₂, of prototypes that share channels across groups")
    compactness: float = Field(0.1, ge=0, description="λ₃, of similarity far from its maximum")
    groups: tuple[tuple[int, ...], ...] = Field(
        (), description="attributes that belong together, by number from 0; empty: each by itself"
    )
    prototypes: float = Field(1.0, ge=0, description="weight of âᵀ s(y) in the score; 0 in the paper")


class APN(MapMethod[APNSettings]):
    """min of L_CLS + λ₁ L_Reg + λ₂ L_AD + λ₃ L_CPT (eq. 5), with f the map after one learned layer.

    L_CLS: cross-entropy of g(x)ᵀ V s(y), g the mean of f over places (eq. 1). Prototype pₖ of an attribute gives the
    similarity map Mₖ = ⟨pₖ, f⟩, whose maximum âₖ is the attribute (eq. 2). In the paper the losses meet in the
    backbone, which they train; here in a 1 × 1 layer, and of maps before the last stage in that stage.
    """

    name = "apn"
    title = "APN"
    citation = "Xu et al., NeurIPS 2020"
    summary = (
        "A prototype for each attribute, whose similarity map says where it is seen; a global compatibility learns with"
        " it."
    )
    family = "compatibility"
    Settings = APNSettings
    quick = {**PLAIN, "width": 32, "epochs": 40, "batch_size": 32, "lr": 0.003}
    search_space = searched(
        width=(0, 512),
        regression=(0.1, 1.0, 10.0),
        decorrelation=(0.0, 0.01, 0.1),
        compactness=(0.0, 0.1, 1.0),
        prototypes=(0.0, 1.0),
    )
    network: "Prototypes"

    def build(self, image: tuple[int, int, int], attributes: int) -> nn.Module:
        """The layer, the prototypes (a, c) and V (c, a)."""
        return Prototypes(image[2], self.settings.width, attributes)

    def terms(self, maps: Tensor, labels: Tensor, signatures: Tensor) -> Terms:
        """Every term of eq. 5."""
        settings, network = self.settings, self.network
        similarity, pooled = network(maps)
        found = similarity.flatten(2).amax(2)
        scores = compatibility(self._both(found, pooled), signatures)
        terms = {
            "cls": functional.cross_entropy(scores, labels),
            "reg": (found - signatures[labels]).square().mean(),
            "ad": decorrelation(network.prototypes, settings.groups) / network.prototypes.numel() ** 0.5,
            "cpt": compactness(similarity),
        }
        weights = 1.0, settings.regression, settings.decorrelation, settings.compactness
        total = torch.stack([weight * term for weight, term in zip(weights, terms.values(), strict=True)]).sum()
        return {"total": total, **terms}

    def found(self, maps: Tensor) -> Tensor:
        """g(x)ᵀ V, and â by its weight."""
        similarity, pooled = self.network(maps)
        return self._both(similarity.flatten(2).amax(2), pooled)

    def _both(self, found: Tensor, pooled: Tensor) -> Tensor:
        return pooled @ self.network.compatibility + self.settings.prototypes * found

    def attribute_maps(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        """(n, h, w, c) -> (n, a, h, w): Mₖ."""
        return self.in_blocks(lambda scaled: self.network(scaled)[0], maps)


class Prototypes(nn.Module):
    """The layer before both branches, prototypes (a, d) and V (d, a)."""

    def __init__(self, channels: int, width: int, attributes: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(channels, width), nn.ReLU()) if width else nn.Identity()
        dimensions = width or channels
        self.prototypes = nn.Parameter(torch.randn(attributes, dimensions) * dimensions**-0.5)
        self.compatibility = nn.Parameter(torch.randn(dimensions, attributes) * dimensions**-0.5)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Similarity maps (n, a, h, w) and the mean over places (n, d)."""
        features = self.layer(maps)
        return torch.einsum("nhwd,ad->nahw", features, self.prototypes), features.mean((1, 2))


def decorrelation(prototypes: Tensor, groups: tuple[tuple[int, ...], ...] = ()) -> Tensor:
    """L_AD of eq. 3: over channels and groups, the sum of the length of a channel's values of the group's prototypes.

    prototypes: (a, d). groups: attributes of each, together all of them; empty: each by itself. A channel is cheap
    where few groups use it, so that groups take channels apart and attributes within one share them.
    """
    if not groups:
        return prototypes.abs().sum()
    return torch.stack([prototypes[list(group)].norm(dim=0).sum() for group in groups]).sum()


def compactness(similarity: Tensor) -> Tensor:
    """L_CPT of eq. 4: similarity times the squared distance to the place of its maximum; mean over images, attributes.

    similarity: (n, a, h, w). Places are counted in shares of the map's longer side, and what is below 0 counts as 0:
    else the loss could fall without end.
    """
    height, width = similarity.shape[2:]
    best = similarity.flatten(2).argmax(2)
    row, column = best // width, best % width
    rows = torch.arange(height, device=similarity.device)
    columns = torch.arange(width, device=similarity.device)
    down, right = rows - row[..., None], columns - column[..., None]
    squares = (down.square()[..., None] + right.square()[..., None, :]) / max(height, width) ** 2
    return (similarity.relu() * squares).sum((2, 3)).mean()
