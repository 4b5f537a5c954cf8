"""Tables people write by hand: CSV with a name in the first column and numbers after it, and lists of names.

A table may be separated by commas, semicolons or tabs, its numbers may have decimal commas, its text may be UTF-8 or
UTF-16, and it may be an Excel workbook where openpyxl is installed: what the file itself shows is read, what it leaves
open is refused by name.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TextIO
from unicodedata import normalize
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError, unknown

LARGEST = float(np.finfo(np.float32).max)
LONGEST = 2**22
"""Characters that a line is shorter than."""
SAMPLE, DELIMITERS = 20, ",;\t"
"""Lines that show what separates the cells, and what may."""
COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
"""A number with a decimal comma, or one of thousands."""
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
"""A number that may be either."""
BEGINNING, WORKBOOK = 512, 2**28
"""Bytes that show what a file is, and bytes that a workbook may unpack to."""
MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


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
    """Read a table whose first line is a header and whose first column holds names.

    Raises ZSLError naming the line and column of the first bad cell.
    """
    rows = read_rows(path)
    _, (corner, *columns) = next(rows)
    if not columns:
        raise ZSLError(f"{path}: only one column; separate a name and its numbers with commas")
    names, values, notation = [], [], _Notation()
    for line, cells in rows:
        names.append(cells[0])
        values.append(np.array(_numbers(path, line, cells, columns, notation), dtype=np.float32))
    notation.check(path)
    for what, all_names in (("column", columns), ("name", names)):
        if repeated := [value for value, times in Counter(all_names).items() if times > 1]:
            raise ZSLError(f"{path}: {what} {repeated[0]!r} appears twice; leave one")
    if not names:
        raise ZSLError(f"{path}: a header and no rows; add one row a name")
    return Table(path, corner, tuple(names), tuple(columns), np.stack(values))


class _Notation:
    """How a table writes its numbers. point, comma: the first cell with one; decimal: no comma can be of thousands."""

    point = comma = ""
    decimal = False

    def number(self, cell: str) -> float:
        """NaN for what is no number."""
        try:
            number = float(cell)
        except ValueError:
            if not COMMA.fullmatch(cell):
                return math.nan
            self.comma = self.comma or cell
            self.decimal = self.decimal or not THOUSANDS.fullmatch(cell)
            return float(cell.replace(",", "."))
        if not self.point and "." in cell:
            self.point = cell
        return number

    def check(self, path: Path) -> None:
        """Raise ZSLError where a comma may be one of thousands."""
        if self.comma and (self.point or not self.decimal):
            why = f"{self.point!r} has a decimal point" if self.point else "it may be a thousand"
            raise ZSLError(f"{path}: {self.comma!r} is a number with a comma, and {why}; write all with decimal points")


def _numbers(path: Path, line: int, cells: list[str], columns: list[str], notation: _Notation) -> list[float]:
    numbers = []
    for cell, column in zip(cells[1:], columns, strict=True):
        number = notation.number(cell)
        if not abs(number) <= LARGEST:
            what = repr(cell) if cell else "an empty cell"
            raise ZSLError(
                f"{path}: line {line}, column {column!r} ({cells[0]!r}): {what} is no finite number; correct it, or "
                "leave the column out"
            )
        numbers.append(number)
    return numbers


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines of a table as (line number, cells), blank ones left out, all with as many cells as the header.

    Raises ZSLError when the file is missing, empty, no text, or has a line of another length.
    """
    width = 0
    for line, cells in _workbook(path) if _is_workbook(path) else _separated(path):
        if not any(map(str.strip, cells)):
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise ZSLError(f"{path}: line {line} has {len(cells)} cells, the header {width}; make them agree")
        yield line, [clean(cell) for cell in cells]
    if not width:
        raise ZSLError(f"{path}: the file is empty; it needs a header and one row a name")


def _separated(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = read_lines(path)
    sample = list(islice(lines, SAMPLE))
    reader = csv.reader(chain(sample, lines), delimiter=_delimiter(sample), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise ZSLError(f"{path}: not a CSV file in UTF-8 ({error}); save it as one") from error


def _delimiter(sample: list[str]) -> str:
    """What separates the header; where that may be several, what makes rows as long as it, of numbers."""
    tables = {delimiter: _split(sample, delimiter) for delimiter in DELIMITERS}
    likely = [delimiter for delimiter, rows in tables.items() if rows and len(rows[0]) > 1] or [DELIMITERS[0]]
    return likely[0] if len(likely) == 1 else max(likely, key=lambda delimiter: _fits(tables[delimiter]))


def _split(sample: list[str], delimiter: str) -> list[list[str]]:
    """The rows with something in them, as far as they can be split so."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(cells for cells in csv.reader(sample, delimiter=delimiter) if any(map(str.strip, cells)))
    return rows


def _fits(rows: list[list[str]]) -> tuple[bool, bool]:
    notation = _Notation()
    numbers = (notation.number(cell) for cells in rows[1:] for cell in cells[1:])
    return all(len(cells) == len(rows[0]) for cells in rows), not any(map(math.isnan, numbers))


def _is_workbook(path: Path) -> bool:
    """Whether it is an Excel workbook. Raises ZSLError for other files that are no text, by what they are."""
    start = _beginning(path)
    if start.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise ZSLError(f"{path}: an old Excel workbook (.xls); save it as CSV (UTF-8)")
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise ZSLError(f"{path}: a web page (HTML); download the file itself")
    return start.startswith(b"PK\x03\x04")


def _workbook(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of the one sheet of an Excel workbook, as long as its header at least."""
    try:
        with ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    except Exception as error:  # zipfile raises what it likes on damaged files
        raise ZSLError(f"{path}: a damaged zip archive or Excel workbook; save the table as CSV (UTF-8)") from error
    if not any(name.startswith("xl/") for name in sizes):
        raise ZSLError(f"{path}: a zip archive; unpack it, and give the table as CSV (UTF-8)")
    if sum(sizes.values()) > WORKBOOK:
        raise ZSLError(f"{path}: an Excel workbook of more than {WORKBOOK:,} bytes; save it as CSV (UTF-8)")
    try:
        import openpyxl
    except ImportError as error:
        raise ZSLError(f"{path}: an Excel workbook; save it as CSV (UTF-8), or pip install 'zslcore[excel]'") from error
    try:
        sheets = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets
        rows = [[_text(value) for value in row] for row in sheets[0].iter_rows(values_only=True)]
    except Exception as error:  # of as many types as there are ways to damage one
        raise ZSLError(f"{path}: an Excel workbook that cannot be read; save it as CSV (UTF-8)") from error
    if len(sheets) > 1:
        names = ", ".join(repr(sheet.title) for sheet in sheets[:5])
        raise ZSLError(f"{path}: an Excel workbook with {len(sheets)} sheets ({names}); save the one as CSV (UTF-8)")
    width = 0
    for line, cells in enumerate(rows, 1):
        while cells and not cells[-1].strip():
            cells.pop()
        width = width or len(cells)
        yield line, cells + [""] * (width - len(cells))


def _text(value: object) -> str:
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


def read_classes(
    path: Path, classes: tuple[str, ...], meant: Callable[[str], str] = str, hint: str = ""
) -> NDArray[np.int64]:
    """Read a list of class names, one a line, as ascending positions in `classes`.

    meant: the class that a name in the file means, or the name. hint: what to do about a name that is no class.
    Raises ZSLError when the file is missing or empty, or a name is repeated or is no class.
    """
    position = {clean(name): k for k, name in enumerate(classes)}
    chosen: set[int] = set()
    for name in map(meant, filter(None, map(clean, read_listed(path)))):
        if name not in position:
            raise ZSLError(f"{path}: {unknown('class', name, position, most=10)}{hint}")
        if position[name] in chosen:
            raise ZSLError(f"{path}: class {name!r} appears twice; leave one")
        chosen.add(position[name])
    if not chosen:
        raise ZSLError(f"{path}: the list is empty; write one class name a line")
    return np.array(sorted(chosen), dtype=np.int64)


def read_listed(path: Path) -> Iterator[str]:
    """One value a line of a text file, or a row of a workbook: its first cell. Raises ZSLError as `read_lines`."""
    if _is_workbook(path):
        yield from (cells[0] for _, cells in read_rows(path))
    else:
        yield from read_lines(path)


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a text file, one at a time in memory. Raises ZSLError where it is missing or no text."""
    count = 0
    with _open(path) as stream:
        try:
            for line in lines_of(stream, path):
                count += 1
                yield line
        except UnicodeError as error:
            raise ZSLError(f"{path}: not text in UTF-8 ({_why(error, count)}); save it as CSV (UTF-8)") from error


def _why(error: UnicodeError, lines: int) -> str:
    """What stands where text is no UTF-8, read as Windows writes it, and in which line."""
    if not isinstance(error, UnicodeDecodeError) or error.encoding != "utf-8":
        return str(error)
    start = error.object[: error.start].rfind(b"\n") + 1
    text = error.object[max(start, error.start - 20) : error.start + 20].decode("cp1252", "replace").splitlines()[0]
    line = 1 + lines + error.object.count(b"\n", 0, error.start)
    return f"line {line}: {text.strip()!r} if it is Windows-1252"


def lines_of(stream: TextIO, place: Path | str) -> Iterator[str]:
    """Lines of an open text, one at a time in memory. Raises ZSLError, naming the place, for one of LONGEST or more."""
    while line := stream.readline(LONGEST):
        if len(line) == LONGEST:
            raise ZSLError(f"{place}: a line of {LONGEST:,} characters or more; check that it is the right file")
        yield line


def _open(path: Path) -> TextIO:
    """Open a text file in the encoding that its beginning shows; a byte order mark is dropped."""
    return open(path, newline="", encoding=_encoding(_beginning(path)))


def _encoding(start: bytes) -> str:
    """UTF-8, or UTF-16 by its mark or because nearly every second byte is zero."""
    for mark, encoding in MARKS.items():
        if start.startswith(mark):
            return encoding
    pairs = start[: len(start) // 2 * 2]
    for encoding, zeros, letters in (("utf-16-le", pairs[1::2], pairs[::2]), ("utf-16-be", pairs[::2], pairs[1::2])):
        if len(pairs) >= 4 and all(letters) and zeros.count(0) > 0.9 * len(zeros):
            return encoding
    return "utf-8-sig"


def _beginning(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(BEGINNING)
    except FileNotFoundError as error:
        raise ZSLError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise ZSLError(f"{path}: cannot be read ({error.strerror}); check that it is a file and may be read") from error
