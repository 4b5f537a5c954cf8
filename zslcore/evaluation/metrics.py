"""Accuracy as the field measures it: per-class means, harmonic mean, seen/unseen curve; and the table of metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.evaluation.confidence import Confidence, calibration_error, probabilities
from zslcore.evaluation.strangers import Known, Sides, auroc, false_positives, sides, threshold, withheld
from zslcore.io.rows import by_blocks, join, map_rows


def accuracy_by_class(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of right predictions for each of `classes`, in [0, 1]; NaN for a class without images."""
    known, of = np.unique(labels, return_inverse=True)
    shares = np.bincount(of, labels == predictions) / np.bincount(of)
    by_class = dict(zip(known.tolist(), shares.tolist(), strict=True))
    return np.array([by_class.get(k, np.nan) for k in classes.tolist()])


def per_class_top1(labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    """Mean over the classes present in `labels` of each one's top-1 accuracy, in [0, 1]: never overall accuracy."""
    return float(accuracy_by_class(labels, predictions, np.unique(labels)).mean())


ROWS = 1024
"""Images that are ranked at once."""


def ranks(
    scores: NDArray[Any], labels: NDArray[np.int64], seen_count: int = 0, factor: float = 0.0
) -> NDArray[np.int64]:
    """(n,) int64: how many of the classes stand before each image's own, by scores (n, classes).

    seen_count: of the classes, which come first; factor: what is taken off their scores. Of a tie unseen classes are
    first, as in the seen/unseen curve, then those of the lower column.
    """
    seen = np.arange(scores.shape[1]) < seen_count
    order = np.argsort(np.argsort(seen, kind="stable"), kind="stable")
    found = [np.empty(0, np.int64)]
    for start in range(0, len(scores), ROWS):
        block, true = np.asarray(scores[start : start + ROWS]) - factor * seen, labels[start : start + ROWS, None]
        mine = np.take_along_axis(block, true, axis=1)
        before = (block > mine) | ((block == mine) & (order < order[true]))
        found.append(before.sum(axis=1))
    return np.concatenate(found)


def harmonic_mean(first: float, second: float) -> float:
    """H = 2 S U / (S + U); 0 where both are 0."""
    total = first + second
    return 2 * first * second / total if total else 0.0


class JointAccuracy(NamedTuple):
    """Per-class top-1 of unseen and of seen images with all classes competing, and their harmonic mean, in [0, 1]."""

    unseen: float
    seen: float
    harmonic: float


@dataclass(frozen=True)
class SeenUnseenCurve:
    """Seen and unseen accuracy at every calibration factor: calibrated stacking takes `factor` off seen scores.

    factors: (k,) ascending from −∞; seen, unseen: (k,) per-class accuracies in [0, 1] once the factor is at least
    factors[i] (and below factors[i + 1]). seen falls and unseen rises along it. A tie, a lead that equals the factor,
    counts as unseen, at a factor of 0 too, where plain argmax would say seen, whose columns come first.
    """

    factors: NDArray[np.float64]
    seen: NDArray[np.float64]
    unseen: NDArray[np.float64]

    @property
    def harmonic(self) -> NDArray[np.float64]:
        """(k,) harmonic means."""
        total = self.seen + self.unseen
        return np.divide(2 * self.seen * self.unseen, total, out=np.zeros_like(total), where=total > 0)

    def at(self, factor: float) -> JointAccuracy:
        """U, S and H at a calibration factor."""
        position = int(np.searchsorted(self.factors, factor, side="right")) - 1
        seen, unseen = float(self.seen[position]), float(self.unseen[position])
        return JointAccuracy(unseen, seen, harmonic_mean(seen, unseen))

    @property
    def area(self) -> float:
        """AUSUC: area under seen accuracy as a function of unseen accuracy, in [0, 1]."""
        unseen = np.concatenate([[0.0], self.unseen, [self.unseen[-1]]])
        seen = np.concatenate([[self.seen[0]], self.seen, [0.0]])
        return float(np.trapezoid(seen, unseen))

    @property
    def best_factor(self) -> float:
        """A factor with the largest harmonic mean: the middle of its step, which transfers better than its edge.

        A step ends at the next image's lead, whether or not an accuracy changes there; of several best the first.
        """
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
) -> SeenUnseenCurve:
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
    return SeenUnseenCurve(
        factors=np.concatenate([[-np.inf], factors]),
        seen=np.clip(np.concatenate([[start], start - np.cumsum(lost)]), 0, 1),
        unseen=np.clip(np.concatenate([[0.0], np.cumsum(won)]), 0, 1),
    )


def _leads(
    scores: NDArray[Any], labels: NDArray[np.int64], seen_mask: NDArray[np.bool_], side: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """(n,) each: lead of the best seen over the best unseen class; right among the classes of `side`; weight, summing
    to 1: each class counts the same.
    """

    def leads(scores: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        scores = scores.astype(np.float64)
        lead = scores[:, seen_mask].max(axis=1) - scores[:, ~seen_mask].max(axis=1)
        return lead, np.flatnonzero(side)[scores[:, side].argmax(axis=1)] == labels

    lead, right = by_blocks(leads, scores, labels)
    _, where, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return lead, right, 1.0 / (sizes[where] * len(sizes))


def best_class(scores: NDArray[Any], among: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """(n, classes) -> (n,): where each row is largest, counted among the classes of a mask (classes,), if any."""
    found: NDArray[np.int64] = by_blocks(
        lambda rows: (rows if among is None else rows[:, among]).argmax(axis=1), scores
    )
    return found


def _calibrated(off: NDArray[np.floating[Any]], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    return scores.astype(np.float64) - off


@dataclass(frozen=True)
class Scores:
    """Everything the metrics need of one run: scores (n, classes) and labels (n,), seen classes first.

    Scores and evidence may be `Rows`: all that is asked of them is computed a block of images at a time.

    zsl: (n_unseen, unseen classes) with only the unseen classes competing; joint_seen, joint_unseen: over all classes.
    Labels are positions among all classes: those of seen images are below `seen_count`, those of unseen ones are not.
    evidence: what else the scorer knows (`Evident`), by name, (n, classes) or (n,): seen images first.
    Raises ZSLError, with the number of images, where a score is not finite.
    """

    zsl: NDArray[np.float32]
    joint_seen: NDArray[np.float32]
    joint_unseen: NDArray[np.float32]
    seen_labels: NDArray[np.int64]
    unseen_labels: NDArray[np.int64]
    seen_count: int
    evidence: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        blocks = {
            "unseen images among unseen classes": self.zsl,
            "seen images among all classes": self.joint_seen,
            "unseen images among all classes": self.joint_unseen,
        }
        for what, scores in blocks.items():
            bad = int(by_blocks(lambda rows: (~np.isfinite(rows)).any(axis=1), scores).sum())
            if bad:
                raise ZSLError(
                    f"{bad} of {len(scores)} {what} have scores that are not finite, so that nothing can be said of "
                    "them; the method diverged or its features are far too large: use a smaller lr, or scale the "
                    "features"
                )

    @classmethod
    def of(
        cls,
        data: Dataset,
        zsl: NDArray[np.float32],
        joint_seen: NDArray[np.float32],
        joint_unseen: NDArray[np.float32],
        evidence: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> Self:
        """Scores of a data set's test_seen and test_unseen images, in the order of these splits.

        The columns of joint scores are the classes of `data.class_order`; those of `zsl` the unseen ones among them.
        """
        position = data.class_position
        return cls(
            zsl=zsl,
            joint_seen=joint_seen,
            joint_unseen=joint_unseen,
            seen_labels=position[data.labels[data.test_seen]],
            unseen_labels=position[data.labels[data.test_unseen]],
            seen_count=len(data.seen),
            evidence=evidence or {},
        )

    @property
    def seen_mask(self) -> NDArray[np.bool_]:
        """(classes,) bool."""
        return np.arange(self.joint_seen.shape[1]) < self.seen_count

    @property
    def zsl_predictions(self) -> NDArray[np.int64]:
        """(n_unseen,) the class predicted of each unseen image among the unseen classes, as labels are."""
        return self.seen_count + best_class(self.zsl)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) of all images that are scored jointly: the seen ones, then the unseen."""
        return np.concatenate([self.seen_labels, self.unseen_labels])

    def joint(self, factor: float) -> NDArray[np.float64]:
        """(n, classes) joint scores of all images, the calibration factor taken off seen classes."""
        return map_rows(join([self.joint_seen, self.joint_unseen]), partial(_calibrated, factor * self.seen_mask))

    def known(self, factor: float, temperature: float) -> Known:
        """What scores of strangers are made of, of all images."""
        return Known(self.joint(factor), temperature, self.evidence)

    @property
    def zsl_top1(self) -> float:
        """T1: per-class top-1 of unseen images among unseen classes, in [0, 1]."""
        return per_class_top1(self.unseen_labels, self.zsl_predictions)

    @cached_property
    def _curve(self) -> SeenUnseenCurve:
        return seen_unseen_curve(
            self.joint_seen, self.seen_labels, self.joint_unseen, self.unseen_labels, self.seen_mask
        )

    def curve(self) -> SeenUnseenCurve:
        """The seen/unseen curve of the joint scores."""
        return self._curve

    @cached_property
    def zsl_ranks(self) -> NDArray[np.int64]:
        """(n_unseen,): how many unseen classes stand before an unseen image's own."""
        return ranks(self.zsl, self.unseen_labels - self.seen_count)

    def joint_ranks(self, factor: float) -> NDArray[np.int64]:
        """(n_unseen,): how many classes stand before an unseen image's own, `factor` taken off seen ones' scores."""
        if factor not in self._joint_ranks:
            self._joint_ranks[factor] = ranks(self.joint_unseen, self.unseen_labels, self.seen_count, factor)
        return self._joint_ranks[factor]

    @cached_property
    def _joint_ranks(self) -> dict[float, NDArray[np.int64]]:
        return {}

    def stranger_sides(self, name: str, factor: float, temperature: float) -> list[Sides]:
        """A score of strangers by draw of the unseen classes that play them, `factor` taken off seen ones' scores."""
        key = name, factor, temperature
        if key not in self._stranger_sides:
            known = self.known(factor, temperature)
            draws = (draw for draw in withheld(self.seen_mask) if not draw[self.labels].all())  # strangers with images
            self._stranger_sides[key] = [sides(name, known, self.labels, draw) for draw in draws]
        return self._stranger_sides[key]

    @cached_property
    def _stranger_sides(self) -> dict[tuple[str, float, float], list[Sides]]:
        return {}

    @property
    def oracle_domain(self) -> JointAccuracy:
        """U, S and H as if it were known of each image whether its class is seen: separate label spaces."""
        mask = self.seen_mask
        seen = per_class_top1(self.seen_labels, best_class(self.joint_seen, mask))
        unseen = per_class_top1(self.unseen_labels, self.seen_count + best_class(self.joint_unseen, ~mask))
        return JointAccuracy(unseen, seen, harmonic_mean(seen, unseen))


@dataclass(frozen=True)
class Metric:
    """A figure of one run.

    title: its name in tables and printed lines. meaning: what it is, for readers of the report.
    compute: (scores, calibration factor) -> the figure, in `unit`; where `confident`, it also takes what was chosen of
    confidence, and a result without such a choice lacks the metric.
    headline: whether the report's tables and the stages' lines show it; every metric stands in the JSON results.
    beyond: it is left out where no more unseen classes than these compete: it says nothing of them.
    tolerance: the drop that `zsl gate` lets pass, in `unit`; None: not gated, unless `gate.metrics` names it.
    """

    title: str
    meaning: str
    compute: Callable[..., float]
    headline: bool = False
    unit: str = "percent"
    confident: bool = False
    beyond: int = 0
    tolerance: float | None = None


def _retention(scores: Scores, factor: float) -> float:
    top1 = scores.zsl_top1
    return 100 * scores.curve().at(factor).unseen / top1 if top1 else 0.0


def _best_harmonic(scores: Scores) -> float:
    return float(scores.curve().harmonic.max())


def _ece(scores: Scores, factor: float, temperature: float, classwise: bool = False) -> float:
    chances = probabilities(scores.joint(factor), temperature)
    return 100 * calibration_error(chances, scores.labels, classwise=classwise)


def _unseen_ece(scores: Scores, temperature: float) -> float:
    return 100 * calibration_error(probabilities(scores.zsl, temperature), scores.unseen_labels - scores.seen_count)


def _strangers(scores: Scores, factor: float, chosen: Confidence, measure: Callable[[Sides], float]) -> float:
    """Mean over draws of the unseen classes that play strangers."""
    pairs = scores.stranger_sides(chosen.stranger, factor, chosen.joint)
    return 100 * float(np.mean([measure(pair) for pair in pairs]))


def _hit(k: int) -> dict[str, Metric]:
    """Flat hit@k of unseen images: among unseen classes, and with all classes competing."""
    share = f"share of unseen images whose class is among the {k} best (flat hit@{k}, no mean over classes)"
    return {
        f"zsl.hit@{k}": Metric(
            f"hit@{k}",
            f"{share} unseen classes",
            lambda scores, factor: 100 * float((scores.zsl_ranks < k).mean()),
            beyond=k,
        ),
        f"gzsl.hit@{k}": Metric(
            f"hit@{k}, all classes",
            f"{share}, all classes competing",
            lambda scores, factor: 100 * float((scores.joint_ranks(factor) < k).mean()),
            beyond=k,
        ),
    }


HITS = (1, 2, 5, 10, 20)
"""k of hit@k, as on ImageNet: A. Frome et al., "DeViSE: A Deep Visual-Semantic Embedding Model", NeurIPS 2013."""

METRICS: dict[str, Metric] = {
    "zsl.T1": Metric(
        "T1",
        "zero-shot accuracy among unseen classes",
        lambda scores, factor: 100 * scores.zsl_top1,
        headline=True,
        tolerance=0.5,
    ),
    "gzsl.U": Metric(
        "U",
        "accuracy of unseen images, all classes competing",
        lambda scores, factor: 100 * scores.curve().at(factor).unseen,
        headline=True,
    ),
    "gzsl.S": Metric(
        "S",
        "accuracy of seen images, all classes competing",
        lambda scores, factor: 100 * scores.curve().at(factor).seen,
        headline=True,
    ),
    "gzsl.H": Metric(
        "H",
        "harmonic mean of U and S",
        lambda scores, factor: 100 * scores.curve().at(factor).harmonic,
        headline=True,
        tolerance=0.5,
    ),
    "gzsl.AUSUC": Metric(
        "AUSUC",
        "area under the seen–unseen curve",
        lambda scores, factor: 100 * scores.curve().area,
        headline=True,
        tolerance=0.5,
    ),
    "gzsl.retention": Metric("U/T1", "share of T1 that is left when seen classes compete too", _retention),
    "gzsl.calibration": Metric(
        "calibration factor", "taken off the scores of seen classes", lambda scores, factor: factor, unit="score"
    ),
    "plain.U": Metric(
        "U, uncalibrated", "U with no factor taken off", lambda scores, factor: 100 * scores.curve().at(0.0).unseen
    ),
    "plain.S": Metric(
        "S, uncalibrated", "S with no factor taken off", lambda scores, factor: 100 * scores.curve().at(0.0).seen
    ),
    "plain.H": Metric(
        "H, uncalibrated", "H with no factor taken off", lambda scores, factor: 100 * scores.curve().at(0.0).harmonic
    ),
    "diagnostic.test_selected_H": Metric(
        "H if the factor were chosen on test: diagnostic only",
        "the largest H of any factor",
        lambda scores, factor: 100 * _best_harmonic(scores),
    ),
    "diagnostic.test_selected_calibration": Metric(
        "calibration factor chosen on test: diagnostic only",
        "the factor with the largest H",
        lambda scores, factor: scores.curve().best_factor,
        unit="score",
    ),
    "diagnostic.selection_gap_H": Metric(
        "H gained by choosing the factor on test: diagnostic only",
        "the largest H of any factor, less H",
        lambda scores, factor: 100 * (_best_harmonic(scores) - scores.curve().at(factor).harmonic),
    ),
    "diagnostic.oracle_domain_U": Metric(
        "U, domain known: diagnostic only",
        "accuracy of unseen images among unseen classes of the joint scores",
        lambda scores, factor: 100 * scores.oracle_domain.unseen,
    ),
    "diagnostic.oracle_domain_S": Metric(
        "S, domain known: diagnostic only",
        "accuracy of seen images among seen classes of the joint scores",
        lambda scores, factor: 100 * scores.oracle_domain.seen,
    ),
    "diagnostic.oracle_domain_H": Metric(
        "H, domain known: diagnostic only",
        "harmonic mean of the two",
        lambda scores, factor: 100 * scores.oracle_domain.harmonic,
    ),
    "confidence.ECE": Metric(
        "ECE",
        "gap between probability and accuracy, all classes competing",
        lambda scores, factor, chosen: _ece(scores, factor, chosen.joint),
        confident=True,
    ),
    "confidence.ECE_before": Metric(
        "ECE, no temperature",
        "ECE as it was at a temperature of 1",
        lambda scores, factor, chosen: _ece(scores, factor, 1.0),
        confident=True,
    ),
    "confidence.classwise_ECE": Metric(
        "classwise ECE",
        "the gap of each class's probability, mean over classes",
        lambda scores, factor, chosen: _ece(scores, factor, chosen.joint, classwise=True),
        confident=True,
    ),
    "confidence.classwise_ECE_before": Metric(
        "classwise ECE, no temperature",
        "classwise ECE as it was at a temperature of 1",
        lambda scores, factor, chosen: _ece(scores, factor, 1.0, classwise=True),
        confident=True,
    ),
    "confidence.unseen_ECE": Metric(
        "ECE among unseen classes",
        "gap between probability and accuracy, unseen classes competing",
        lambda scores, factor, chosen: _unseen_ece(scores, chosen.unseen),
        confident=True,
    ),
    "confidence.unseen_ECE_before": Metric(
        "ECE among unseen classes, no temperature",
        "ECE among unseen classes as it was at a temperature of 1",
        lambda scores, factor, chosen: _unseen_ece(scores, 1.0),
        confident=True,
    ),
    "strangers.AUROC": Metric(
        "AUROC of strangers",
        "chance that a known image fits better than one of a withheld class",
        lambda scores, factor, chosen: _strangers(scores, factor, chosen, lambda pair: auroc(*pair)),
        confident=True,
    ),
    "strangers.FPR95": Metric(
        "FPR at 95 %",
        "strangers that pass where 95 % of known images do",
        lambda scores, factor, chosen: _strangers(scores, factor, chosen, lambda pair: false_positives(*pair)),
        confident=True,
    ),
    "strangers.false_alarms": Metric(
        "false alarms where 5 % are promised",
        "known images that are called none of these",
        lambda scores, factor, chosen: _strangers(
            scores, factor, chosen, lambda pair: float((pair.known < threshold(chosen.quantiles)).mean())
        ),
        confident=True,
    ),
    "strangers.recognised": Metric(
        "strangers recognised at that threshold",
        "images of withheld classes that are called none of these",
        lambda scores, factor, chosen: _strangers(
            scores, factor, chosen, lambda pair: float((pair.strangers < threshold(chosen.quantiles)).mean())
        ),
        confident=True,
    ),
    **{name: metric for k in HITS for name, metric in _hit(k).items()},
}
"""Every metric by its dotted name in metrics.json, `group.name`. An entry here is all that a new one takes.

`gzsl` is the joint problem at the calibration factor chosen on validation classes, `plain` the same without a factor.
`diagnostic` looks at test data (the best factor, separate label spaces) and is used for no claim and no choice.
`confidence` and `strangers` measure what `choose_confidence` chose on validation classes; half of the unseen classes
play strangers, ten draws of them.
"""


def lookup(result: Mapping[str, Any], name: str) -> Any | None:
    """What a result holds under the dotted name of a metric; None where it lacks it."""
    group, _, key = name.partition(".")
    return (result.get(group) or {}).get(key)
