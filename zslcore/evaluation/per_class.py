"""What stands behind the headline figures: per-class accuracy, the seen/unseen curve, confusions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zslcore.datasets.dataset import Dataset
from zslcore.evaluation.confidence import Confidence, probabilities, reliability
from zslcore.evaluation.explain import nearest_seen, ranked
from zslcore.evaluation.intervals import RESAMPLES, Bootstrap, bootstrap, resampled_means
from zslcore.evaluation.metrics import Scores, accuracy_by_class, best_class
from zslcore.io.artifacts import atomic
from zslcore.io.rows import blocks, join


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically, with six significant figures."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def by_class(runs: dict[int, Scores], names: list[str], calibration: float) -> pd.DataFrame:
    """A row a class: kind (seen, unseen), test images, GZSL and (unseen only) ZSL accuracy in percent, seeds' mean."""
    first = next(iter(runs.values()))
    labels = np.concatenate([first.seen_labels, first.unseen_labels])
    classes = np.arange(len(names))
    joint, zsl = [], []
    for scores in runs.values():
        joint.append(accuracy_by_class(labels, best_class(scores.joint(calibration)), classes))
        zsl.append(accuracy_by_class(scores.unseen_labels, scores.zsl_predictions, classes))
    return pd.DataFrame(
        {
            "class": names,
            "kind": np.where(first.seen_mask, "seen", "unseen"),
            "images": np.bincount(labels, minlength=len(names)),
            "gzsl": 100 * np.mean(joint, axis=0),
            "zsl": 100 * np.mean(zsl, axis=0),
        }
    )


@dataclass(frozen=True)
class ClassAccuracies:
    """The mean over seeds of each class's accuracy, in percent, in the order of the classes; NaN without test images.

    zsl, unseen: (unseen classes,), among unseen classes and jointly; seen: (seen classes,), jointly.
    """

    zsl: NDArray[np.float64]
    unseen: NDArray[np.float64]
    seen: NDArray[np.float64]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Self:
        """From what `by_class` gives."""
        seen, unseen = (table[table["kind"] == kind] for kind in ("seen", "unseen"))
        return cls(*(part.to_numpy(float) for part in (unseen["zsl"], unseen["gzsl"], seen["gzsl"])))

    @classmethod
    def read(cls, lists: Mapping[str, Any]) -> Self:
        """From what `lists` gives, which JSON holds."""
        return cls(*(np.array(lists[name], dtype=float) for name in ("zsl", "unseen", "seen")))

    def lists(self) -> dict[str, list[float | None]]:
        """For JSON; to four decimals."""
        return {
            name: [None if np.isnan(value) else round(float(value), 4) for value in values]
            for name, values in vars(self).items()
        }

    def over_classes(self, other: "ClassAccuracies | None" = None) -> dict[str, Bootstrap]:
        """T1, U, S and H, or what they lead those of `other` by, with 95 % intervals over resampled classes.

        Seen and unseen classes are drawn apart, 10,000 times, each time the same for both sides: what makes a class
        hard for both cancels out. NaN where no class has test images.
        """
        found = self._figures()
        if other is not None:
            found = {name: found[name] - values for name, values in other._figures().items()}
        classes = {"T1": len(self.zsl), "U": len(self.unseen), "S": len(self.seen)}
        least = min(classes.values())
        return {
            name: bootstrap(float(values[0]), values[1:], classes.get(name, least)) for name, values in found.items()
        }

    def _figures(self) -> dict[str, NDArray[np.float64]]:
        """(1 + RESAMPLES,) each: of all classes, then of each resample; a class without images counts for nothing."""
        zsl, unseen, seen = (_means(values, seed) for values, seed in ((self.zsl, 0), (self.unseen, 0), (self.seen, 1)))
        total = unseen + seen
        harmonic = np.divide(2 * unseen * seen, total, out=np.zeros_like(total), where=total != 0)
        return {"T1": zsl, "U": unseen, "S": seen, "H": harmonic}


def accuracies(data: Dataset, runs: dict[int, Scores], calibration: float) -> ClassAccuracies:
    """Those of the test images, from the scores of each seed."""
    return ClassAccuracies.of(by_class(runs, [data.classes[k] for k in data.class_order], calibration))


def _means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    present = values[~np.isnan(values)]
    if not len(present):
        return np.full(1 + RESAMPLES, np.nan)
    return np.concatenate([[present.mean()], resampled_means(present, seed)])


def seen_unseen(runs: dict[int, Scores], points: int = 200) -> pd.DataFrame:
    """The seen/unseen curve of each seed, thinned to `points` rows: calibration factor, unseen, seen, harmonic mean."""
    tables = []
    for seed, scores in runs.items():
        curve = scores.curve()
        rows = np.unique(np.linspace(1, len(curve.factors) - 1, points).round().astype(int))
        columns = {
            "calibration": curve.factors[rows],
            "unseen": 100 * curve.unseen[rows],
            "seen": 100 * curve.seen[rows],
            "harmonic": 100 * curve.harmonic[rows],
        }
        tables.append(pd.DataFrame({"seed": seed, **columns}))
    return pd.concat(tables)


def reliability_points(runs: dict[int, Scores], calibration: float, chosen: Confidence | None) -> pd.DataFrame:
    """Reliability diagrams of the images of all seeds: a row a bin, of each label space before and after.

    classes: all, unseen. temperature: before (1), after (the chosen one). confidence, accuracy: percent. No rows where
    nothing was chosen.
    """
    rows = []
    for when, joint, unseen in () if chosen is None else (("before", 1.0, 1.0), ("after", chosen.joint, chosen.unseen)):
        spaces = {
            "all": [(probabilities(one.joint(calibration), joint), one.labels) for one in runs.values()],
            "unseen": [(probabilities(one.zsl, unseen), one.unseen_labels - one.seen_count) for one in runs.values()],
        }
        for classes, pairs in spaces.items():
            chances, labels = join([chances for chances, _ in pairs]), np.concatenate([labels for _, labels in pairs])
            points = reliability(chances, labels)
            rows += [(classes, when, 100 * c, 100 * a, n) for c, a, n in zip(*points, strict=True)]
    return pd.DataFrame(rows, columns=["classes", "temperature", "confidence", "accuracy", "images"])


def explained_confusions(
    scores: Scores,
    names: list[str],
    calibration: float,
    signatures: NDArray[np.float32],
    predicted: NDArray[np.float32] | None,
    logits: NDArray[np.float32] | None,
    attributes: Sequence[str],
    count: int = 5,
) -> pd.DataFrame:
    """The most frequent confusions of one seed, all classes competing: a row a class pair and attribute.

    signatures: (classes, a), in the order of the scores. predicted: what R says of each image, (n, a); logits: what
    that adds to a class, (classes, a); both None where there is no R: no rows. Columns: actual, predicted, images,
    nearest (seen classes), attribute, contribution (mean over the images), more (has the class called more of it?).
    """
    rows = []
    called = best_class(scores.joint(calibration))
    if predicted is not None and logits is not None:
        for actual, other, images in frequent(scores.labels, called, count):
            total = sum(rows.sum(axis=0, keepdims=True) for (rows,) in blocks(scores.joint(0.0)[images]))
            nearest = nearest_seen(np.asarray(total) / len(images), scores.seen_mask)[0]
            values = (np.asarray(predicted[images]) * (logits[other] - logits[actual])).mean(axis=0)
            for one in ranked(values, signatures[other] - signatures[actual], attributes):
                like = ", ".join(names[k] for k in nearest)
                rows.append((names[actual], names[other], len(images), like, one.attribute, one.value, one.more))
    columns = ["actual", "predicted", "images", "nearest", "attribute", "contribution", "more"]
    return pd.DataFrame(rows, columns=columns)


def frequent(
    labels: NDArray[np.int64], called: NDArray[np.int64], count: int
) -> list[tuple[int, int, NDArray[np.int64]]]:
    """(class, what it is called, the images) of the `count` most frequent confusions; of equals the first classes."""
    wrong = np.flatnonzero(labels != called)
    pairs, place, sizes = np.unique(
        np.column_stack([labels[wrong], called[wrong]]), axis=0, return_inverse=True, return_counts=True
    )
    order = np.argsort(-sizes, kind="stable")[:count]
    return [(int(pairs[k, 0]), int(pairs[k, 1]), wrong[place.ravel() == k]) for k in order]


def confusion(scores: Scores, names: list[str]) -> pd.DataFrame:
    """A row a test_unseen image, of one seed: its class and the class predicted among the unseen ones."""
    return pd.DataFrame(
        {"actual": [names[k] for k in scores.unseen_labels], "predicted": [names[k] for k in scores.zsl_predictions]}
    )
