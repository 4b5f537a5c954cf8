"""What is fuzzed: readers of other people's files, each given any bytes. Correct files to start from are `seeds`."""

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from scipy.io import savemat

from zslcore.datasets import folder, mat5, matfile, tables
from zslcore.errors import ZSLError

CLASSES = ("kiwi", "moa", "tūī")
HEADER = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM"


def mat(path: Path, data: bytes) -> None:
    """A MATLAB file; half of the inputs are packed first, so that a change reaches what is inside."""
    if data[:1] > b"\x7f":
        body = zlib.compress(data[1:], 1)
        data = b"x" + HEADER + struct.pack("<II", mat5.COMPRESSED, len(body)) + body
    path.write_bytes(data[1:])
    with suppress(ZSLError):
        matfile.read_mat(path, ("a", "features"), ("b", "names"))


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


def seeds(target: str) -> list[bytes]:
    """Inputs that are read without an error."""
    stream = BytesIO()
    names = np.array([["kiwi"], ["moa"]], dtype=object)
    savemat(stream, {"a": np.ones((2, 3)), "features": np.eye(2, dtype=np.uint8), "names": names, "b": "x"})
    whole = stream.getvalue()
    return {
        "mat": [b"\0" + whole, b"\xff" + whole[128:], b"\xff" + whole[128:256]],
        "csv": [b"class,size\nkiwi,1\nmoa,2e-3\n", b"class,split\nmoa,test_unseen\n", "moa\n\ntūī".encode()],
    }[target]
