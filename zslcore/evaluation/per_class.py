"""What stands behind the headline figures: per-class accuracy, the seen/unseen curve, confusions."""

from pathlib import Path

import numpy as np
import pandas as pd

from zslcore.evaluation.metrics import Scores, accuracy_by_class
from zslcore.io.artifacts import atomic


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
        shifted = np.concatenate([scores.joint_seen, scores.joint_unseen]) - calibration * scores.seen_mask
        joint.append(accuracy_by_class(labels, shifted.argmax(axis=1), classes))
        predicted = scores.seen_count + scores.zsl.argmax(axis=1)
        zsl.append(accuracy_by_class(scores.unseen_labels, predicted, classes))
    return pd.DataFrame(
        {
            "class": names,
            "kind": np.where(first.seen_mask, "seen", "unseen"),
            "images": np.bincount(labels, minlength=len(names)),
            "gzsl": 100 * np.mean(joint, axis=0),
            "zsl": 100 * np.mean(zsl, axis=0),
        }
    )


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


def confusion(scores: Scores, names: list[str]) -> pd.DataFrame:
    """A row a test_unseen image, of one seed: its class and the class predicted among the unseen ones."""
    predicted = scores.seen_count + scores.zsl.argmax(axis=1)
    return pd.DataFrame(
        {"actual": [names[k] for k in scores.unseen_labels], "predicted": [names[k] for k in predicted]}
    )
