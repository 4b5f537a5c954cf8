"""The features of images at a place, in order: computed by the model's own network, or read from a file of features."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.features import image_sources
from zslcore.features.batches import Engine
from zslcore.features.extract import STORE, by_plan
from zslcore.io import artifacts
from zslcore.model.model import Model

Row = tuple[str, NDArray[np.float32] | None, str | None]
"""Name of an image, its features (d,) float32 or None, and the reason where it has none."""
AT_ONCE = 1024


def rows_of(model: Model, place: str, engine: Engine, store_folder: Path = STORE) -> Iterator[Row]:
    """Every image of a place as `image_sources.of_place` reads it, or every row of an HDF5 file of features.

    What is computed stays in the store, so that an interrupted run goes on where it was.
    Raises ZSLError where the place cannot be opened, or the model takes features and the place has images.
    """
    if place.endswith((".h5", ".hdf5")):
        yield from _given(Path(place))
        return
    if model.extractor is None:
        raise ZSLError(
            f"{place}: the model '{model.name}' was trained on given features, it cannot see images; give an HDF5 file "
            "with a data set `features` (images, dimensions)"
        )
    images = image_sources.of_place(place)
    yield from by_plan(images, model.extractor.plan, model.extractor.backbone, engine, store_folder)


def _given(path: Path) -> Iterator[Row]:
    with artifacts.open_hdf5(path) as file:
        ours = artifacts.attribute(file, "format") == artifacts.FEATURES.name
    with artifacts.open_artifact(path, artifacts.FEATURES) if ours else artifacts.open_hdf5(path) as file:
        source = artifacts.dataset(file, "features", np.float32, ndim=2)
        names = artifacts.strings(file, "names") if ours and "names" in file else ()
        skipped = set(artifacts.array(file, "skipped", np.int64, ndim=1).tolist()) if "skipped" in file else set()
        for start in range(0, len(source), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(source)))
            block = _read(source, rows, ours)
            for row, values in zip(rows.tolist(), block.astype(np.float32), strict=True):
                name = names[row] if names else f"{path.name}: row {row}"
                if row in skipped:
                    yield name, None, "its image was skipped as unreadable when features were made"
                elif not np.isfinite(values).all():
                    yield name, None, "its features hold NaN or infinity"
                else:
                    yield name, values, None


def _read(source: h5py.Dataset, rows: NDArray[np.int64], checked: bool) -> NDArray[np.float32]:
    if checked:
        return artifacts.read_rows(source, rows)
    return np.asarray(artifacts.read(source, slice(int(rows[0]), int(rows[-1]) + 1)))
