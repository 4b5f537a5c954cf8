"""Stage `prepare`: the data set as one HDF5 file, checked from end to end."""

from pathlib import Path
from typing import Annotated

import typer

from zslcore.datasets import dataset as datasets
from zslcore.datasets import readiness, registry
from zslcore.evaluation.selected import chosen_names
from zslcore.project.params import data_file

from .common import DatasetName, say
from .workspace import Workspace


def command(
    dataset: DatasetName,
    strict_splits: Annotated[
        bool, typer.Option("--strict-splits", help="Refuse train_loc and val_loc that contain test images.")
    ] = False,
) -> None:
    """Read a data set from its source (drawn birds, the benchmark's files, a folder of images) and check it."""
    workspace = Workspace(dataset)
    raw = dict(workspace.resolved.source) | ({"strict_splits": True} if strict_splits else {})
    source = registry.source(raw, f"{data_file(dataset)}: source")
    data = source.dataset(dataset, Path())
    readiness.check(data, chooses=bool(chosen_names(workspace.settings)))
    for note in readiness.notes(data):
        say(f"{dataset}: note: {note}")
    inputs = {path.as_posix(): path for path in source.all_files() if path.is_file()}
    datasets.save(workspace.artifact("dataset.h5"), data, raw, inputs)
