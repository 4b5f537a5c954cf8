"""Accuracy as the field measures it: per-class means, harmonic mean, and the seen/unseen trade-off curve."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def accuracy_by_class(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of right predictions for each of `classes`, in [0, 1]; NaN for a class without images."""
    right = labels == predictions
    with np.errstate(invalid="ignore"):
        return np.array([right[labels == k].mean() if (labels == k).any() else np.nan for k in classes])


def per_class_top1(labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    """Mean over the classes present in `labels` of each one's top-1 accuracy, in [0, 1]: never overall accuracy."""
    return float(accuracy_by_class(labels, predictions, np.unique(labels)).mean())


def harmonic_mean(first: float, second: float) -> float:
    """H = 2 S U / (S + U); 0 where both are 0."""
    total = first + second
    return 2 * first * second / total if total else 0.0


@dataclass(frozen=True)
class Curve:
    """Seen and unseen accuracy at every calibration factor: calibrated stacking takes `factor` off seen scores.

    factors: (k,) ascending; seen, unseen: (k,) per-class accuracies in [0, 1] once the factor is at least factors[i]
    (and below factors[i + 1]). seen falls and unseen rises along it.
    """

    factors: NDArray[np.float64]
    seen: NDArray[np.float64]
    unseen: NDArray[np.float64]

    @property
    def harmonic(self) -> NDArray[np.float64]:
        """(k,) harmonic means."""
        total = self.seen + self.unseen
        return np.divide(2 * self.seen * self.unseen, total, out=np.zeros_like(total), where=total > 0)

    def at(self, factor: float) -> tuple[float, float, float]:
        """(U, S, H) at a calibration factor."""
        position = max(int(np.searchsorted(self.factors, factor, side="right")) - 1, 0)
        seen, unseen = float(self.seen[position]), float(self.unseen[position])
        return unseen, seen, harmonic_mean(seen, unseen)

    @property
    def area(self) -> float:
        """AUSUC: area under seen accuracy as a function of unseen accuracy, in [0, 1]."""
        unseen = np.concatenate([[0.0], self.unseen, [self.unseen[-1]]])
        seen = np.concatenate([[self.seen[0]], self.seen, [0.0]])
        return float(np.trapezoid(seen, unseen))

    @property
    def best_factor(self) -> float:
        """A factor with the largest harmonic mean: the middle of its step, which transfers better than its edge."""
        best = int(np.argmax(self.harmonic))
        last = best + 1 if best + 1 < len(self.factors) else best
        low, high = self.factors[best], self.factors[last]
        return float(high if not np.isfinite(low) else (low + high) / 2)


def seen_unseen_curve(
    scores_seen: NDArray[Any],
    labels_seen: NDArray[np.int64],
    scores_unseen: NDArray[Any],
    labels_unseen: NDArray[np.int64],
    seen_mask: NDArray[np.bool_],
) -> Curve:
    """The exact curve, from (n, classes) joint scores of test_seen and test_unseen images.

    An image is called seen while the lead of its best seen class over its best unseen class exceeds the factor, so
    both accuracies are step functions that change at those leads only.
    """
    lead_seen, right_seen, weight_seen = _leads(scores_seen, labels_seen, seen_mask, seen_mask)
    lead_unseen, right_unseen, weight_unseen = _leads(scores_unseen, labels_unseen, seen_mask, ~seen_mask)
    leads = np.concatenate([lead_seen, lead_unseen])
    factors, step = np.unique(leads, return_inverse=True)
    lost, won = np.zeros(len(factors)), np.zeros(len(factors))
    np.add.at(lost, step[: len(lead_seen)], right_seen * weight_seen)
    np.add.at(won, step[len(lead_seen) :], right_unseen * weight_unseen)
    start = float((right_seen * weight_seen).sum())
    return Curve(
        factors=np.concatenate([[-np.inf], factors]),
        seen=np.clip(np.concatenate([[start], start - np.cumsum(lost)]), 0, 1),
        unseen=np.clip(np.concatenate([[0.0], np.cumsum(won)]), 0, 1),
    )


def _leads(
    scores: NDArray[Any], labels: NDArray[np.int64], seen_mask: NDArray[np.bool_], own: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """For each image: lead of the best seen over the best unseen class; right within its own side; weight of it."""
    scores = scores.astype(np.float64)
    lead = scores[:, seen_mask].max(axis=1) - scores[:, ~seen_mask].max(axis=1)
    right = np.flatnonzero(own)[scores[:, own].argmax(axis=1)] == labels
    _, where, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return lead, right, 1.0 / (sizes[where] * len(sizes))
