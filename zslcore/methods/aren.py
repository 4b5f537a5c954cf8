"""AREN: attentive region embedding, with a second-order stream (Xie et al., CVPR 2019), on feature maps."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._maps import ChannelScaling, MapMethod, MapSettings, compatibility, searched
from zslcore.methods._scaled import SignatureScaling
from zslcore.methods._trained import Epochs
from zslcore.training.loop import Terms


class ARENSettings(MapSettings):
    """Parts, threshold, compression and dropout as the authors' code has them."""

    scaling: ChannelScaling = "standard"
    signature_scaling: SignatureScaling = "sphere"
    epochs: Epochs = 20
    parts: int = Field(10, ge=1, description="attention masks")
    threshold: float = Field(
        0.8, ge=0, le=1, description="share of the image's largest attention that a part must reach, else it is off"
    )
    compressed: int = Field(20, ge=1, description="channels of the compressed side of the second-order stream")
    dropout: float = Field(0.4, ge=0, lt=1, description="of each stream's attributes")
    fusion: float = Field(0.5, ge=0, le=1, description="share of the second-order stream in the score; not stated")


class AREN(MapMethod[ARENSettings]):
    """min of the mean of two cross-entropies over seen classes, of compatibilities v(x)ᵀ s(y), one for each stream.

    Attention masks are sigmoids of a 1 × 1 convolution. First stream: the map under each mask, max pooled, all of them
    in one linear map to the attributes. Second: products of a compressed map with the map under each mask, mean over
    places, maximum over parts. A part whose attention stays below `threshold` of the image's largest is off in both.
    """

    name = "aren"
    title = "AREN"
    citation = "Xie et al., CVPR 2019"
    summary = (
        "Attention finds parts, of which weak ones are off; their features and their second-order statistics are mapped"
        " to attributes, and both scores fused."
    )
    family = "compatibility"
    Settings = ARENSettings
    quick = {"epochs": 30, "batch_size": 32, "lr": 0.01, "parts": 3, "compressed": 4, "dropout": 0.0}
    search_space = searched(fusion=(0.0, 0.3, 0.5), parts=(5, 10), lr=(0.0001, 0.0003, 0.001))
    network: "Streams"

    def build(self, image: tuple[int, int, int], attributes: int) -> nn.Module:
        """Both streams."""
        settings = self.settings
        return Streams(image[2], attributes, settings.parts, settings.threshold, settings.compressed, settings.dropout)

    def terms(self, maps: Tensor, labels: Tensor, signatures: Tensor) -> Terms:
        """The cross-entropy of each stream."""
        first, second = (
            functional.cross_entropy(compatibility(stream, signatures), labels) for stream in self.network(maps)
        )
        return {"total": (first + second) / 2, "regions": first, "second_order": second}

    def found(self, maps: Tensor) -> Tensor:
        """The fused attributes of both streams."""
        first, second = self.network(maps)
        return torch.lerp(first, second, self.settings.fusion)


class Streams(nn.Module):
    """Maps (n, h, w, c) -> attributes (n, a) by each stream."""

    def __init__(
        self, channels: int, attributes: int, parts: int, threshold: float, compressed: int, dropout: float
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.attention = nn.Linear(channels, parts)
        self.regions = nn.Linear(channels * parts, attributes, bias=False)
        self.compress = nn.Linear(channels, compressed)
        self.second_order = nn.Linear(compressed * channels, attributes, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Attributes by regions, and by second-order statistics."""
        places = maps.flatten(1, 2)
        masks = thresholded(self.attention(places).sigmoid(), self.threshold)
        # One part after the other: all at once would hold the map `parts` times.
        regions = [(places * part[..., None]).max(1).values for part in masks.unbind(2)]
        first = self.regions(torch.cat(regions, dim=1))
        # The mask goes to the small side of the product, so that no gradient as large as the map is made.
        attended = (masks[..., None] * self.compress(places)[:, :, None]).flatten(2) / places.shape[1]
        products = (attended.transpose(1, 2) @ places).unflatten(1, (masks.shape[2], -1))
        return self.dropout(first), self.dropout(self.second_order(products.max(1).values.flatten(1)))


def thresholded(masks: Tensor, threshold: float) -> Tensor:
    """Attention (n, places, parts) in [0, 1], 0 for a part whose maximum is below `threshold` of the image's."""
    highest = masks.amax(1, keepdim=True)
    return masks * (highest >= threshold * highest.amax(2, keepdim=True))
