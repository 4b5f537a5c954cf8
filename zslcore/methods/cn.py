"""CN: class normalisation (Skorokhodov and Elhoseiny, ICLR 2021)."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from zslcore.methods._scaled import FeatureScaling, ScaledMethod, Score, SignatureScaling, cosine
from zslcore.methods._trained import BatchSize, Decay, Epochs, Rate, TrainedSettings, train_batches
from zslcore.methods.base import Observe, TrainData
from zslcore.training.seeding import seeded


class CNSettings(TrainedSettings):
    """Widths and training; defaults chosen on validation classes."""

    hidden: int = Field(512, ge=1, description="units of each of the two hidden layers")
    scale: float = Field(5.0, gt=0, description="γ of eq. 4: logits are γ² times the cosine")
    epochs: Epochs = 30
    batch_size: BatchSize = 512
    lr: Rate = 0.001
    weight_decay: Decay = 0.0001
    scaling: FeatureScaling = "none"
    signature_scaling: SignatureScaling = "sphere"


class CN(ScaledMethod[CNSettings]):
    """Softmax cross-entropy of γ² cos(x, p(s)) over seen classes (eq. 4), p a network of three layers whose hidden
    units are standardised over the classes (eq. 9): (h − mean_K h) / std_K h, before the ReLU.

    The statistics are always those of the seen classes, recomputed from their signatures: no running averages.
    """

    name = "cn"
    title = "CN"
    citation = "Skorokhodov and Elhoseiny, ICLR 2021"
    summary = (
        "A network of three layers maps signatures to prototypes, its hidden units standardised over classes. "
        "Softmax of scaled cosines."
    )
    family = "deep"
    Settings = CNSettings
    quick = {"hidden": 64, "epochs": 20, "batch_size": 32, "lr": 0.003}
    search_space = {
        "scaling": ("none", "standard", "max"),
        "signature_scaling": ("sphere", "standard", "centred_sphere"),
        "scale": (4.0, 5.0, 7.0),
        "lr": (0.0005, 0.001, 0.002),
        "weight_decay": (0.0, 0.0001, 0.001),
        "epochs": (30,),
    }
    learned = ("first", "second", "third", "signatures")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Train the three layers."""
        settings = self.settings
        self.signatures = train.signatures
        x, labels, signatures = map(torch.from_numpy, (train.features, train.labels, train.signatures))
        x = functional.normalize(x)

        def loss(rows: Tensor) -> Tensor:
            prototypes = functional.normalize(embed(signatures, signatures, layers))
            return functional.cross_entropy(settings.scale**2 * x[rows] @ prototypes.T, labels[rows])

        with seeded(seed, self.name):
            sizes = (signatures.shape[1], settings.hidden, settings.hidden, x.shape[1])
            layers = [(torch.randn(i, o) * i**-0.5).requires_grad_() for i, o in pairwise(sizes)]
            train_batches(self, loss, dict(zip(self.learned, layers, strict=False)), len(x), observe)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """γ² cos(x, p(s))."""
        layers = [torch.from_numpy(getattr(self, name)) for name in self.learned[:3]]
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
