"""DEM: a deep embedding model (Zhang, Xiang and Gong, CVPR 2017)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.methods._scaled import ScaledMethod, Score, squared_distances
from zslcore.methods._trained import TrainedSettings, train_batches
from zslcore.methods.base import MethodSettings, Observe, TrainData
from zslcore.scaling import Scaling
from zslcore.training import seeded


class DEMSettings(TrainedSettings):
    """hidden: units. output: last activation (ReLU in the paper, whose features are never negative)."""

    hidden: int = 800
    relu_output: bool = False
    epochs: int = 30
    batch_size: int = 512
    lr: float = 0.001
    weight_decay: float = 0.001
    scaling: Scaling = "standard"
    signature_scaling: Scaling = "sphere"


class DEM(ScaledMethod):
    """min over W₁, W₂ of (1/n) Σᵢ ‖xᵢ − f(W₂ f(W₁ s(yᵢ)))‖² + λ(‖W₁‖² + ‖W₂‖²) (eq. 1-2), f = ReLU.

    Signatures are mapped into feature space, where the nearest mapped class wins: which suffers less from hubs.
    """

    name: ClassVar[str] = "dem"
    citation: ClassVar[str] = "Zhang, Xiang and Gong, CVPR 2017"
    Settings: ClassVar[type[MethodSettings]] = DEMSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("standard", "sphere", "root"),
        "signature_scaling": ("sphere", "standard"),
        "hidden": (400, 800),
        "lr": (0.0003, 0.001, 0.003),
        "weight_decay": (0.0, 0.01, 0.1, 0.5, 1.0),
        "epochs": (30,),
    }
    learned: ClassVar[tuple[str, ...]] = ("first", "first_bias", "second", "second_bias")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Train both layers."""
        settings: DEMSettings = self.settings
        x, labels, signatures = map(torch.from_numpy, (train.features, train.labels, train.signatures))

        def loss(rows: Tensor) -> Tensor:
            mapped = embed(signatures, layers, settings.relu_output)
            return (x[rows] - mapped[labels[rows]]).square().sum(dim=1).mean()

        with seeded(seed, self.name):
            a, d, hidden = signatures.shape[1], x.shape[1], settings.hidden
            layers = [torch.randn(a, hidden) * (2 / a) ** 0.5, torch.zeros(hidden)]
            layers += [torch.randn(hidden, d) * hidden**-0.5, torch.zeros(d)]
            for attribute, layer in zip(self.learned, layers, strict=True):
                setattr(self, attribute, layer.requires_grad_().detach().numpy())
            train_batches(loss, layers, settings, len(x), self.name, observe)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Minus the squared distance to each mapped signature, over the dimension."""
        layers = [torch.from_numpy(getattr(self, name).copy()) for name in self.learned]
        mapped = embed(torch.from_numpy(signatures), layers, self.settings.relu_output).numpy()
        return lambda x: -squared_distances(x, mapped) / x.shape[1]


def embed(signatures: Tensor, layers: list[Tensor], relu_output: bool) -> Tensor:
    """Signatures (K, a) in feature space (K, d)."""
    first, first_bias, second, second_bias = layers
    mapped = (signatures @ first + first_bias).relu() @ second + second_bias
    return mapped.relu() if relu_output else mapped
