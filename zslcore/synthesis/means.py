"""Class means of real and of synthetic features, and how far an image is from them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from zslcore.io.rows import Rows, map_rows
from zslcore.nn.blocks import apply_in_blocks
from zslcore.scaling import class_means
from zslcore.synthesis.classifier import FeaturesAndLabels

SMALLEST_SPREAD = 1e-3
"""Of a dimension; one that is nearly constant would outweigh all others."""


@dataclass(frozen=True)
class ClassMeans:
    """Means (classes, m) of features as the classifiers see them, divided by `spread` (m,).

    synthetic: of synthetic features, where a class has any; real: of real ones, where a class has any; else of the
    others. spread: of real features within their class.
    """

    synthetic: NDArray[np.float32]
    real: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def of(
        cls, real: FeaturesAndLabels, seen: FeaturesAndLabels, unseen: FeaturesAndLabels, seen_mask: NDArray[np.bool_]
    ) -> Self:
        """real: trainval images, labels among the seen classes; seen, unseen: synthetic, labels among their side."""
        count = int(seen_mask.sum())
        of_real, of_squares = _moments(*real, count)
        spread = np.sqrt((of_squares - of_real**2).mean(axis=0).clip(SMALLEST_SPREAD**2))
        synthetic = np.empty((len(seen_mask), real[0].shape[1]), np.float32)
        synthetic[~seen_mask] = _means(*unseen, len(seen_mask) - count)
        by_class = synthetic.copy()
        by_class[seen_mask] = of_real
        synthetic[seen_mask] = _means(*seen, count) if len(seen[0]) else of_real
        return cls(synthetic / spread, by_class / spread, spread)

    def distances(self, features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Euclidean distances of (n, m) features to the means of each kind: (n, classes) by `synthetic` and `real`."""
        kinds = {"synthetic": self.synthetic, "real": self.real}
        return {
            kind: apply_in_blocks(lambda x, means=means: _distances(x / self.spread, means), features, 4096)  # type: ignore[misc]
            for kind, means in kinds.items()
        }


def condensed(features: NDArray[np.float32], labels: NDArray[np.int64]) -> FeaturesAndLabels:
    """Two points a class with the means and spreads of its features (n, m): all that `ClassMeans` asks of real ones."""
    count = int(labels.max()) + 1
    pairs = np.tile(np.arange(count), 2)
    if np.array_equal(labels, pairs):
        return features, labels
    means, of_squares = _moments(features, labels, count)
    spreads = np.sqrt((of_squares - means**2).clip(0))
    return np.concatenate([means - spreads, means + spreads]), pairs


def _moments(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(classes, m) each: means of features, and of their squares; of `Rows` in one pass."""
    if isinstance(features, Rows):
        both = _means(map_rows(features, lambda x: np.hstack([x, x**2])), labels, classes)
        return both[:, : features.width], both[:, features.width :]
    return _means(features, labels, classes), _means(features**2, labels, classes)


def _means(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    return class_means(features, labels, classes).astype(np.float32)


def _distances(x: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = (x * x).sum(axis=1)[:, None] + (means * means).sum(axis=1) - 2 * x @ means.T
    return np.sqrt(np.maximum(squares, 0))
