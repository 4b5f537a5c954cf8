"""The one protocol for every method: which classes compete, what is scored, how seen and unseen are balanced.

A `Task` is a zero-shot problem. The benchmark's own is one; a pretend one, with seen classes held out in the place of
unseen ones, has the same shape, so that every choice is made by the code that measures the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import Dataset, Seen, check_choosable, hold_out_seen
from zslcore.evaluation import metrics
from zslcore.methods.base import Method, MethodSettings, Observe, Together, TrainData, Transductive


@dataclass(frozen=True)
class Task:
    """A zero-shot problem: seen classes first (0..K-1, in `train`'s order), then the unseen ones.

    signatures: (classes, a) float32. Labels of the test images are row numbers of `signatures`.
    """

    train: TrainData
    signatures: NDArray[np.float32]
    seen_features: NDArray[np.float32]
    seen_labels: NDArray[np.int64]
    unseen_features: NDArray[np.float32]
    unseen_labels: NDArray[np.int64]

    @property
    def seen_count(self) -> int:
        """K, the number of seen classes."""
        return len(self.train.signatures)

    @property
    def seen_mask(self) -> NDArray[np.bool_]:
        """(classes,) bool: which rows of `signatures` are seen classes."""
        return np.arange(len(self.signatures)) < self.seen_count


def benchmark_task(data: Dataset, features: NDArray[np.float32]) -> Task:
    """The real problem: fit on trainval, score test_seen and test_unseen. features: (n, d) of all images."""
    attributes = None if data.image_attributes is None else data.image_attributes[data.trainval]
    return _task(
        data.signatures,
        data.seen,
        data.unseen,
        (features[data.trainval], data.labels[data.trainval], attributes),
        (features[data.test_seen], data.labels[data.test_seen]),
        (features[data.test_unseen], data.labels[data.test_unseen]),
    )


def validation_task(data: Seen, held_out: NDArray[np.int64], holdout: float = 0.2, seed: int = 0) -> Task:
    """A pretend problem inside trainval: `held_out` seen classes play unseen, a share of the others' images test_seen.

    Unseen classes of the real problem take no part, and no test image is touched.
    """
    kept_classes = np.setdiff1d(data.seen, held_out)
    pretend_unseen = np.flatnonzero(np.isin(data.labels, held_out))
    others = np.flatnonzero(~np.isin(data.labels, held_out))
    kept, pretend_seen = hold_out_seen(data.labels, others, holdout, seed)
    attributes = None if data.image_attributes is None else data.image_attributes[kept]
    return _task(
        data.signatures,
        kept_classes,
        np.unique(held_out),
        (data.features[kept], data.labels[kept], attributes),
        (data.features[pretend_seen], data.labels[pretend_seen]),
        (data.features[pretend_unseen], data.labels[pretend_unseen]),
    )


def validation_splits(data: Seen, count: int = 3, seed: int = 0) -> list[NDArray[np.int64]]:
    """Up to `count` sets of classes to hold out: the published ones where the set has them, else a third by seed."""
    if data.validation_splits:
        return list(data.validation_splits[:count])
    check_choosable(data)
    third = max(2, round(len(data.seen) / 3))
    random = np.random.default_rng(seed)
    return [np.sort(random.permutation(data.seen)[:third]) for _ in range(count)]


def _task(
    signatures: NDArray[np.float32],
    seen: NDArray[np.int64],
    unseen: NDArray[np.int64],
    train: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32] | None],
    test_seen: tuple[NDArray[np.float32], NDArray[np.int64]],
    test_unseen: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> Task:
    classes = np.concatenate([seen, unseen])
    position = np.full(len(signatures), -1)
    position[classes] = np.arange(len(classes))
    features, labels, attributes = train
    return Task(
        train=TrainData(features, position[labels], signatures[seen], attributes),
        signatures=signatures[classes],
        seen_features=test_seen[0],
        seen_labels=position[test_seen[1]],
        unseen_features=test_unseen[0],
        unseen_labels=position[test_unseen[1]],
    )


@dataclass(frozen=True)
class Scores:
    """Everything the metrics need of one run: scores (n, classes) and labels, in a task's class numbers.

    zsl: (n_unseen, unseen classes) with only the unseen classes competing; joint_seen, joint_unseen: over all classes.
    """

    zsl: NDArray[np.float32]
    joint_seen: NDArray[np.float32]
    joint_unseen: NDArray[np.float32]
    seen_labels: NDArray[np.int64]
    unseen_labels: NDArray[np.int64]
    seen_count: int

    @property
    def seen_mask(self) -> NDArray[np.bool_]:
        """(classes,) bool."""
        return np.arange(self.joint_seen.shape[1]) < self.seen_count

    @property
    def zsl_top1(self) -> float:
        """T1: per-class top-1 of unseen images among unseen classes, in [0, 1]."""
        return metrics.per_class_top1(self.unseen_labels, self.seen_count + self.zsl.argmax(axis=1))

    def curve(self) -> metrics.Curve:
        """The seen/unseen curve of the joint scores."""
        return metrics.seen_unseen_curve(
            self.joint_seen, self.seen_labels, self.joint_unseen, self.unseen_labels, self.seen_mask
        )


def fit(method: Method, task: Task, seed: int = 0, observe: Observe | None = None) -> Method:
    """Fit a method on a task's seen classes; a transductive one gets the unseen images too, without labels."""
    method.fit(task.train, seed, observe)
    if isinstance(method, Transductive):
        method.fit_unlabelled(task.unseen_features)
    return method


def fit_seeds(
    method: type[Method],
    settings: MethodSettings,
    task: Task,
    seeds: Sequence[int],
    together: bool = False,
    checkpoints: Path | None = None,
    observe: Observe | None = None,
) -> Iterator[tuple[int, Method]]:
    """Each seed with its fitted method: trained together where asked and the method can, else one after another.

    checkpoints: folder where methods that write them do, one after another, and go on from what a killed run left.
    observe: as in `Method.fit`; seeds trained together do not call it.
    """
    if together and issubclass(method, Together):
        yield from zip(seeds, method.fit_together(settings, task.train, seeds), strict=True)
    else:
        for seed in seeds:
            made = method(settings)
            if hasattr(made, "checkpoints"):
                made.checkpoints = checkpoints
            yield seed, fit(made, task, seed, observe)


def score(method: Method, task: Task, seed: int = 0) -> Scores:
    """Score a fitted method on a task: once among unseen classes (ZSL), once over all classes jointly (GZSL)."""
    mask = task.seen_mask
    zsl = method.for_classes(task.signatures[~mask], np.zeros((~mask).sum(), dtype=bool), seed)
    joint = method.for_classes(task.signatures, mask, seed)
    return Scores(
        zsl=zsl.scores(task.unseen_features),
        joint_seen=joint.scores(task.seen_features),
        joint_unseen=joint.scores(task.unseen_features),
        seen_labels=task.seen_labels,
        unseen_labels=task.unseen_labels,
        seen_count=task.seen_count,
    )


def evaluate(scores: Scores, calibration: float) -> dict[str, Any]:
    """The metrics of one run, in percent.

    calibration: factor taken off seen classes' scores (calibrated stacking), chosen on validation classes.
    `gzsl` is the joint problem at that factor, `plain` the same without it. `diagnostic` looks at test data
    (the best factor, separate label spaces) and is used for no claim and no choice.
    """
    curve = scores.curve()
    mask = scores.seen_mask
    own_seen = scores.joint_seen[:, mask].argmax(axis=1)
    own_unseen = scores.seen_count + scores.joint_unseen[:, ~mask].argmax(axis=1)
    oracle_seen = metrics.per_class_top1(scores.seen_labels, own_seen)
    oracle_unseen = metrics.per_class_top1(scores.unseen_labels, own_unseen)
    unseen, seen, harmonic = curve.at(calibration)
    best = int(curve.harmonic.argmax())
    top1 = scores.zsl_top1
    return {
        "zsl": {"T1": 100 * top1},
        "gzsl": {
            "U": 100 * unseen,
            "S": 100 * seen,
            "H": 100 * harmonic,
            "AUSUC": 100 * curve.area,
            "retention": 100 * unseen / top1 if top1 else 0.0,
            "calibration": calibration,
        },
        "plain": dict(zip(("U", "S", "H"), (100 * value for value in curve.at(0.0)), strict=True)),
        "diagnostic": {
            "test_selected_H": 100 * float(curve.harmonic[best]),
            "test_selected_calibration": curve.best_factor,
            "selection_gap_H": 100 * (float(curve.harmonic[best]) - harmonic),
            "oracle_domain_U": 100 * oracle_unseen,
            "oracle_domain_S": 100 * oracle_seen,
            "oracle_domain_H": 100 * metrics.harmonic_mean(oracle_seen, oracle_unseen),
        },
    }


def choose_calibration(curves: list[metrics.Curve]) -> float:
    """The factor with the largest mean harmonic mean over validation tasks; the middle of its step."""
    factors = np.unique(np.concatenate([curve.factors[np.isfinite(curve.factors)] for curve in curves]))
    means = np.mean([_harmonic_at(curve, factors) for curve in curves], axis=0)
    best = int(means.argmax())
    return float((factors[best] + factors[min(best + 1, len(factors) - 1)]) / 2)


def validation_figures(found: list[tuple[float, metrics.Curve]]) -> dict[str, float]:
    """What choices rest on: (T1 in [0, 1], curve) of one candidate on each validation task -> means in percent.

    H is taken at the one calibration factor that is best for all tasks together; score is the mean of T1 and H.
    """
    curves = [curve for _, curve in found]
    calibration = choose_calibration(curves)
    top1 = 100 * float(np.mean([value for value, _ in found]))
    harmonic = 100 * float(np.mean([curve.at(calibration)[2] for curve in curves]))
    return {"T1": top1, "H": harmonic, "score": (top1 + harmonic) / 2, "calibration": calibration}


def _harmonic_at(curve: metrics.Curve, factors: NDArray[np.float64]) -> NDArray[np.float64]:
    return curve.harmonic[np.maximum(np.searchsorted(curve.factors, factors, side="right") - 1, 0)]


def summarise(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation over seeds (n - 1; 0 for one seed) and each seed's value of every metric."""
    first = next(iter(runs.values()))
    out: dict[str, Any] = {}
    for group, values in first.items():
        for name in values:
            each = np.array([run[group][name] for run in runs.values()], dtype=float)
            out.setdefault(group, {})[name] = {
                "mean": float(each.mean()),
                "std": float(each.std(ddof=1)) if len(each) > 1 else 0.0,
                "seeds": {str(seed): float(value) for seed, value in zip(runs, each, strict=True)},
            }
    return out
