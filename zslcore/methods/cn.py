"""CN: class normalisation (Skorokhodov and Elhoseiny, ICLR 2021)."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from zslcore.methods._scaled import ScaledMethod, Score, cosine
from zslcore.methods._trained import TrainedSettings, train_batches
from zslcore.methods.base import MethodSettings, Observe, TrainData
from zslcore.scaling import Scaling
from zslcore.training import seeded


class CNSettings(TrainedSettings):
    """hidden: units of both hidden layers. scale: γ of the cosine logits."""

    hidden: int = 512
    scale: float = 5.0
    epochs: int = 30
    batch_size: int = 512
    lr: float = 0.001
    weight_decay: float = 0.0001
    scaling: Scaling = "none"
    signature_scaling: Scaling = "sphere"


class CN(ScaledMethod):
    """Softmax cross-entropy of γ² cos(x, p(s)) over seen classes (eq. 4), p a network of three layers whose hidden
    units are standardised over the classes (eq. 9): (h − mean_K h) / std_K h, before the ReLU.

    The statistics are always those of the seen classes, recomputed from their signatures: no running averages.
    """

    name: ClassVar[str] = "cn"
    citation: ClassVar[str] = "Skorokhodov and Elhoseiny, ICLR 2021"
    Settings: ClassVar[type[MethodSettings]] = CNSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scaling": ("none", "standard", "max"),
        "signature_scaling": ("sphere", "standard"),
        "scale": (4.0, 5.0, 7.0),
        "lr": (0.0005, 0.001, 0.002),
        "weight_decay": (0.0, 0.0001, 0.001),
        "epochs": (30,),
    }
    learned: ClassVar[tuple[str, ...]] = ("first", "second", "third", "signatures")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Train the three layers."""
        settings: CNSettings = self.settings
        self.signatures = train.signatures
        x, labels, signatures = map(torch.from_numpy, (train.features, train.labels, train.signatures))
        x = functional.normalize(x)

        def loss(rows: Tensor) -> Tensor:
            prototypes = functional.normalize(embed(signatures, signatures, layers))
            return functional.cross_entropy(settings.scale**2 * x[rows] @ prototypes.T, labels[rows])

        with seeded(seed, self.name):
            sizes = (signatures.shape[1], settings.hidden, settings.hidden, x.shape[1])
            layers = [torch.randn(i, o) * i**-0.5 for i, o in pairwise(sizes)]
            for attribute, layer in zip(self.learned, layers, strict=False):
                setattr(self, attribute, layer.requires_grad_().detach().numpy())
            train_batches(loss, layers, settings, len(x), self.name, observe)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """γ² cos(x, p(s))."""
        layers = [torch.from_numpy(getattr(self, name).copy()) for name in self.learned[:3]]
        prototypes = embed(torch.from_numpy(signatures), torch.from_numpy(self.signatures), layers).numpy()
        return lambda x: self.settings.scale**2 * cosine(x, prototypes)


def embed(signatures: Tensor, seen: Tensor, layers: list[Tensor]) -> Tensor:
    """Prototypes (K, d) of signatures (K, a); seen (seen classes, a): those whose statistics standardise."""
    *hidden, last = layers
    for layer in hidden:
        signatures, seen = signatures @ layer, seen @ layer
        mean, spread = seen.mean(dim=0), seen.std(dim=0, correction=0) + 1e-5
        signatures, seen = ((signatures - mean) / spread).relu(), ((seen - mean) / spread).relu()
    return signatures @ last
