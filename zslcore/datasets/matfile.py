"""MATLAB files: numbers and lists of text, nothing else, of versions 5 to 7.3 of the format."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore.datasets import mat5
from zslcore.errors import ZSLError, nearest
from zslcore.io import artifacts

KINDS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)} | {
    "double", "single", "logical", "char", "cell",
}  # fmt: skip
"""Classes of MATLAB whose values are stored as they are."""
CHARACTERS = 2**24
"""Cells of text may hold so many characters together, or as many as the file has bytes."""


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Read variables of a MATLAB file: numbers in MATLAB's shape, text and cells of text as (n,) object of str.

    Only the variables asked for are read; optional ones may be absent or empty, which is the same. Versions 5 to 7 and
    7.3 (HDF5) all work.
    Raises ZSLError when the file is missing or damaged, lacks a required variable, holds an empty one or one of another
    type (sparse, a struct, a string array: with what to do), or claims more than it can hold.
    """
    if not path.is_file():
        raise ZSLError(f"{path}: no such file; check the path")
    wanted = (*required, *optional)
    try:
        present, variables = (_read_hdf5 if h5py.is_hdf5(path) else mat5.read)(path, wanted)
    except ZSLError:
        raise
    except Exception as error:  # h5py raises errors of a dozen types on damaged files
        raise ZSLError(
            f"{path}: cannot be read as a MATLAB file ({type(error).__name__}: {error}); download or save it again"
        ) from error
    for name in required:
        if name not in variables:
            near = nearest(name, present)
            hint = f" (did you mean '{near}'?)" if near else ""
            raise ZSLError(
                f"{path}: no variable '{name}', only {', '.join(sorted(present)[:50]) or 'none at all'}{hint}; "
                "check that this is the right file"
            )
    values = {}
    for name, value in variables.items():
        if isinstance(value, str):
            raise ZSLError(f"{path}: '{name}' is neither numbers nor a list of text, but {value}")
        if name in required and not value.size:
            raise ZSLError(f"{path}: '{name}' is empty; check that this is the right file")
        if value.size:
            values[name] = value
    return values


def _read_hdf5(path: Path, wanted: Sequence[str]) -> tuple[list[str], dict[str, mat5.Value]]:
    """Version 7.3: HDF5 with the axes of every array reversed, text as codes, cells as references."""
    variables: dict[str, mat5.Value] = {}
    with artifacts.open_file(path) as file:
        for name in wanted:
            link = file.get(name, getlink=True)  # first, for a look through an external one opens another file
            if link is None:
                continue
            if not isinstance(link, h5py.HardLink):
                raise ZSLError(f"{path}: '{name}' is not stored in the file itself; save it again with MATLAB")
            variables[name] = _hdf5_value(path, file, file[name])
        return [name for name in file if not name.startswith("#")], variables


def _hdf5_value(path: Path, file: h5py.File, node: h5py.Dataset | h5py.Group) -> mat5.Value:
    kind = _kind(node)
    if isinstance(node, h5py.Group):
        return mat5.SPARSE if "MATLAB_sparse" in node.attrs else mat5.STRUCT
    if kind not in (*KINDS, ""):
        return mat5.STRUCT if kind == "struct" else mat5.OBJECT
    _check_stored(path, node)
    if node.attrs.get("MATLAB_empty"):  # what it holds is its shape
        return np.empty(0)
    if h5py.check_ref_dtype(node.dtype) is h5py.Reference:
        return _cells(path, file, node[()].T.ravel())
    if node.dtype.kind not in "biuf":
        return "of a type that MATLAB does not write"
    values = node[()].T
    if kind != "char":
        return values
    if values.dtype not in (np.uint8, np.uint16) or values.ndim != 2 or len(values) > mat5.STRINGS:
        raise mat5.Damaged(f"characters as {values.dtype} of shape {values.shape}")
    return np.array([_characters(row) for row in values], dtype=object)


def _kind(node: h5py.Dataset | h5py.Group) -> str:
    """The class of MATLAB that a variable says it is of, or nothing."""
    kind = node.attrs.get("MATLAB_class", b"")
    return kind.decode("latin-1") if isinstance(kind, bytes) else ""


def _characters(codes: NDArray[Any]) -> str:
    return codes.astype("<u2").tobytes().decode("utf-16-le", "replace").strip(mat5.PADDING)


def _check_stored(path: Path, node: h5py.Dataset) -> None:
    """Refuse an array that lies elsewhere, or claims more than its bytes can unpack to."""
    if node.external or node.is_virtual:
        raise ZSLError(f"{path}: '{node.name}' is not stored in the file itself; save it again with MATLAB")
    claimed, stored = math.prod(node.shape or ()) * node.dtype.itemsize, node.id.get_storage_size()
    if stored > path.stat().st_size or (claimed > mat5.RATIO * stored and (claimed > mat5.SMALL or not stored)):
        raise mat5.Damaged(f"'{node.name}' of shape {node.shape} in {stored} bytes")


def _cells(path: Path, file: h5py.File, references: NDArray[Any]) -> mat5.Value:
    """Cells of character codes as text, or what they are where one is something else."""
    if len(references) > mat5.STRINGS:
        raise mat5.Damaged(f"{len(references)} cells, of at most {mat5.STRINGS:,}")
    texts, length = [], 0
    for reference in references:
        cell = file[reference]
        if not isinstance(cell, h5py.Dataset) or _kind(cell) != "char":
            return mat5.CELLS
        if cell.attrs.get("MATLAB_empty"):
            texts.append("")
            continue
        _check_stored(path, cell)
        if cell.dtype not in (np.uint8, np.uint16):
            return mat5.CELLS
        length += cell.size
        if length > max(CHARACTERS, path.stat().st_size):
            raise mat5.Damaged("cells that repeat one text")
        texts.append(_characters(cell[()].T.ravel()))
    return np.array(texts, dtype=object)
