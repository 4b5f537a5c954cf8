"""The features of images at a place, in order: computed by the model's own network, or read from a file of features."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.features import image_sources
from zslcore.features.batches import Engine, decode_image
from zslcore.features.extract import STORE, by_plan
from zslcore.features.image_sources import Missing
from zslcore.io import artifacts
from zslcore.model.model import Model

Row = tuple[str, NDArray[Any] | None, str | None]
"""Name of an image, its features as the extractor gives them or None, and the reason where it has none."""
AT_ONCE = 1024


def rows_of(model: Model, place: str, engine: Engine, store_folder: Path = STORE, maps: bool = False) -> Iterator[Row]:
    """Every image of a place as `image_sources.of_place` reads it, or every row of an HDF5 file of features.

    What is computed stays in the store, so that an interrupted run goes on where it was. maps: with what
    `Model.attribute_maps` takes.
    Raises ZSLError where the place cannot be opened, the model takes features and the place has images, or it has no
    maps.
    """
    if place.endswith((".h5", ".hdf5")):
        yield from _given(Path(place), model)
        return
    if model.extractor is None:
        raise ZSLError(
            f"{place}: the model '{model.name}' was trained on given features, it cannot see images; give an HDF5 file "
            "with a data set `features` (images, dimensions)"
        )
    extractor = model.localiser if maps else model.extractor
    yield from by_plan(image_sources.of_place(place), extractor.plan, extractor.backbone, engine, store_folder)


def pictures_of(model: Model, place: str) -> Iterator[NDArray[np.uint8] | None]:
    """What the network sees of each image that `rows_of` gives, (height, width, 3); None where it cannot be read.

    Raises ZSLError for an HDF5 file, which has no pictures.
    """
    if place.endswith((".h5", ".hdf5")) or model.extractor is None:
        raise ZSLError(f"{place}: features, and no pictures to show maps on; give the images")
    for image in image_sources.of_place(place):
        yield None if isinstance(image, Missing) else decode_image(image, model.extractor.prepare).pixels


def _given(path: Path, model: Model) -> Iterator[Row]:
    wanted, other = ("maps", "features") if model.on_maps else ("features", "maps")
    with artifacts.open_hdf5(path) as file:
        ours = artifacts.attribute(file, "format") == artifacts.FEATURES.name
    with artifacts.open_artifact(path, artifacts.FEATURES) if ours else artifacts.open_hdf5(path) as file:
        if wanted not in file and other in file:
            raise ZSLError(
                f"{path}: holds {other} alone, and '{model.header.method}' takes {wanted}; set extract.output to both, "
                "and extract again"
            )
        source = artifacts.dataset(file, wanted, np.float16 if model.on_maps else np.float32, 4 if model.on_maps else 2)
        names = artifacts.strings(file, "names") if ours and "names" in file else ()
        skipped = set(artifacts.array(file, "skipped", np.int64, ndim=1).tolist()) if "skipped" in file else set()
        for start in range(0, len(source), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(source)))
            block = _read(source, rows, ours)
            for row, values in zip(rows.tolist(), block, strict=True):
                name = names[row] if names else f"{path.name}: row {row}"
                if row in skipped:
                    yield name, None, "its image was skipped as unreadable when features were made"
                elif not np.isfinite(values).all():
                    yield name, None, "its features hold NaN or infinity"
                else:
                    yield name, _row(values, model), None


def _row(values: NDArray[Any], model: Model) -> NDArray[Any]:
    """As the extractor gives it: a vector, or a record with a map."""
    if not model.on_maps:
        return values.astype(np.float32)
    record = np.zeros((), [("maps", np.float16, values.shape)])
    record["maps"] = values
    return record


def _read(source: h5py.Dataset, rows: NDArray[np.int64], checked: bool) -> NDArray[Any]:
    if checked:
        return artifacts.read_rows(source, rows)
    return np.asarray(artifacts.read(source, slice(int(rows[0]), int(rows[-1]) + 1)))
