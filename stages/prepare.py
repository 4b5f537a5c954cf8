"""Stage `prepare`: the data set as one HDF5 file, checked from end to end."""

from pathlib import Path
from typing import Annotated

import typer

from stages.common import DatasetName, artifact, say

Images = Annotated[int | None, typer.Option(min=1, help="With --dry-run: pretend there are this many images.")]
Dimensions = Annotated[
    int | None, typer.Option(min=1, help="With --dry-run: pretend features have this many dimensions.")
]


def command(
    dataset: DatasetName,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print the disk each cached artifact needs.")
    ] = False,
    images: Images = None,
    dimensions: Dimensions = None,
    strict_splits: Annotated[
        bool, typer.Option("--strict-splits", help="Refuse train_loc and val_loc that contain test images.")
    ] = False,
) -> None:
    """Read a data set from its source (drawn birds, the benchmark's files, a folder of images) and check it."""
    from zslcore.datasets import dataset as datasets
    from zslcore.datasets import registry
    from zslcore.disk import Size, artifact_sizes, dimensions_of
    from zslcore.params import load_params

    params = load_params()
    raw = params.source(dataset) | ({"strict_splits": True} if strict_splits else {})
    settings = params.resolve(dataset)  # a misspelt parameter of a later stage is better known now
    source = registry.source(raw, f"{params.file}: sources.{dataset}")
    data = source.load(dataset, Path())
    datasets.check_choosable(data)
    for note in (*data.notes, *datasets.twins(data)):
        say(f"{dataset}: note: {note}")
    if dry_run:
        own = None if data.features is None else data.features.shape[1]
        size = Size.of(data, images, dimensions or own or dimensions_of(settings.extract.backbone))
        sizes = artifact_sizes(size, settings, len(params.seeds))
        print(f"{dataset}: {size.images} images x {size.dimensions} dimensions, {len(params.seeds)} seeds")
        for name, count in [*sizes.items(), ("total", sum(sizes.values()))]:
            print(f"{name:>18} {count / 1e6:10.1f} MB")
        print("DVC keeps a second copy in its cache where the file system cannot share blocks (reflink).")
        return
    inputs = {path.as_posix(): path for path in source.files()}
    datasets.save(artifact(dataset, "dataset.h5"), data, raw, inputs)
