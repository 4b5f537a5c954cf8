"""A data set of the project's folder, in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset

ARTIFACTS = Path("artifacts")


def load_dataset(name: Path | str) -> Dataset:
    """A prepared data set with its features, by its name in the project's folder, or by the path of its `dataset.h5`.

    Features are those that `extract` wrote next to it, or else those that came with it; None where there are neither
    yet. Images that were skipped as unreadable leave every split, and their features are zeros.
    Raises ZSLError where there is no such file, or it is damaged; StaleFile where the features are of other data.
    """
    given = Path(name)
    path = given if given.suffix == ".h5" else ARTIFACTS / given / "dataset.h5"
    features = path.with_name("features.h5")
    if not features.exists():
        return datasets.load(path, with_features=True)
    data = datasets.load(path, features=features)
    rows = np.setdiff1d(np.arange(len(data.labels)), datasets.skipped_rows(features))
    read = datasets.load_features(features, rows)
    whole = np.zeros((len(data.labels), read.shape[1]), np.float32)
    whole[rows] = read
    return replace(data, features=whole)
