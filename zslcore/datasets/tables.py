"""Tables people write by hand: CSV with a name in the first column and numbers after it, and lists of names."""

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError, unknown

LARGEST = float(np.finfo(np.float32).max)
LONGEST = 2**22
"""Characters that a line is shorter than."""


@dataclass(frozen=True)
class Table:
    """A table of numbers with named rows and columns.

    path: the file. corner, columns: the header's first cell, and the a others, unique. names: the first column, unique.
    values: (n, a) float32, finite.
    """

    path: Path
    corner: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.float32]


def clean(name: str) -> str:
    """A name without surrounding space, in one Unicode form: folders written on a Mac match tables that were not."""
    return normalize("NFC", name.strip())


def read_table(path: Path) -> Table:
    """Read a CSV file (comma-separated, UTF-8) whose first line is a header and whose first column holds names.

    Raises ZSLError naming the line and column of the first bad cell.
    """
    rows = read_rows(path)
    _, (corner, *columns) = next(rows)
    if not columns:
        raise ZSLError(f"{path}: only one column; separate a name and its numbers with commas")
    names, values = [], []
    for line, cells in rows:
        names.append(cells[0])
        values.append(np.array(_numbers(path, line, cells, columns), dtype=np.float32))
    for what, all_names in (("column", columns), ("name", names)):
        if repeated := [value for value, times in Counter(all_names).items() if times > 1]:
            raise ZSLError(f"{path}: {what} {repeated[0]!r} appears twice; every {what} needs a name of its own")
    if not names:
        raise ZSLError(f"{path}: a header and no rows; add one row a name")
    return Table(path, corner, tuple(names), tuple(columns), np.stack(values))


def _numbers(path: Path, line: int, cells: list[str], columns: list[str]) -> list[float]:
    numbers = []
    for cell, column in zip(cells[1:], columns, strict=True):
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not abs(number) <= LARGEST:
            what = repr(cell) if cell else "an empty cell"
            raise ZSLError(
                f"{path}: line {line}, column {column!r} ({cells[0]!r}): {what} is no finite number; correct it"
            )
        numbers.append(number)
    return numbers


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines of a CSV file as (line number, cells), blank ones left out, all with as many cells as the header.

    Raises ZSLError when the file is missing, empty, no text, or has a line of another length.
    """
    width = 0
    reader = csv.reader(_lines(path), strict=True)
    try:
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            width = width or len(cells)
            if len(cells) != width:
                raise ZSLError(
                    f"{path}: line {reader.line_num} has {len(cells)} cells, the header {width}; make them agree"
                )
            yield reader.line_num, [clean(cell) for cell in cells]
    except csv.Error as error:
        raise ZSLError(f"{path}: not a CSV file in UTF-8 ({error}); save it as one") from error
    if not width:
        raise ZSLError(f"{path}: the file is empty; it needs a header and one row a name")


def read_classes(path: Path, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Read a list of class names, one a line, as ascending positions in `classes`.

    Raises ZSLError when the file is missing or empty, or a name is repeated or is no class.
    """
    position = {clean(name): k for k, name in enumerate(classes)}
    chosen: set[int] = set()
    for name in filter(None, map(clean, _lines(path))):
        if name not in position:
            raise ZSLError(f"{path}: {unknown('class', name, position, most=10)}")
        if position[name] in chosen:
            raise ZSLError(f"{path}: class {name!r} appears twice; leave one")
        chosen.add(position[name])
    if not chosen:
        raise ZSLError(f"{path}: the list is empty; write one class name a line")
    return np.array(sorted(chosen), dtype=np.int64)


def _lines(path: Path) -> Iterator[str]:
    """Lines of a text file, one at a time in memory. Raises ZSLError where it is missing or no text."""
    with _open(path) as stream:
        try:
            yield from lines_of(stream, path)
        except UnicodeDecodeError as error:
            raise ZSLError(f"{path}: not text in UTF-8 ({error}); save it as such") from error


def lines_of(stream: TextIO, place: Path | str) -> Iterator[str]:
    """Lines of an open text, one at a time in memory. Raises ZSLError, naming the place, for one of LONGEST or more."""
    while line := stream.readline(LONGEST):
        if len(line) == LONGEST:
            raise ZSLError(f"{place}: a line of {LONGEST:,} characters or more; check that it is the right file")
        yield line


def _open(path: Path) -> TextIO:
    """Open a text file; a byte order mark (as spreadsheets write) is dropped."""
    try:
        return open(path, newline="", encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ZSLError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise ZSLError(f"{path}: cannot be read ({error.strerror}); check that it is a file and may be read") from error
