"""Digests of what an artifact holds: of each row of each array, and one of all of them.

A row's digest is the first 8 bytes of its SHA-256. Row by row, because what may be looked at is a matter of rows: a
reader of trainval checks what it reads and opens no test row. They stand in the attribute `digests` of each data set, 8
bytes a row; hashing costs 0.08 s per 100 MB, at every write and whenever rows are read.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

BYTES_AT_ONCE = 2**24


def of_json(value: Any) -> str:
    """SHA-256 of plain data, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def of_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """SHA-256 of each array: type, shape and bytes."""
    found = {}
    for name, value in arrays.items():
        whole = hashlib.sha256(f"{value.dtype.str} {value.shape} ".encode())
        whole.update(_bytes(value))
        found[name] = whole.hexdigest()
    return found


def of_rows(values: NDArray[Any]) -> NDArray[np.uint64]:
    """(rows,) uint64: a digest of each row; (1,) of all of it where it is one number, empty, or a string of bytes."""
    content = _bytes(values)
    if _is_whole(values.shape, values.dtype):
        return _of([content])
    width = len(content) // len(values)
    return _of(content[start : start + width] for start in range(0, len(content), width)) if width else _empty(values)


def of_text(values: Iterable[bytes]) -> NDArray[np.uint64]:
    """(n,) uint64: a digest of each text, in UTF-8; (1,) where there is none."""
    return _of(list(values) or [b""])


def of_dataset(node: h5py.Dataset) -> NDArray[np.uint64]:
    """The digests of a data set, read a block at a time."""
    if h5py.check_string_dtype(node.dtype) is not None:
        blocks = _blocks(node, 16) if node.ndim else iter([node[()][None]])
        return of_text(text if isinstance(text, bytes) else str(text).encode() for block in blocks for text in block)
    if not _is_whole(node.shape, node.dtype):
        width = node.dtype.itemsize * int(np.prod(node.shape[1:]))
        return np.concatenate([of_rows(block) for block in _blocks(node, width)])
    if not node.ndim or not len(node):
        return of_rows(node[()])
    whole = hashlib.sha256()
    for block in _blocks(node, node.dtype.itemsize):
        whole.update(_bytes(block))
    return np.frombuffer(whole.digest()[:8], "<u8")


def stored(node: h5py.Dataset) -> NDArray[np.uint64]:
    """The digests that a data set was written with. Raises ValueError where it has none that fit."""
    if "digests" not in node.attrs:
        raise ValueError(f"'{node.name}' has no digests")
    recorded = node.attrs.get_id("digests")
    count = 1 if not node.ndim or _is_whole(node.shape, node.dtype) else len(node)
    if recorded.shape != (count,) or recorded.dtype != np.dtype("<u8") or 8 * count > node.file.id.get_filesize():
        raise ValueError(f"the digests of '{node.name}' do not fit its {count} rows")
    return np.asarray(node.attrs["digests"])


def content(file: h5py.File) -> str:
    """SHA-256 over the attributes of everything in a file, and the name, type, shape and digests of each data set.

    Reads no data. Raises ValueError where a data set has no digests that fit.
    """
    whole = hashlib.sha256()
    for name, node in _nodes(file):
        attributes = {
            key: str(node.attrs[key]) if node.attrs.get_id(key).shape == () else ""
            for key in sorted(node.attrs)
            if key not in ("content", "digests")
        }
        array = isinstance(node, h5py.Dataset)
        kind = f"{node.dtype.str} {node.shape}" if array else ""
        whole.update(json.dumps([name, kind, attributes], sort_keys=True).encode() + b"\0")
        if array:
            whole.update(stored(node).astype("<u8").tobytes())
    return whole.hexdigest()


def seal(file: h5py.File) -> None:
    """Record the digests of every data set, and the content of the file; what is recorded already stays as it is."""
    for _, node in _nodes(file):
        if isinstance(node, h5py.Dataset):
            digests = of_dataset(node)
            if "digests" not in node.attrs or not np.array_equal(node.attrs["digests"], digests):
                node.attrs["digests"] = digests
    if file.attrs.get("content") != (now := content(file)):
        file.attrs["content"] = now


def _bytes(values: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _is_whole(shape: tuple[int, ...], kind: np.dtype[Any]) -> bool:
    """Whether an array has one digest and no rows: one number, nothing at all, or bytes of something else."""
    return not shape or not shape[0] or (len(shape) == 1 and kind == np.uint8)


def _empty(values: NDArray[Any]) -> NDArray[np.uint64]:
    return np.repeat(_of([b""]), len(values))


def _of(parts: Iterable[Any]) -> NDArray[np.uint64]:
    return np.fromiter((int.from_bytes(hashlib.sha256(part).digest()[:8], "little") for part in parts), "<u8")


def _blocks(node: h5py.Dataset, width: int) -> Iterator[NDArray[Any]]:
    rows = max(1, BYTES_AT_ONCE // max(1, width))
    return (node[start : start + rows] for start in range(0, len(node), rows))


def _nodes(group: h5py.Group, name: str = "/") -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    yield name, group
    for key in sorted(group):
        child = group[key]
        if isinstance(child, h5py.Group):
            yield from _nodes(child, f"{name}{key}/")
        else:
            yield f"{name}{key}", child
