"""A data set as the benchmark's two files, `res101.mat` and `att_splits.mat`, which other people's code reads."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.io import artifacts

FEATURES, SPLITS = "res101.mat", "att_splits.mat"


def write(data: Dataset, folder: Path) -> tuple[Path, Path]:
    """Write both files, each atomically; returns their paths.

    data: with features. Rows and classes are counted from 1, as everywhere in this format. `train_loc` and `val_loc`
    divide trainval by the first validation split, where there is one. Classes without an image are left out: the format
    has no place for them. Raises ZSLError where there are no features.
    """
    if data.features is None:
        raise ZSLError(f"data set '{data.name}' has no features; extract them first: dvc repro extract@{data.name}")
    present = np.unique(data.labels)
    labels = np.searchsorted(present, data.labels)
    names = [data.classes[k] for k in present]
    files = data.image_files or [f"{names[label]}/{row}" for row, label in enumerate(labels)]
    held_out = data.validation_splits[0] if data.validation_splits else np.empty(0, np.int64)
    is_val = np.isin(data.labels[data.trainval], held_out)
    rows = {
        "trainval_loc": data.trainval,
        "test_seen_loc": data.test_seen,
        "test_unseen_loc": data.test_unseen,
        **({"train_loc": data.trainval[~is_val], "val_loc": data.trainval[is_val]} if is_val.any() else {}),
    }
    signatures = data.signatures[present].T
    splits = {
        "allclasses_names": _cells(names),
        "att": signatures.astype(np.float64),
        "original_att": signatures.astype(np.float64),
        **{name: _from_one(values) for name, values in rows.items()},
    }
    features = {"features": data.features.T, "labels": _from_one(labels), "image_files": _cells(files)}
    paths = folder / FEATURES, folder / SPLITS
    for path, variables in zip(paths, (features, splits), strict=True):
        with artifacts.atomic(path) as temporary, temporary.open("wb") as out:
            savemat(out, variables, do_compression=True)
    return paths


def _from_one(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """A column that counts from 1, in MATLAB's type of numbers."""
    return (np.asarray(numbers, np.float64) + 1).reshape(-1, 1)


def _cells(texts: Iterable[str]) -> NDArray[Any]:
    """A column of cells of text."""
    return np.array(list(texts), dtype=object).reshape(-1, 1)
