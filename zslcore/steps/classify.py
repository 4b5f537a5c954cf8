"""The final classifiers, over any label space: softmax, cosine softmax, or nearest synthetic mean."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zslcore.losses import class_means
from zslcore.settings import Classify
from zslcore.training import minimise, seeded, tensor

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Features (n, m) and their labels (n,)."""
DEFAULT_EPOCHS = 25
"""Where neither the settings nor `select` say how long to train."""
SMALLEST_SPREAD = 0.05
"""A unit that is nearly always off would otherwise dominate after standardising: M's outputs lie in (0, 1)."""


Scores = Callable[[Tensor], Tensor]
"""Features (n, m) -> scores (n, classes)."""


@dataclass
class Classifier:
    """A fitted classifier over `classes` labels."""

    logits: Scores
    device: torch.device

    def kept_to(self, mask: NDArray[np.bool_]) -> "Classifier":
        """The same classifier with only the classes of `mask` (classes,) bool competing."""
        kept = torch.from_numpy(np.flatnonzero(mask)).to(self.device)
        return Classifier(lambda x: self.logits(x)[:, kept], self.device)

    @torch.inference_mode()
    def scores(
        self, features: NDArray[np.float32], beside: NDArray[np.float32] | None = None, block: int = 8192
    ) -> NDArray[np.float32]:
        """Log-probabilities (n, classes) float32 of features (n, m); `beside` (n, classes) is added to the logits."""
        parts = []
        for start in range(0, len(features), block):
            rows = slice(start, start + block)
            logits = self.logits(tensor(features[rows], self.device))
            if beside is not None:
                logits = logits + tensor(beside[rows], self.device)
            parts.append(functional.log_softmax(logits, dim=1))
        return torch.cat(parts).cpu().numpy()


def training_set(
    real: Labelled | None, seen: Labelled, unseen: Labelled, seen_mask: NDArray[np.bool_], settings: Classify
) -> Labelled:
    """What the classifier of one label space learns from: features (n, m), labels 0..classes-1.

    real: projected trainval features with labels among the seen classes, or None where only unseen classes compete.
    seen, unseen: synthetic features, labels among the seen and the unseen classes. seen_mask: (classes,) bool.
    """
    seen_classes, unseen_classes = np.flatnonzero(seen_mask), np.flatnonzero(~seen_mask)
    parts = [(unseen[0], unseen_classes[unseen[1]])]
    if real is not None and settings.seen in ("real", "both"):
        parts.append((real[0], seen_classes[real[1]]))
    if real is not None and settings.seen in ("synthetic", "both"):
        parts.append((seen[0], seen_classes[seen[1]]))
    return np.concatenate([features for features, _ in parts]), np.concatenate([labels for _, labels in parts])


def fit_classifier(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    settings: Classify,
    seed: int,
    device: torch.device,
    purpose: str,
    members: int = 1,
) -> Classifier:
    """Fit on (n, m) features, real or synthetic, with labels 0..classes-1. purpose names the random stream.

    members: the columns are that many feature spaces side by side; each has a classifier of its own, and their
    log-probabilities are averaged.
    """
    y = tensor(labels, device)
    each = [
        _KINDS[settings.kind](x, y, classes, settings, seed, f"{purpose}/{member}")
        for member, x in enumerate(tensor(features, device).chunk(members, dim=1))
    ]

    def logits(x: Tensor) -> Tensor:
        parts = zip(each, x.chunk(members, dim=1), strict=True)
        return torch.stack([functional.log_softmax(own(block), dim=1) for own, block in parts]).mean(0)

    return Classifier(logits, device)


def _softmax(x: Tensor, y: Tensor, classes: int, settings: Classify, seed: int, purpose: str) -> Scores:
    with seeded(seed, f"classify/{purpose}"):
        linear = nn.Linear(x.shape[1], classes).to(x.device)
        shift, spread = (x.mean(0), x.std(0).clamp_min(SMALLEST_SPREAD)) if settings.standardise else (0.0, 1.0)
        _minimise(linear, linear.parameters(), (x - shift) / spread, y, settings)
    linear.requires_grad_(False)
    return lambda z: linear((z - shift) / spread)


def _cosine(x: Tensor, y: Tensor, classes: int, settings: Classify, seed: int, purpose: str) -> Scores:
    centre = x.mean(0)
    weights = nn.Parameter(class_means(x, y, classes) - centre)

    def logits(z: Tensor) -> Tensor:
        return settings.temperature * functional.normalize(z - centre) @ functional.normalize(weights).T

    with seeded(seed, f"classify/{purpose}"):
        _minimise(logits, [weights], x, y, settings)
    weights.requires_grad_(False)
    return logits


def _prototype(x: Tensor, y: Tensor, classes: int, settings: Classify, seed: int, purpose: str) -> Scores:
    means = class_means(x, y, classes)
    return lambda z: -torch.cdist(z, means).square()


_KINDS = {"softmax": _softmax, "cosine": _cosine, "prototype": _prototype}


def _minimise(logits: Scores, parameters: Iterable[Tensor], x: Tensor, y: Tensor, settings: Classify) -> None:
    minimise(
        lambda rows, epoch: {"total": functional.cross_entropy(logits(x[rows]), y[rows])},
        parameters,
        count=len(x),
        epochs=settings.epochs or DEFAULT_EPOCHS,
        batch_size=settings.batch_size,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        label="classify",
    )
