"""What is fuzzed: readers of other people's files, each given any bytes. Correct files to start from are `seeds`."""

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

from zslcore.datasets import folder, mat5, matfile
from zslcore.errors import ZSLError
from zslcore.io import tables

CLASSES = ("kiwi", "moa", "tūī")
HEADER = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM"


def mat(path: Path, data: bytes) -> None:
    """A MATLAB file; half of the inputs are packed first, so that a change reaches what is inside."""
    if data[:1] > b"\x7f":
        body = zlib.compress(data[1:], 1)
        data = b"x" + HEADER + struct.pack("<II", mat5.COMPRESSED, len(body)) + body
    path.write_bytes(data[1:])
    with suppress(ZSLError):
        matfile.read_mat(path, ("a",), ("features", "b", "names"))


def csv(path: Path, data: bytes) -> None:
    """A table, a list of classes, and a table of splits."""
    path.write_bytes(data)
    with suppress(ZSLError):
        tables.read_table(path)
    with suppress(ZSLError):
        tables.read_classes(path, CLASSES)
    with suppress(ZSLError):
        folder.read_unseen(path.rename(path.with_suffix(".csv")), CLASSES)


TARGETS: dict[str, Callable[[Path, bytes], None]] = {"mat": mat, "csv": csv}


def version_73() -> bytes:
    """A MATLAB file of version 7.3, which is HDF5."""
    stream = BytesIO()
    with h5py.File(stream, "w", libver="latest") as file:
        file["a"] = np.ones((3, 2), np.float32)
        cell = file.create_dataset("#refs#/x", data=np.frombuffer(b"k\0i\0", np.uint16)[:, None])
        cell.attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("names", data=np.full((1, 2), cell.ref, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
    return stream.getvalue()


def seeds(target: str) -> list[bytes]:
    """Inputs that are read without an error."""
    whole, one = BytesIO(), BytesIO()
    names = np.array([["kiwi"], ["moa"]], dtype=object)
    savemat(whole, {"a": np.ones((2, 3)), "features": np.eye(2, dtype=np.uint8), "names": names, "b": "x"})
    savemat(one, {"a": np.ones((2, 3))})
    return {
        "mat": [b"\0" + whole.getvalue(), b"\xff" + one.getvalue()[128:], b"\0" + version_73()],
        "csv": [
            b"class,size\nkiwi,1\nmoa,2e-3\n",
            "class,split\nkiwi,trainval\nmoa,test_unseen\ntūī,ignored\n".encode(),
            "moa\n\ntūī".encode(),
        ],
    }[target]
