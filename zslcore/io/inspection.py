"""What an artifact is: its format, what it was made of and with, and the shapes and ranges of what it holds."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.io import artifacts

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
    """An artifact. about: `format`, `version`, `created_by` and its other attributes; params, inputs and libraries."""

    about: dict[str, Any]
    params: Any
    inputs: Any
    libraries: Any
    arrays: tuple[Array, ...]


def inspect(path: Path) -> Contents:
    """Look into an artifact (HDF5, safetensors) of any format and version, a block at a time.

    Raises ZSLError for a file that is neither, or is damaged.
    """
    if path.suffix in (".json", ".csv"):
        raise ZSLError(f"{path}: text, not an artifact; open it in an editor")
    try:
        with open(path, "rb") as stream:
            hdf5 = stream.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError as error:
        raise ZSLError(f"{path}: cannot be read ({error.strerror}); give the path of an artifact") from error
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
    about, tensors = artifacts.open_tensors(path)
    arrays = tuple(_ranged(name, value.shape, value.dtype, iter([value])) for name, value in tensors.items())
    return _contents(about, arrays)


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
    about.pop("digests", None)
    params, inputs, libraries = (_json(about.pop(name, None)) for name in ("params", "inputs", "libraries"))
    return Contents(about, params, inputs, libraries, arrays)


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text
