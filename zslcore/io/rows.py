"""Rows of numbers that need not be in memory: they are read when they are used, a block at a time.

A matrix up to `memory_limit` is an array, and all code does with it what it always did. A larger one is `Rows`, which
stands where the array would: indexing by rows gives fewer of them, `np.asarray` reads them.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.io import artifacts, digests

LIMIT = 2**29
"""Bytes of a matrix in float32 that is held in memory, unless ZSL_MEMORY says otherwise."""
SCORES = 32
"""Scores, of which a run has many, are held in memory up to this part of the limit."""
BLOCK = 8192
"""Rows that are read and worked on at once, at most."""
LEAST, PARTS = 64, 128
"""Fewer, but `LEAST`, where rows are so long that `BLOCK` of them take more than one of so many parts of the limit."""

Known = TypeVar("Known")
Function = Callable[[NDArray[Any]], NDArray[Any]]
"""Of a block of rows (n, d) -> (n, ...), which depend on no other row."""


def memory_limit() -> int:
    """Bytes up to which a matrix in float32 is held in memory: ½ GiB, or ZSL_MEMORY (in GiB, may be a fraction).

    Raises ZSLError where ZSL_MEMORY is no number above 0.
    """
    asked = os.environ.get("ZSL_MEMORY", "").strip()
    try:
        limit = float(asked) * 2**30 if asked else LIMIT
        if limit > 0:
            return int(min(limit, 2**62))
    except ValueError:
        pass
    raise ZSLError(
        f"ZSL_MEMORY is '{asked}'; give the GiB that a data set's features may take in memory, 0.5 by default"
    )


def fits(rows: int, width: int, part: int = 1) -> bool:
    """Whether a matrix (rows, width) in float32 is to be held in memory: it has at most a part of the limit."""
    return 4 * rows * width * part <= memory_limit()


def rows_at_once(width: int) -> int:
    """How many rows of so many numbers are read and worked on at once."""
    return min(BLOCK, max(LEAST, memory_limit() // (PARTS * max(1, width))))


@dataclass(frozen=True)
class Rows:
    """Rows (n, width), read by their numbers.

    read: row numbers (k,) int64, in any order -> (k, ...) numbers. numbers: (n,) of the rows it stands for. functions:
    each block of rows goes through these, one after the other. content: stands for the numbers in a hash of them.
    known: what `once` has computed.
    """

    read: Callable[[NDArray[np.int64]], NDArray[Any]]
    numbers: NDArray[np.int64]
    width: int
    functions: tuple[Function, ...] = ()
    content: bytes = b""
    known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    ndim: ClassVar[int] = 2
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, width)."""
        return len(self.numbers), self.width

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> Self:
        """Of some rows: a slice, (k,) row numbers, or a mask (n,)."""
        return replace(self, numbers=self.numbers[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read them, through the functions a block at a time. Raises ZSLError where the file is damaged."""
        step = rows_at_once(self.width)
        few = not self.functions or len(self) <= step
        values = self.apply(self.read(self.numbers)) if few else self._by_blocks(step)
        return values if dtype is None else values.astype(dtype, copy=False)

    def _by_blocks(self, step: int) -> NDArray[Any]:
        """The functions may take wider rows than they give; in the order of the file, where runs of rows are read."""
        order = np.argsort(self.numbers, kind="stable")
        whole: NDArray[Any] | None = None
        for start in range(0, len(order), step):
            rows = order[start : start + step]
            values = self.apply(self.read(self.numbers[rows]))
            if whole is None:
                whole = np.empty((len(order), *values.shape[1:]), values.dtype)
            whole[rows] = values
        assert whole is not None
        return whole

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """What `read` gave, through the functions."""
        for function in self.functions:
            values = function(values)
        return values

    def once(self, what: Any, compute: Callable[[], Known]) -> Known:
        """What is computed of these rows, called `what`: fits of many settings need it, and reading them takes long."""
        if what not in self.known:
            self.known[what] = compute()
        return cast(Known, self.known[what])

    def tobytes(self) -> bytes:
        """What stands for the numbers in a hash of them."""
        return self.content + self.numbers.tobytes()


def map_rows(x: NDArray[Any], function: Function) -> NDArray[Any]:
    """`function` of rows (n, d): at once of an array, later of `Rows`, whenever they are read."""
    if not isinstance(x, Rows):
        return function(x)
    width = function(np.asarray(x[:1])).shape[1]
    return as_array(replace(x, functions=(*x.functions, function), width=width))


def blocks(*arrays: NDArray[Any]) -> Iterator[Any]:
    """Blocks of rows of arrays of one length, a tuple of these each; a single block where none of them is `Rows`."""
    if not any(isinstance(x, Rows) for x in arrays):
        yield arrays
        return
    step = rows_at_once(max(x.shape[1] if x.ndim > 1 else 1 for x in arrays))
    for start in range(0, len(arrays[0]), step):
        yield tuple(np.asarray(x[start : start + step]) for x in arrays)


def by_blocks(function: Callable[..., Any], *arrays: NDArray[Any]) -> Any:
    """`function` of rows, each block of them by itself, put together: an array (n, ...), or a tuple of such."""
    parts = [function(*block) for block in blocks(*arrays)]
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))
    return np.concatenate(parts)


def join(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The rows of several matrices, one after the other: `Rows` where one of them is."""
    if not any(isinstance(part, Rows) for part in parts):
        return np.concatenate(parts)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    whole = Rows(partial(_read_joined, tuple(parts), starts), np.arange(starts[-1]), parts[0].shape[1])
    return as_array(whole)


def _read_joined(parts: tuple[NDArray[Any], ...], starts: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
    of_part = np.searchsorted(starts, rows, side="right") - 1
    found = {k: np.asarray(parts[k][rows[of_part == k] - starts[k]]) for k in {0, *np.unique(of_part)}}
    whole = np.empty((len(rows), *found[0].shape[1:]), found[0].dtype)
    for k, values in found.items():
        whole[of_part == k] = values
    return whole


def stored(
    path: Path, format: artifacts.Format, name: str, rows: NDArray[np.int64] | None = None, part: int = 1
) -> NDArray[Any]:
    """Rows of a matrix of an artifact, or all, as float32: an array where the whole matrix fits in memory, else `Rows`.

    part: of the limit that it may take. Each row is checked against its digest whenever it is read. Raises ZSLError
    where the file is damaged.
    """
    with artifacts.open_artifact(path, format) as file:
        source = artifacts.dataset(file, name, ndim=2)
        count, width = source.shape
        wanted = np.arange(count) if rows is None else rows
        if fits(count, width, part):
            return artifacts.read_rows(source, wanted).astype(np.float32, copy=False)
        content = str(artifacts.attribute(file, "content"))
    read = _Stored(path.resolve(), format, name, content)  # other processes may stand in another folder
    return as_array(Rows(read, wanted, width, content=f"{content}/{name}".encode()))


@dataclass(frozen=True)
class _Stored:
    """Reads rows of an artifact's matrix, as float32.

    content: of the file. A process opens it once, and goes on with that file where another takes its name.
    """

    path: Path
    format: artifacts.Format
    name: str
    content: str

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        source, known = _opened(self)
        return artifacts.read_rows(source, rows, known).astype(np.float32, copy=False)


_open: dict[_Stored, tuple[int, h5py.Dataset, NDArray[np.uint64]]] = {}
"""The process that opened it, the data set, and the digests of its rows."""


def _opened(of: _Stored) -> tuple[h5py.Dataset, NDArray[np.uint64]]:
    if of not in _open or _open[of][0] != os.getpid():  # a fork may not share what its parent has open
        file = artifacts.open_file(of.path)
        if artifacts.attribute(file, "content") != of.content:
            raise of.format.bad(of.path, "was replaced by another file meanwhile")
        source = artifacts.dataset(file, of.name, ndim=2)
        _open[of] = os.getpid(), source, digests.stored(source)
    return _open[of][1:]


def collect(parts: Iterable[NDArray[Any]], count: int, part: int = 1) -> NDArray[Any]:
    """Blocks of rows, `count` in all, put together: in memory, or, where they take more than a part of the limit, in a
    file that is deleted with what is returned here.
    """
    return collect_named(({"": block} for block in parts), count, part)[""]


def collect_named(parts: Iterable[Mapping[str, NDArray[Any]]], count: int, part: int = 1) -> dict[str, NDArray[Any]]:
    """`collect` of several matrices, whose blocks come together."""
    whole: dict[str, Any] = {}
    start = 0
    for named in parts:
        stop = start
        for name, block in named.items():
            if name not in whole:
                small = fits(count, math.prod(block.shape[1:]), part)
                whole[name] = (np.empty if small else _Scratch)((count, *block.shape[1:]), block.dtype)
            stop = start + len(block)
            whole[name][start:stop] = block
        start = stop
    return {
        name: values
        if isinstance(values, np.ndarray)
        else as_array(Rows(values, np.arange(count), math.prod(values.shape[1:])))
        for name, values in whole.items()
    }


def put(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    """Write an array, or `Rows` a block at a time."""
    if not isinstance(values, Rows):
        file[name] = values
        return
    target: h5py.Dataset | None = None
    start = 0
    for (block,) in blocks(values):
        if target is None:
            target = file.create_dataset(name, (len(values), *block.shape[1:]), block.dtype)
        target[start : start + len(block)] = block
        start += len(block)


class _Scratch:
    """Rows in a file of one process, which goes with whoever was sent it last."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], path: str = "") -> None:
        self.owner, self.shape, self.dtype = 0, shape, dtype
        self.path, self.owner = path or self._new(), os.getpid()
        self.width = math.prod(shape[1:]) * dtype.itemsize

    def __setitem__(self, rows: slice, values: NDArray[Any]) -> None:
        try:
            with open(self.path, "r+b") as file:
                file.seek(rows.start * self.width)
                file.write(np.ascontiguousarray(values, self.dtype).data)
        except OSError as error:
            raise _scratch_error(error) from error

    @staticmethod
    def _new() -> str:
        try:
            handle, path = tempfile.mkstemp(prefix="zsl-", suffix=".rows")
        except OSError as error:
            raise _scratch_error(error) from error
        os.close(handle)
        return path

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        starts = np.flatnonzero(np.diff(rows[order], prepend=-2) != 1)
        with open(self.path, "rb") as file:
            for start, stop in pairwise([*starts, len(order)]):
                file.seek(int(rows[order[start]]) * self.width)
                run = np.frombuffer(file.read((stop - start) * self.width), self.dtype)
                values[order[start:stop]] = run.reshape(-1, *self.shape[1:])
        return values

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, which deletes the file when it is done."""
        self.owner = 0
        return _Scratch, (self.shape, self.dtype, self.path)

    def __del__(self) -> None:
        if self.owner == os.getpid():
            Path(self.path).unlink(missing_ok=True)


def _scratch_error(error: OSError) -> ZSLError:
    return ZSLError(
        f"{tempfile.tempdir or '$TMPDIR'}: what does not fit in memory cannot be written there ({error.strerror}); "
        "free space, set TMPDIR to another folder, or ZSL_MEMORY higher"
    )


def as_array(rows: Rows) -> NDArray[Any]:
    """Typed as the array that it stands for."""
    return cast(NDArray[Any], rows)
