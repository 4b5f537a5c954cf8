"""`zsl doctor`: what is worth knowing of a data set before anything is made of it."""

from pathlib import Path

from zslcore.datasets import registry
from zslcore.datasets.dataset import SPLITS, Dataset
from zslcore.project.import_data import check_ready
from zslcore.project.params import Params, data_file

from .common import DatasetName


def command(dataset: DatasetName) -> None:
    """Read a data set from its source and say what a stage would refuse, and what is worth knowing."""
    params = Params()
    data = registry.source(params.source(dataset), f"{data_file(dataset)}: source").dataset(dataset, Path())
    print(f"{dataset}: {summary(data)}")
    notes = check_ready(data, params.resolve(dataset).pipeline)
    for note in notes:
        print(f"note: {note}")
    if not notes:
        print("nothing to note")


def summary(data: Dataset) -> str:
    """How many images, classes and attributes it has."""
    splits = ", ".join(f"{len(getattr(data, split))} {split}" for split in SPLITS)
    return (
        f"{len(data.labels)} images ({splits}), {len(data.seen)} seen and {len(data.unseen)} unseen classes, "
        f"{data.signatures.shape[1]} attributes"
    )
