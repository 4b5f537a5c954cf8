"""Named arrays in files of many formats, read a block of rows at a time.

What a file is, its first bytes say: .npy, .npz, HDF5 (MATLAB's 7.3 too), safetensors, Parquet, or what torch.save wrote
(read with weights_only). Nothing is unpickled, and no file takes more memory than its bytes explain.
"""

import math
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from zslcore.errors import ZSLError, first_line
from zslcore.io.artifacts import open_hdf5

FORMATS = ".npy, .npz, HDF5, safetensors, Parquet or .pt"
BLOCK = 2**24
"""Bytes of rows that are read at once."""
SMALL, RATIO = 2**26, 100
"""An array may claim so many bytes, or so many times those of its file."""
INDEX = "__index_level"
"""Columns of Parquet that pandas adds begin so."""


@dataclass(frozen=True)
class Column:
    """An array in a file. shape: (n, ...). kind: of its dtype, "O" for text. blocks: its rows, in order, some at once.

    whole: the array itself where it is mapped into memory, which takes none until it is read.
    """

    shape: tuple[int, ...]
    kind: str
    blocks: Callable[[], Iterator[NDArray[Any]]]
    whole: NDArray[Any] | None = None


class Arrays:
    """The arrays of an open file, by name; a context. Raises ZSLError for a damaged file, or one of another format."""

    def __init__(self, path: Path) -> None:
        self.path, self._open = path, ExitStack()
        self.columns: Mapping[str, Column] = {}

    def __enter__(self) -> "Arrays":
        reader = _reader(self.path)
        with self._open:
            self.columns = self.guarded(lambda: reader(self.path, self._open))
            self._open = self._open.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def guarded(self, read: Callable[[], Any]) -> Any:
        """What `read` gives; whatever a library raises on a damaged file becomes a ZSLError with its name."""
        try:
            return read()
        except ZSLError:
            raise
        except ImportError as error:
            raise ZSLError(f"{self.path}: needs a package that is not installed ({error}); install it") from error
        except Exception as error:  # errors of dozens of types
            kind = type(error).__name__
            raise ZSLError(f"{self.path}: damaged ({kind}: {first_line(error)}); save or download it again") from error

    def find(self, names: Sequence[str], fits: Callable[[Column], bool], what: str) -> Column | None:
        """The array of one of these names, else the only one that fits; None where none has a name or fits.

        what: what it should be, for messages. Raises ZSLError where several fit, and where the one so called does not.
        """
        plain = {name: name.rpartition("/")[2].casefold() for name in self.columns}
        called = [name for wanted in names for name in self.columns if plain[name] == wanted]
        fitting = called[:1] or [name for name, column in self.columns.items() if fits(column)]
        if len(fitting) > 1:
            raise ZSLError(f"{self.path}: {self.listed()}; call the one that is meant '{names[0]}'")
        if not fitting:
            return None
        column = self.columns[fitting[0]]
        if not fits(column):
            raise ZSLError(
                f"{self.path}: '{fitting[0]}' of shape {column.shape} is no {what}; there are {self.listed()}"
            )
        self._check_claim(fitting[0], column)
        return column

    def listed(self) -> str:
        """The arrays and their shapes, the first ten."""
        names = [f"'{name}' {column.shape}" for name, column in islice(self.columns.items(), 10)]
        return ", ".join(names) + (f" and {len(self.columns) - 10} more" if len(self.columns) > 10 else "") or "nothing"

    def _check_claim(self, name: str, column: Column) -> None:
        if 4 * math.prod(column.shape) > max(SMALL, RATIO * self.path.stat().st_size):
            raise ZSLError(
                f"{self.path}: '{name}' of shape {column.shape} in {self.path.stat().st_size:,} bytes; save it without "
                "compression"
            )


def is_matrix(column: Column) -> bool:
    """Whether it is a table of numbers (n, d)."""
    return len(column.shape) == 2 and column.kind in "biuf" and min(column.shape) > 0


def is_list(column: Column) -> bool:
    """Whether it is a list (n,), (n, 1) or (1, n) of whole numbers or of text."""
    return len(column.shape) in (1, 2) and max(column.shape) == math.prod(column.shape) and column.kind in "iufO"


def values(column: Column) -> NDArray[Any]:
    """A list, all of it: (n,) numbers, or objects of str."""
    return np.concatenate([block.ravel() for block in column.blocks()])


def fill(column: Column, out: NDArray[np.float32], rows: NDArray[np.bool_] | None = None) -> None:
    """Copy the rows (n, d) of an array into one of float32; what is too large for it becomes infinite.

    rows: (n,) which of them; None: all.
    """
    read = start = 0
    with np.errstate(over="ignore"):
        for block in column.blocks():
            wanted = block if rows is None else block[rows[read : read + len(block)]]
            out[start : start + len(wanted)] = wanted
            read, start = read + len(block), start + len(wanted)
            del block, wanted  # before the next is read


Reader = Callable[[Path, ExitStack], Mapping[str, Column]]


def _reader(path: Path) -> Reader:
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ZSLError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if start.startswith(b"\x93NUMPY"):
        return _npy
    if start.startswith(b"PAR1"):
        return _parquet
    if start.startswith(b"PK\x03\x04"):
        return _zip
    if h5py.is_hdf5(path):
        return _hdf5
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return _safetensors
    if start.startswith(b"\x80"):
        return _torch
    if start.startswith(b"MATLAB"):
        raise ZSLError(f"{path}: a MATLAB file; give it to `zsl import xlsa17`, or save the array as .npy")
    raise ZSLError(f"{path}: none of the formats that arrays are read from; save it as {FORMATS}")


def is_array_file(path: Path) -> bool:
    """Whether a file is of one of the formats, by its first bytes. Raises ZSLError where it cannot be read."""
    try:
        reader = _reader(path)
    except ZSLError:
        if not path.is_file():
            raise
        return False
    return reader is not _zip or not _is_workbook(path)


def _is_workbook(path: Path) -> bool:
    try:
        with ZipFile(path) as archive:
            return any(name.startswith("xl/") for name in archive.namelist())
    except Exception:  # zipfile raises what it likes; the reader says what is wrong
        return False


def sliced(
    array: Any, dtype: np.dtype[Any] | None = None, convert: Callable[[Any], NDArray[Any]] = np.asarray
) -> Column:
    """Of anything that has a shape and gives rows by a slice."""
    dtype = array.dtype if dtype is None else dtype
    shape = tuple(array.shape) or (1,)
    step = _rows_at_once(shape, dtype.itemsize)

    def blocks() -> Iterator[NDArray[Any]]:
        for start in range(0, shape[0], step):
            yield convert(array[start : min(start + step, shape[0])])

    return Column(shape, _kind(dtype), blocks)


def _rows_at_once(shape: tuple[int, ...], itemsize: int) -> int:
    return max(1, BLOCK // max(1, math.prod(shape[1:]) * itemsize))


def _kind(dtype: np.dtype[Any]) -> str:
    return "O" if dtype.kind in "US" else "?" if dtype.kind == "O" else dtype.kind


def _text(block: NDArray[Any]) -> NDArray[Any]:
    """Numbers as they are; text as objects of str."""
    if block.dtype.kind not in "OSU":
        return block
    return np.array([v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in block.ravel()], dtype=object)


def _npy(path: Path, _: ExitStack) -> Mapping[str, Column]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: the file must be as long as it claims
    except ValueError as error:
        raise ZSLError(
            f"{path}: cannot be read as .npy ({error}); save plain numbers or text with numpy.save"
        ) from error
    column = sliced(array, array.dtype, _text)

    def blocks() -> Iterator[NDArray[Any]]:
        for block in column.blocks():
            yield block
            if mapping := getattr(array, "_mmap", None):  # what was read takes no memory
                mapping.madvise(mmap.MADV_DONTNEED)

    return {"": Column(column.shape, column.kind, blocks if hasattr(mmap, "MADV_DONTNEED") else column.blocks, array)}


def _zip(path: Path, stack: ExitStack) -> Mapping[str, Column]:
    archive = stack.enter_context(ZipFile(path))
    members = [member for member in archive.infolist() if not member.is_dir()]
    if any(member.filename.endswith("/data.pkl") for member in members):
        return _torch(path, stack)
    columns = {}
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ZSLError(f"{path}: an archive with {member.filename!r} in it; unpack it, or save arrays as .npz")
        if member.file_size > max(SMALL, RATIO * member.compress_size):
            raise ZSLError(f"{path}: {member.filename!r} unpacks to {member.file_size:,} bytes; save it as .npy")
        columns[member.filename.removesuffix(".npy")] = _member(archive, member.filename, member.file_size)
    return columns


def _member(archive: ZipFile, name: str, size: int) -> Column:
    def header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(stream)

    with archive.open(name) as stream:
        shape, by_column, dtype = header(stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > size:
        return Column(shape, "?", lambda: iter(()))

    def blocks() -> Iterator[NDArray[Any]]:
        with archive.open(name) as stream:
            header(stream)
            if by_column and len(shape) > 1:
                flat = np.frombuffer(stream.read(), dtype)
                yield flat.reshape(shape[::-1]).T
                return
            step = _rows_at_once(shape or (1,), dtype.itemsize)
            for start in range(0, (shape or (1,))[0], step):
                rows = min(step, (shape or (1,))[0] - start)
                count = rows * math.prod(shape[1:])
                block = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
                yield _text(block.reshape(rows, *shape[1:]))

    return Column(shape or (1,), _kind(dtype), blocks)


def _hdf5(path: Path, stack: ExitStack) -> Mapping[str, Column]:
    file = stack.enter_context(open_hdf5(path))
    columns: dict[str, Column] = {}

    def visit(name: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset) or name.startswith("#") or node.external or node.is_virtual:
            return
        text = h5py.check_string_dtype(node.dtype) is not None
        if text or node.dtype.kind in "biuf":
            column = sliced(node, node.dtype, _text)
            columns[name] = Column(column.shape, "O" if text else column.kind, column.blocks)

    file.visititems(visit)
    return columns


def _safetensors(path: Path, stack: ExitStack) -> Mapping[str, Column]:
    file = stack.enter_context(safe_open(str(path), framework="numpy"))
    columns = {}
    for name in file.keys():  # noqa: SIM118 - no iterator here
        rows = file.get_slice(name)
        kind, bits = rows.get_dtype()[:1].lower().replace("b", "?"), rows.get_dtype().lstrip("BFIUOL")
        known = kind in "fiu" and bits in ("8", "16", "32", "64")
        dtype = np.dtype(f"{kind}{int(bits) // 8}") if known else np.dtype(object)
        columns[name] = sliced(_Slice(rows), dtype)
    return columns


class _Slice:
    """A slice of safetensors with a shape, as other arrays have it."""

    def __init__(self, rows: Any) -> None:
        self.rows, self.shape = rows, tuple(rows.get_shape())

    def __getitem__(self, rows: slice) -> Any:
        return self.rows[rows]


def _torch(path: Path, _: ExitStack) -> Mapping[str, Column]:
    import torch  # seconds; only where there is such a file

    try:
        mapped = not path.open("rb").read(1).startswith(b"\x80")  # files of before torch 1.6 cannot be
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        raise ZSLError(
            f"{path}: not tensors alone, or damaged ({first_line(error)}); save a tensor, or a dict of tensors and "
            "lists, with torch.save"
        ) from error
    columns = {}
    for name, value in (loaded if isinstance(loaded, dict) else {"": loaded}).items():
        if isinstance(value, torch.Tensor):
            sample = value[:0] if value.ndim else value
            plain = sample.float() if value.dtype == torch.bfloat16 else sample
            columns[str(name)] = sliced(value, plain.numpy().dtype, partial(_of_tensor, wide=plain is not sample))
        elif isinstance(value, list | tuple) and value and all(isinstance(item, str | int) for item in value):
            array = np.array(value, dtype=object if isinstance(value[0], str) else np.int64)
            columns[str(name)] = Column(array.shape, array.dtype.kind, partial(_at_once, array))
    return columns


def _at_once(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield array


def _of_tensor(tensor: Any, wide: bool) -> NDArray[Any]:
    return np.asarray((tensor.float() if wide else tensor).detach().numpy())


def _parquet(path: Path, stack: ExitStack) -> Mapping[str, Column]:
    """Each column by its name; where none is of lists, also the columns of numbers together, as `features`."""
    try:
        from pyarrow import parquet, types
    except ImportError as error:
        raise ZSLError(f"{path}: a Parquet file; pip install 'zslcore[parquet]', or save it as .npy") from error
    file = stack.enter_context(parquet.ParquetFile(path, memory_map=True))
    count, schema = file.metadata.num_rows, file.schema_arrow
    columns: dict[str, Column] = {}
    numbers = []
    for field in schema:
        if field.name.startswith(INDEX):
            continue
        if types.is_list(field.type) or types.is_large_list(field.type) or types.is_fixed_size_list(field.type):
            columns[field.name] = _lists(path, file, field.name, count)
        elif types.is_integer(field.type) or types.is_floating(field.type):
            numbers.append(field.name)
            kind = "i" if types.is_integer(field.type) else "f"
            columns[field.name] = Column((count,), kind, partial(_scalars, file, [field.name], True))
        elif types.is_string(field.type) or types.is_large_string(field.type) or types.is_dictionary(field.type):
            columns[field.name] = Column((count,), "O", partial(_scalars, file, [field.name], True))
    together = [name for name in numbers if name.casefold() not in ("label", "labels", "class", "split", "id", "index")]
    if together and "features" not in columns and not any(len(column.shape) == 2 for column in columns.values()):
        columns["features"] = Column((count, len(together)), "f", partial(_scalars, file, together, False))
    return columns


ROWS = 1024
"""Rows of Parquet that are read at once."""


def _scalars(file: Any, names: list[str], one: bool) -> Iterator[NDArray[Any]]:
    for batch in file.iter_batches(ROWS, columns=names):
        arrays = [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
        yield arrays[0] if one else np.stack(arrays, axis=1)


def _lists(path: Path, file: Any, name: str, count: int) -> Column:
    def blocks() -> Iterator[NDArray[Any]]:
        for batch in file.iter_batches(ROWS, columns=[name]):
            column = batch.column(0)
            flat = column.flatten().to_numpy(zero_copy_only=False)
            if column.null_count or len(flat) % len(column) or set(column.value_lengths().to_pylist()) != {width}:
                raise ZSLError(f"{path}: '{name}' has rows of different lengths; give every row {width} numbers")
            yield flat.reshape(len(column), -1)

    width = 0
    for batch in file.iter_batches(1, columns=[name]):
        first = batch.column(0)
        width = len(first.flatten())
        kind = first.flatten().to_numpy(zero_copy_only=False).dtype.kind
        break
    return Column((count, width), kind if width else "?", blocks)
