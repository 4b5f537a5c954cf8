"""MATLAB files: numbers and lists of text, nothing else, from any version of the format."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from zslcore.errors import ZSLError

HEADER, COMPRESSED = 128, b"\x0f\x00\x00\x00"
"""Bytes before the first variable, and the type that starts a compressed one (little-endian)."""


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Read variables of a MATLAB file: numbers in MATLAB's own shape, cells of text as (n,) str.

    Only the variables asked for are read; optional ones may be absent. Versions up to 7 and 7.3 (HDF5) both work.
    Raises ZSLError when the file is missing or damaged, lacks a required variable, or holds one of another type.
    """
    if not path.is_file():
        raise ZSLError(f"{path}: no such file; check the path")
    wanted = (*required, *optional)
    try:
        if h5py.is_hdf5(path):
            present, found = _read_hdf5(path, wanted)
        else:
            _probe(path, wanted)
            present = [name for name, _, _ in whosmat(path)]
            found = loadmat(path, variable_names=[name for name in wanted if name in present])
    except ZSLError:
        raise
    except Exception as error:  # SciPy's reader raises errors of a dozen types on damaged files
        raise ZSLError(
            f"{path}: cannot be read as a MATLAB file ({type(error).__name__}: {error}); download or save it again"
        ) from error
    for name in required:
        if name not in found:
            raise ZSLError(
                f"{path}: no variable '{name}', only {', '.join(sorted(present)) or 'none at all'}; "
                "check that this is the right file"
            )
    return {name: _plain(path, name, found[name]) for name in wanted if name in found}


def _probe(path: Path, wanted: Sequence[str]) -> None:
    """Read the file in another process first: damage can crash SciPy's reader, which no exception reports.

    Compressed files carry checksums, so that damage is found before it does harm; they are not read twice.
    """
    with open(path, "rb") as stream:
        header = stream.read(HEADER + 4)
    if header[HEADER:] in (COMPRESSED, COMPRESSED[::-1]):
        return
    command = "import sys; from scipy.io import loadmat; loadmat(sys.argv[1], variable_names=sys.argv[2:])"
    done = subprocess.run([sys.executable, "-c", command, str(path), *wanted], capture_output=True, check=False)
    if done.returncode < 0:
        raise ZSLError(f"{path}: damaged, the reader of MATLAB files crashes on it; download or save it again")


def _plain(path: Path, name: str, value: Any) -> NDArray[Any]:
    """Numbers as they are; cells and character matrices as (n,) str; anything else is refused."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            return value
        if value.dtype.kind == "U":
            return np.array([text.strip() for text in value.ravel()], dtype=str)
        if value.dtype.kind == "O" and (texts := [_text(cell) for cell in value.ravel()]) and None not in texts:
            return np.array(texts, dtype=str)
    raise ZSLError(f"{path}: '{name}' is neither numbers nor a list of text; check that this is the right file")


def _text(cell: Any) -> str | None:
    """The text of one cell, or None where it is something else."""
    if isinstance(cell, np.ndarray) and cell.dtype.kind == "U" and cell.size <= 1:
        return str(cell.ravel()[0]).strip() if cell.size else ""
    return None


def _read_hdf5(path: Path, wanted: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Version 7.3: HDF5 with the axes of every array reversed, text as codes, cells as references."""
    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        for name in wanted:
            if name not in file:
                continue
            node = file[name]
            own = isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(node, h5py.Dataset)
            if not own or node.external or node.is_virtual:
                raise ZSLError(f"{path}: '{name}' is not stored in the file itself; save it again with MATLAB")
            if h5py.check_ref_dtype(node.dtype) is h5py.Reference:
                cells = [file[reference] for reference in node[()].T.ravel()]
                found[name] = np.empty(len(cells), dtype=object)
                found[name][:] = [_characters(cell) for cell in cells]
            else:
                found[name] = node[()].T
        return [name for name in file if not name.startswith("#")], found


def _characters(cell: Any) -> NDArray[Any] | None:
    """A cell of character codes as one text, or None."""
    if not isinstance(cell, h5py.Dataset) or cell.attrs.get("MATLAB_class") != b"char":
        return None
    if cell.attrs.get("MATLAB_empty"):
        return np.array([""])
    return np.array(["".join(map(chr, cell[()].T.ravel()))])
