"""DEM: a deep embedding model (Zhang, Xiang and Gong, CVPR 2017)."""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from zslcore.methods._scaled import FeatureScaling, ScaledMethod, Score, SignatureScaling, squared_distances
from zslcore.methods._trained import BatchSize, Decay, Epochs, Rate, TrainedSettings, train_batches
from zslcore.methods.base import Observe, TrainData
from zslcore.training.seeding import seeded


class DEMSettings(TrainedSettings):
    """Widths and training; defaults for standardised features, chosen on validation classes."""

    hidden: int = Field(800, ge=1, description="units of the hidden layer")
    relu_output: bool = Field(
        False, description="ReLU as last activation, as in the paper, whose features are never negative"
    )
    epochs: Epochs = 30
    batch_size: BatchSize = 512
    lr: Rate = 0.001
    weight_decay: Decay = 0.001
    scaling: FeatureScaling = "standard"
    signature_scaling: SignatureScaling = "sphere"


class DEM(ScaledMethod[DEMSettings]):
    """min over W₁, W₂ of (1/n) Σᵢ ‖xᵢ − f(W₂ f(W₁ s(yᵢ)))‖² + λ(‖W₁‖² + ‖W₂‖²) (eq. 1-2), f = ReLU.

    Signatures are mapped into feature space, where the nearest mapped class wins: which suffers less from hubs.
    """

    name = "dem"
    title = "DEM"
    citation = "Zhang, Xiang and Gong, CVPR 2017"
    summary = (
        "A network of two layers maps signatures into feature space by regression. The nearest mapped class wins,"
        " which spares the hubs of the other direction."
    )
    family = "deep"
    Settings = DEMSettings
    quick = {"hidden": 64, "epochs": 60, "batch_size": 32, "lr": 0.01}
    search_space = {
        "scaling": ("standard", "sphere", "root"),
        "signature_scaling": ("sphere", "standard", "centred_sphere"),
        "hidden": (400, 800),
        "lr": (0.0003, 0.001, 0.003),
        "weight_decay": (0.0, 0.01, 0.1, 0.5, 1.0),
        "epochs": (30,),
    }
    learned = ("first", "first_bias", "second", "second_bias")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Train both layers."""
        settings = self.settings
        x, labels, signatures = map(torch.from_numpy, (train.features, train.labels, train.signatures))

        def loss(rows: Tensor) -> Tensor:
            mapped = embed(signatures, layers, settings.relu_output)
            return (x[rows] - mapped[labels[rows]]).square().sum(dim=1).mean()

        with seeded(seed, self.name):
            a, d, hidden = signatures.shape[1], x.shape[1], settings.hidden
            layers = [torch.randn(a, hidden) * (2 / a) ** 0.5, torch.zeros(hidden)]
            layers += [torch.randn(hidden, d) * hidden**-0.5, torch.zeros(d)]
            parameters = {name: layer.requires_grad_() for name, layer in zip(self.learned, layers, strict=True)}
            train_batches(self, loss, parameters, len(x), observe)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Minus the squared distance to each mapped signature, over the dimension."""
        layers = [torch.from_numpy(getattr(self, name)) for name in self.learned]
        mapped = embed(torch.from_numpy(signatures), layers, self.settings.relu_output).numpy()
        return lambda x: -squared_distances(x, mapped) / x.shape[1]


def embed(signatures: Tensor, layers: list[Tensor], relu_output: bool) -> Tensor:
    """Signatures (K, a) in feature space (K, d)."""
    first, first_bias, second, second_bias = layers
    mapped = (signatures @ first + first_bias).relu() @ second + second_bias
    return mapped.relu() if relu_output else mapped
