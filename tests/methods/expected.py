"""Expected scores of every method on the toy task: `python -m tests.methods.expected [NAME ...]` writes them anew."""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from tests.conftest import make_dataset, make_maps
from zslcore.datasets.dataset import Dataset
from zslcore.evaluation.protocol import Task, benchmark_task, fit, score
from zslcore.methods import registry
from zslcore.methods.base import Method

FILE = Path(__file__).with_name("expected.json")
IMAGES, CLASSES = (0, 17, 40), (0, 7, 13)
"""Rows of the unseen test images (of classes 12, 13 and 15), and columns of the joint scores: two seen, one unseen."""


def make(name: str) -> Method[Any]:
    """A method with its quick settings."""
    cls = registry.get(name)
    return cls(cls.Settings(**cls.quick))


def task_for(name: str, data: Dataset) -> Task:
    """The problem of a toy data set, with what the method learns from."""
    assert data.features is not None
    return benchmark_task(data, make_maps(data) if registry.get(name).input == "maps" else data.features)


def quick(name: str, task: Task) -> Method[Any]:
    """One fitted on a task."""
    return fit(make(name), task, 0)


def measured(method: Method[Any], task: Task) -> dict[str, Any]:
    """Of a fitted method: T1, U, S and AUSUC in percent; joint scores (images, classes); losses of the first epoch."""
    scores = score(method, task, 0)
    curve = getattr(method, "curve", None) or getattr(getattr(method, "model", None), "curve", [{}])
    unseen, seen, _ = scores.curve().at(0.0)
    figures = {"T1": scores.zsl_top1, "U": unseen, "S": seen, "AUSUC": scores.curve().area}
    chosen = scores.joint_unseen[np.ix_(IMAGES, CLASSES)]
    return {
        **{name: round(100 * value, 2) for name, value in figures.items()},
        "scores": [[_rounded(value) for value in row] for row in chosen],
        "losses": {name: _rounded(value) for name, value in curve[0].items()},
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def main() -> None:
    """Fit the named methods, or all, with their quick settings, and store what they score."""
    data = make_dataset()
    stored = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in sys.argv[1:] or sorted(registry.METHODS):
        task = task_for(name, data)
        stored[name] = measured(quick(name, task), task)
    known = {name: stored[name] for name in sorted(stored) if name in registry.METHODS}
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in known.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
