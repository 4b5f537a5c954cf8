"""What an artifact is: its format, what it was made of and with, and the shapes and ranges of what it holds."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zslcore import artifacts, recorded
from zslcore.errors import ZSLError

BYTES_AT_ONCE = 2**24


@dataclass(frozen=True)
class Array:
    """One array: low and high over its finite numbers (None without any, and for text), and how many are not finite."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float | None = None
    high: float | None = None
    not_finite: int = 0


@dataclass(frozen=True)
class Contents:
    """An artifact. about: `format`, `version`, `created_by` and its other attributes; params, inputs and libraries.

    Of JSON and CSV, which carry nothing, all this is what dvc.lock has of them; libraries are those of their inputs.
    """

    about: dict[str, Any]
    params: Any
    inputs: Any
    libraries: Any
    arrays: tuple[Array, ...]


def inspect(path: Path) -> Contents:
    """Look into an artifact (HDF5, safetensors) of any format and version, a block at a time; or a result (JSON, CSV).

    Raises ZSLError for a file that is none of these, or is damaged.
    """
    try:
        with open(path, "rb") as stream:
            hdf5 = stream.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError as error:
        raise ZSLError(f"{path}: cannot be read ({error.strerror}); give the path of an artifact") from error
    if path.suffix in (".json", ".csv"):
        return _result(path)
    return _hdf5(path) if hdf5 else _tensors(path)


def _hdf5(path: Path) -> Contents:
    with artifacts.open_hdf5(path) as file:
        about = {name: artifacts.attribute(file, name) for name in sorted(file.attrs)}
        return _contents(about, tuple(_array(file, name) for name in _names(file)))


def _names(group: h5py.Group, prefix: str = "") -> Iterator[str]:
    for name in group:
        child = group[name]
        if isinstance(child, h5py.Group):
            yield from _names(child, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}"


def _array(file: h5py.File, name: str) -> Array:
    node = file[name]
    if isinstance(node, h5py.Dataset) and h5py.check_string_dtype(node.dtype):
        return Array(name, artifacts.dataset(file, name, str).shape, "text")
    source = artifacts.dataset(file, name)
    if source.ndim == 0:
        return _ranged(name, source.shape, source.dtype, iter([np.asarray(artifacts.read(source, ()))]))
    rows = max(1, BYTES_AT_ONCE // max(1, source.dtype.itemsize * int(np.prod(source.shape[1:]))))
    blocks = (artifacts.read(source, slice(start, start + rows)) for start in range(0, len(source), rows))
    return _ranged(name, source.shape, source.dtype, blocks)


def _tensors(path: Path) -> Contents:
    about, tensors = artifacts.open_tensors(path, "give the path of an artifact, or make it again with dvc repro")
    arrays = tuple(_ranged(name, value.shape, value.dtype, iter([value])) for name, value in tensors.items())
    return _contents(about, arrays)


def _result(path: Path) -> Contents:
    try:
        arrays = tuple(_leaves(artifacts.read_json(path)) if path.suffix == ".json" else _columns(path))
    except RecursionError as error:
        raise ZSLError(f"{path}: nested too deep; delete it and run dvc repro") from error
    about: dict[str, Any] = {"format": path.suffix.removeprefix(".").upper()}
    record = recorded.find(path)
    if record is None:
        return Contents(about | {"created_by": "not known: no dvc.lock above it has it"}, {}, {}, {}, arrays)
    about |= {"created_by": record.command + ("" if record.same else ", but the file was changed since")}
    libraries: dict[str, str] = {}
    for place in (record.folder / name for name in record.inputs):
        if place.suffix == ".h5" and place.is_file():
            with artifacts.open_hdf5(place) as file:
                found = _json(artifacts.attribute(file, "libraries"))
                libraries |= found if isinstance(found, dict) else {}
    return Contents(about, record.params, record.inputs, libraries, arrays)


def _leaves(value: Any, name: str = "") -> Iterator[Array]:
    """Every value of nested JSON under its dotted name; a list of numbers is one array."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and not _numeric(value):
        for position, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{position}]")
    elif _numeric(value):
        values = np.asarray(value)
        yield _ranged(name or "value", values.shape, values.dtype, iter([values]))
    else:
        yield Array(name or "value", (), "nothing" if value is None else "text")


def _numeric(value: Any) -> bool:
    """Whether a JSON value is a number, a truth value, or a table of them."""
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # rows of unequal length
        return False


def _columns(path: Path) -> Iterator[Array]:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ZSLError(f"{path}: not valid CSV ({error}); delete it and run dvc repro") from error
    for name, column in table.items():
        if column.dtype.kind in "biuf":
            yield _ranged(str(name), column.shape, column.dtype, iter([column.to_numpy()]))
        else:
            yield Array(str(name), column.shape, "text")


def _ranged(name: str, shape: tuple[int, ...], dtype: Any, blocks: Iterator[NDArray[Any]]) -> Array:
    low, high, not_finite = float("inf"), float("-inf"), 0
    for block in blocks:
        finite = block[np.isfinite(block)]
        not_finite += int(block.size - finite.size)
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    known = low <= high
    return Array(name, tuple(shape), str(dtype), low if known else None, high if known else None, not_finite)


def _contents(about: dict[str, Any], arrays: tuple[Array, ...]) -> Contents:
    params, inputs, libraries = (_json(about.pop(name, None)) for name in ("params", "inputs", "libraries"))
    return Contents(about, params, inputs, libraries, arrays)


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text
