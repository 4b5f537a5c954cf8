"""Attribute maps: the plain baseline of the methods on feature maps, a 1 × 1 convolution and max pooling."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._maps import PLAIN, MapMethod, MapSettings, searched
from zslcore.training.loop import Terms


class AttributeMaps(MapMethod[MapSettings]):
    """min over W, b of cross-entropy over seen classes of âᵀ s(y) / √a, âₖ = max over places of wₖᵀ f + bₖ.

    An attribute is as present as it is at the place that shows it best.
    """

    name = "attribute-maps"
    title = "Attribute maps"
    citation = "plain baseline"
    summary = "A linear map of each place to attributes, of which the largest over the picture counts."
    family = "compatibility"
    Settings = MapSettings
    quick = {**PLAIN, "epochs": 40, "batch_size": 32, "lr": 0.03, "weight_decay": 1e-3}
    search_space = searched(weight_decay=(0.0, 0.0001, 0.001, 0.01))

    def build(self, image: tuple[int, int, int], attributes: int) -> nn.Module:
        """The 1 × 1 convolution, as a linear layer of the channels."""
        return nn.Linear(image[2], attributes)

    def terms(self, maps: Tensor, labels: Tensor, signatures: Tensor) -> Terms:
        """Cross-entropy."""
        return {"total": functional.cross_entropy(self.logits(maps, signatures), labels)}

    def found(self, maps: Tensor) -> Tensor:
        """â."""
        found: Tensor = self.network(maps).flatten(1, 2).amax(1)
        return found

    def attribute_maps(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        """(n, h, w, c) -> (n, a, h, w): wₖᵀ f + bₖ at each place."""
        return self.in_blocks(lambda scaled: self.network(scaled).permute(0, 3, 1, 2), maps)
