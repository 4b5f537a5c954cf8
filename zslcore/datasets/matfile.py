"""MATLAB files: numbers and lists of text, nothing else, of versions 5 to 7.3 of the format."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore.datasets import mat5
from zslcore.errors import ZSLError

CHARACTERS = 2**24
"""Cells of text may hold so many characters together, or as many as the file has bytes."""


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Read variables of a MATLAB file: numbers in MATLAB's shape, text and cells of text as (n,) object of str.

    Only the variables asked for are read; optional ones may be absent. Versions 5 to 7 and 7.3 (HDF5) all work.
    Raises ZSLError when the file is missing or damaged, lacks a required variable, holds one of another type, or claims
    more than it can hold.
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
            raise ZSLError(
                f"{path}: no variable '{name}', only {', '.join(sorted(present)[:50]) or 'none at all'}; "
                "check that this is the right file"
            )
    values = {}
    for name, value in variables.items():
        if value is None:
            raise ZSLError(f"{path}: '{name}' is neither numbers nor a list of text; check that this is the right file")
        values[name] = value
    return values


def _read_hdf5(path: Path, wanted: Sequence[str]) -> tuple[list[str], dict[str, mat5.Value]]:
    """Version 7.3: HDF5 with the axes of every array reversed, text as codes, cells as references."""
    variables: dict[str, mat5.Value] = {}
    with h5py.File(path, "r") as file:
        for name in wanted:
            link = file.get(name, getlink=True)  # first, for a look through an external one opens another file
            if link is None:
                continue
            if not isinstance(link, h5py.HardLink) or not isinstance(node := file[name], h5py.Dataset):
                raise ZSLError(f"{path}: '{name}' is not stored in the file itself; save it again with MATLAB")
            _check_stored(path, node)
            if h5py.check_ref_dtype(node.dtype) is h5py.Reference:
                variables[name] = _cells(path, file, node[()].T.ravel())
            elif node.dtype.kind in "biuf":
                variables[name] = node[()].T
            else:
                variables[name] = None
        return [name for name in file if not name.startswith("#")], variables


def _check_stored(path: Path, node: h5py.Dataset) -> None:
    """Refuse an array that lies elsewhere, or claims more than its bytes can unpack to."""
    if node.external or node.is_virtual:
        raise ZSLError(f"{path}: '{node.name}' is not stored in the file itself; save it again with MATLAB")
    claimed, stored = math.prod(node.shape or ()) * node.dtype.itemsize, node.id.get_storage_size()
    if stored > path.stat().st_size or (claimed > mat5.RATIO * stored and (claimed > mat5.SMALL or not stored)):
        raise mat5.Damaged(f"'{node.name}' of shape {node.shape} in {stored} bytes")


def _cells(path: Path, file: h5py.File, references: NDArray[Any]) -> mat5.Value:
    """Cells of character codes as text, or None where one is something else."""
    if len(references) > mat5.STRINGS:
        raise mat5.Damaged(f"{len(references)} cells, of at most {mat5.STRINGS:,}")
    texts, length = [], 0
    for reference in references:
        cell = file[reference]
        if not isinstance(cell, h5py.Dataset) or cell.attrs.get("MATLAB_class") != b"char":
            return None
        if cell.attrs.get("MATLAB_empty"):
            texts.append("")
            continue
        _check_stored(path, cell)
        if cell.dtype not in (np.uint8, np.uint16):
            return None
        length += cell.size
        if length > max(CHARACTERS, path.stat().st_size):
            raise mat5.Damaged("cells that repeat one text")
        codes = cell[()].T.ravel().astype("<u2")
        texts.append(codes.tobytes().decode("utf-16-le", "replace").strip(" "))
    return np.array(texts, dtype=object) if texts else None
