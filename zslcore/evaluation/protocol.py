"""The one protocol for every method: which classes compete, what is scored, how seen and unseen are balanced.

A `Task` is a zero-shot problem: the benchmark's, or a validation task, where held-out seen classes take the place of
the unseen ones. Both have one shape, so that every choice is made by the code that measures the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import Dataset, Seen, check_choosable, hold_out_seen, positions
from zslcore.errors import ZSLError
from zslcore.evaluation.confidence import Confidence, fit_temperature
from zslcore.evaluation.metrics import METRICS, Scores, SeenUnseenCurve
from zslcore.evaluation.strangers import Sides, auroc, quantiles, sides, usable, withheld
from zslcore.io.rows import SCORES, Rows, collect, collect_named, fits, join, rows_at_once
from zslcore.methods.base import Evident, Method, MethodSettings, Observe, Scorer, TrainData, Transductive, check_input

HOLDOUT = 0.2
"""Share of the images of a validation task's seen classes that play test_seen."""


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
    """The benchmark's problem: fit on trainval, score test_seen and test_unseen. features: (n, d) of all images."""
    attributes = None if data.image_attributes is None else data.image_attributes[data.trainval]
    return _task(
        data.signatures,
        data.seen,
        data.unseen,
        (features[data.trainval], data.labels[data.trainval], attributes),
        (features[data.test_seen], data.labels[data.test_seen]),
        (features[data.test_unseen], data.labels[data.test_unseen]),
    )


def validation_task(data: Seen, held_out: NDArray[np.int64], holdout: float = HOLDOUT, seed: int = 0) -> Task:
    """A problem within trainval: `held_out` seen classes play unseen, a share of the others' images test_seen.

    held_out: (k,) int64. holdout: that share, in (0, 1). The data set's unseen classes take no part, and no test image.
    """
    train_rows, seen_rows, unseen_rows = validation_rows(data, held_out, holdout, seed)
    features = _features_for(data, held_out, train_rows)
    attributes = None if data.image_attributes is None else data.image_attributes[train_rows]
    learned_from = np.setdiff1d(data.seen, held_out)
    return _task(
        data.signatures_for(learned_from),
        learned_from,
        np.unique(held_out),
        (features[train_rows], data.labels[train_rows], attributes),
        (features[seen_rows], data.labels[seen_rows]),
        (features[unseen_rows], data.labels[unseen_rows]),
    )


def validation_rows(
    data: Seen, held_out: NDArray[np.int64], holdout: float = HOLDOUT, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows of `data` that a validation task learns from, those that play test_seen, and those that play test_unseen."""
    unseen_rows = np.flatnonzero(np.isin(data.labels, held_out))
    other_rows = np.flatnonzero(~np.isin(data.labels, held_out))
    return *hold_out_seen(data.labels, other_rows, holdout, seed), unseen_rows


def _features_for(data: Seen, held_out: NDArray[np.int64], train_rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features (n, d) that no image but those of `train_rows` has shaped. Raises ZSLError where there are none."""
    if not data.split_features:
        return data.features
    for split in data.split_features:
        same = np.array_equal(np.unique(split.held_out), np.unique(held_out))
        if same and np.array_equal(split.trained_on, train_rows):
            if split.features.ndim != data.features.ndim:
                raise ZSLError(
                    f"data set '{data.name}': a fine-tuned backbone has vectors alone for validation splits, no maps; "
                    "set finetune.level to features"
                )
            return split.features
    raise ZSLError(
        f"data set '{data.name}': its backbone was fine-tuned for the validation splits of `select`; of others, asked "
        "for here, it has seen images; use the same splits, holdout and seed, or set finetune.level to features"
    )


def validation_splits(data: Seen, count: int = 3, seed: int = 0) -> list[NDArray[np.int64]]:
    """Up to `count` sets of classes to hold out: the published ones where the set has them, else a third by seed.

    Raises ZSLError where too few classes are seen to hold any out.
    """
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
    position = positions(classes, len(signatures))
    features, labels, attributes = train
    return Task(
        train=TrainData(features, position[labels], signatures[seen], attributes),
        signatures=signatures[classes],
        seen_features=test_seen[0],
        seen_labels=position[test_seen[1]],
        unseen_features=test_unseen[0],
        unseen_labels=position[test_unseen[1]],
    )


@runtime_checkable
class Checkpointed(Protocol):
    """A method that writes checkpoints while it trains, and goes on from those of a killed run.

    checkpoints: the folder they stand in; None: it writes none.
    """

    checkpoints: Path | None


def fit(method: Method[Any], task: Task, seed: int = 0, observe: Observe | None = None) -> Method[Any]:
    """Fit a method on a task's seen classes; a transductive one gets the unseen images too, without labels.

    Raises ZSLError for data the method cannot use.
    """
    check_input(method, task.train.features)
    train, unseen = task.train, task.unseen_features
    if isinstance(train.features, Rows) and not method.streams:
        train, unseen = replace(train, features=np.asarray(train.features)), np.asarray(unseen)
    method.fit(train, seed, observe)
    if isinstance(method, Transductive):
        method.fit_unlabelled(unseen)
    return method


def fit_seed(
    method: type[Method[Any]], settings: MethodSettings, task: Task, checkpoints: Path | None, seed: int
) -> Method[Any]:
    """A method fitted with a seed.

    checkpoints: folder where methods that write them do, and go on from what a killed run left.
    """
    made = method(settings)
    if isinstance(made, Checkpointed):
        made.checkpoints = checkpoints
    return fit(made, task, seed)


def fit_and_score(
    method: type[Method[Any]], settings: MethodSettings, task: Task, checkpoints: Path | None, seed: int
) -> Scores:
    """The scores of `fit_seed`, as a job."""
    return score(fit_seed(method, settings, task, checkpoints, seed), task, seed)


def score(method: Method[Any], task: Task, seed: int = 0) -> Scores:
    """Score a fitted method on a task: once among unseen classes (ZSL), once over all classes jointly (GZSL).

    Raises ZSLError when the task's signatures have another length than those the method was fitted with.
    """
    mask = task.seen_mask
    zsl = method.for_classes(task.signatures[~mask], np.zeros((~mask).sum(), dtype=bool), seed)
    joint = method.for_classes(task.signatures, mask, seed)
    return Scores(
        zsl=scores_of(zsl, task.unseen_features, len(mask)),
        joint_seen=scores_of(joint, task.seen_features, len(mask)),
        joint_unseen=scores_of(joint, task.unseen_features, len(mask)),
        seen_labels=task.seen_labels,
        unseen_labels=task.unseen_labels,
        seen_count=task.seen_count,
        evidence=evidence_of(joint, join([task.seen_features, task.unseen_features]), len(mask)),
    )


def scores_of(scorer: Scorer, features: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """(n, d) -> (n, classes): what the scorer says; where images or scores are many, a block at a time, as `Rows`."""
    if not isinstance(features, Rows) and fits(len(features), classes, SCORES):
        return scorer.scores(features)
    return collect(map(scorer.scores, _blocks(features, classes)), len(features), SCORES)


def evidence_of(scorer: Scorer, features: NDArray[np.float32], classes: int) -> dict[str, NDArray[np.float32]]:
    """(n, d) -> what else a scorer knows (`Evident`), as `scores_of`; nothing where it knows nothing."""
    if not isinstance(scorer, Evident):
        return {}
    if not isinstance(features, Rows) and fits(len(features), classes, SCORES):
        return scorer.evidence(features)
    return collect_named(map(scorer.evidence, _blocks(features, classes)), len(features), SCORES)


def _blocks(features: NDArray[np.float32], classes: int) -> Iterator[NDArray[np.float32]]:
    step = rows_at_once(classes)
    return (np.asarray(features[start : start + step]) for start in range(0, len(features), step))


def evaluate(scores: Scores, calibration: float, confidence: Confidence | None = None) -> dict[str, dict[str, float]]:
    """Every metric of one run that says something of it, {group: {name: value}}; in percent but for the factors.

    calibration: factor taken off seen classes' scores (calibrated stacking), chosen on validation classes. confidence:
    chosen there too; without it the metrics that need it are left out.
    """
    metrics: dict[str, dict[str, float]] = {}
    for dotted, metric in METRICS.items():
        if scores.zsl.shape[1] <= metric.beyond:
            continue
        group, _, name = dotted.partition(".")
        if not metric.confident:
            metrics.setdefault(group, {})[name] = metric.compute(scores, calibration)
        elif confidence is not None:
            metrics.setdefault(group, {})[name] = metric.compute(scores, calibration, confidence)
    return metrics


def choose_calibration(curves: list[SeenUnseenCurve]) -> float:
    """The factor with the largest mean harmonic mean over validation tasks; the middle of its step.

    A step ends at the next lead of an image of any task, whether or not the mean changes there; of several best the
    first.
    """
    factors = np.unique(np.concatenate([curve.factors[np.isfinite(curve.factors)] for curve in curves]))
    means = np.mean([_harmonic_at(curve, factors) for curve in curves], axis=0)
    best = int(means.argmax())
    return float((factors[best] + factors[min(best + 1, len(factors) - 1)]) / 2)


def choose_confidence(scored: Sequence[Scores], calibration: float) -> tuple[Confidence, dict[str, float]]:
    """Temperatures, the score of strangers with the largest AUROC, and its quantiles; and every score's AUROC, percent.

    scored: a method's scores on each validation task. calibration: the factor taken off seen classes. Classes withheld
    from the label space (`withheld`) play strangers, and the images of all others are known.
    """
    joint = fit_temperature((scores.joint(calibration), scores.labels) for scores in scored)
    unseen = fit_temperature((scores.zsl, scores.unseen_labels - scores.seen_count) for scores in scored)
    found: dict[str, list[Sides]] = {}
    for scores in scored:
        known = scores.known(calibration, joint)
        for competing in withheld(scores.seen_mask):
            for name in usable(known):
                found.setdefault(name, []).append(sides(name, known, scores.labels, competing))
    compared = {name: 100 * float(np.mean([auroc(*pair) for pair in pairs])) for name, pairs in found.items()}
    best = max(compared, key=lambda name: compared[name])
    remembered = quantiles(np.concatenate([pair.known for pair in found[best]]))
    return Confidence(joint, unseen, best, remembered), compared


def validation_figures(scored: list[tuple[float, SeenUnseenCurve]]) -> dict[str, float]:
    """The means that choices rest on, in percent; scored: (T1 in [0, 1], curve) of a candidate on each validation task.

    H is taken at the one calibration factor that is best for all tasks together; score is the mean of T1 and H.
    """
    curves = [curve for _, curve in scored]
    calibration = choose_calibration(curves)
    top1 = 100 * float(np.mean([value for value, _ in scored]))
    harmonic = 100 * float(np.mean([curve.at(calibration).harmonic for curve in curves]))
    return {"T1": top1, "H": harmonic, "score": (top1 + harmonic) / 2, "calibration": calibration}


def _harmonic_at(curve: SeenUnseenCurve, factors: NDArray[np.float64]) -> NDArray[np.float64]:
    return curve.harmonic[np.searchsorted(curve.factors, factors, side="right") - 1]


def summarise(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Every metric over the seeds, {group: {name: {"mean", "std", "seeds"}}}, from what `evaluate` gives for each seed.

    std: standard deviation (n - 1; 0 for one seed). seeds: each seed's value, by the seed as text.
    """
    first = next(iter(runs.values()))
    summary: dict[str, Any] = {}
    for group, values in first.items():
        for name in values:
            each = np.array([run[group][name] for run in runs.values()], dtype=float)
            summary.setdefault(group, {})[name] = {
                "mean": float(each.mean()),
                "std": float(each.std(ddof=1)) if len(each) > 1 else 0.0,
                "seeds": {str(seed): float(value) for seed, value in zip(runs, each, strict=True)},
            }
    return summary
