"""What the stages after `extract` read."""

from stages.common import artifact
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset


def used(dataset: str) -> Dataset:
    """The data set with its splits, less the images that `extract` had to skip."""
    return datasets.load(artifact(dataset, "dataset.h5"), features=artifact(dataset, "features.h5"))
