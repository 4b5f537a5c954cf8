"""What the stages after `extract` read."""

import numpy as np
from numpy.typing import NDArray

from stages.common import artifact
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset, Seen


def used(dataset: str) -> Dataset:
    """The data set with its splits, less the images that `extract` had to skip."""
    return datasets.load(artifact(dataset, "dataset.h5"), features=artifact(dataset, "features.h5"))


def everything(dataset: str) -> tuple[Dataset, Seen, NDArray[np.float32]]:
    """The data set; what choices may be made on, read apart from it; and the features (n, d) of all its images."""
    data, features = used(dataset), artifact(dataset, "features.h5")
    seen = datasets.load_seen(artifact(dataset, "dataset.h5"), features)
    return data, seen, datasets.load_features(features, np.arange(len(data.labels)))
