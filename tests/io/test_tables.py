"""Tables and lists: any text is read or refused by name, in time and memory that follow its size."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zslcore.datasets.folder import read_unseen
from zslcore.errors import ZSLError
from zslcore.io.tables import read_classes, read_table

CLASSES = ("kiwi", "moa", "tūī")
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def classes(path: Path) -> Any:
    return read_classes(path, CLASSES)


def unseen(path: Path) -> Any:
    return read_unseen(path, CLASSES)


READERS: tuple[Callable[[Path], Any], ...] = (read_table, classes, unseen)


@pytest.mark.parametrize("reader", READERS)
@FEW
@given(content=st.binary(max_size=60) | st.text("\"',;\n\r\0\ufeffkiwmoa01.e-", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(reader: Callable[[Path], Any], content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with suppress(ZSLError):
        reader(tmp_path / "x.csv")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"," * 2**23,
        b"a" * 2**23,
        b'"' + b"a\n" * 2**22,
        b"\0" * 2**23,
        b"a,b\n" + b"ab,\n" * 2**20,
        b"ab\n" * 2**21,
        b"a,b\nx," + b"9" * 2**17,
        b"n,a\n" + b"x,1e" + b"9" * 100_000,
        b"a" * 100_000 + b"\n" + b"b" * 100_000,
    ],
    ids=["columns", "line", "quoted", "zeros", "rows", "names", "long cell", "exponent", "long names"],
)
def test_bloated_text_is_refused_in_little_time_and_memory(
    reader: Callable[[Path], Any], content: bytes, tmp_path: Path, within_limits
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with within_limits(), pytest.raises(ZSLError, match=r"x\.csv"):
        reader(path)


def test_long_names_are_not_compared() -> None:
    """A search for the nearest of two names of 100,000 letters would take hours."""
    from zslcore.errors import unknown

    assert "did you mean" not in str(unknown("class", "ab" * 50_000, ["ba" * 50_000]))


TABLE = "class,size,colour\nkiwi,0.5,1\ntūī,-2.5,3e-1\n"
FORMS = {
    "semicolons": TABLE.replace(",", ";").encode(),
    "tabs": TABLE.replace(",", "\t").encode(),
    "semicolons and decimal commas": TABLE.replace(",", ";").replace(".", ",").encode(),
    "semicolons, commas in names": TABLE.replace(",", ";").replace("colour", "colour, hue").encode(),
    "semicolons, commas in names and numbers": TABLE.replace(",", ";")
    .replace("colour", "colour, hue")
    .replace(".", ",")
    .encode(),
    "tabs and decimal commas": TABLE.replace(",", "\t").replace(".", ",").encode(),
    "quoted decimal commas": TABLE.replace("0.5", '"0,5"').replace("-2.5", '"-2,5"').encode(),
    "UTF-16 with its mark": TABLE.encode("utf-16"),
    "UTF-16 of Windows, with tabs": b"\xff\xfe" + TABLE.replace(",", "\t").replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16, big end first": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "UTF-16 without a mark": TABLE.encode("utf-16-le"),
    "semicolons in names": TABLE.replace("size", "size; cm").encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_read_as_spreadsheets_write_it(form: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(FORMS[form])
    table = read_table(tmp_path / "x.csv")
    assert table.names == ("kiwi", "tūī")
    assert (len(table.columns), table.corner) == (2, "class")
    np.testing.assert_allclose(table.values, [[0.5, 1], [-2.5, 0.3]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", r"a damaged zip archive or Excel workbook; save the table as CSV \(UTF-8\)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), r"an old Excel workbook \(\.xls\); save it as CSV"),
        (b"<!DOCTYPE html>\n<html>", r"a web page \(HTML\); download the file itself"),
        (
            TABLE.replace("tūī", "café").encode("cp1252"),
            r"not text in UTF-8 \(line 3: 'café,-2\.5,3e-1' if it is Windows-1252\); save it as CSV \(UTF-8\)",
        ),
        (b"class;a\nkiwi;1,234\nmoa;2,345\n", r"'1,234' is a number with a comma, and it may be a thousand; write all"),
        (b"class;a;b\nkiwi;1,5;2.5\n", r"'1,5' is a number with a comma, and '2\.5' has a decimal point; write all"),
        (b"class;a\nkiwi;1,2,3\n", r"line 2, column 'a' \('kiwi'\): '1,2,3' is no finite number"),
    ],
)
def test_a_table_that_may_be_read_in_two_ways_or_none_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ZSLError, match=rf"x\.csv: {message}"):
        read_table(tmp_path / "x.csv")


def test_the_line_that_is_no_utf_8_is_found_far_inside_a_file(tmp_path: Path) -> None:
    lines = [f"n{row},{row}" for row in range(20_000)]
    lines[12_345] = "caf\udce9,1"
    text = "\n".join(["class,a", *lines])
    (tmp_path / "x.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ZSLError, match=r"\(line 12347: 'café,1' if it is Windows-1252\)"):
        read_table(tmp_path / "x.csv")


def workbook(path: Path, *names: str) -> Path:
    with ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def test_a_workbook_is_read_where_openpyxl_is_installed_and_named_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workbook(tmp_path / "x.csv", "xl/workbook.xml")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    for reader in (read_table, classes, unseen):
        with pytest.raises(
            ZSLError, match=r"x\.csv: an Excel workbook; save it as .*or pip install 'zslcore\[excel\]'"
        ):
            reader(path)
    sheet = SimpleNamespace(
        title="one", iter_rows=lambda values_only: [("class", "size", None), ("kiwi", 0.5, None), (), ("moa", True)]
    )
    sheets = [sheet]
    load = lambda path, read_only, data_only: SimpleNamespace(worksheets=sheets)  # noqa: E731
    monkeypatch.setitem(sys.modules, "openpyxl", SimpleNamespace(load_workbook=load))
    table = read_table(path)
    assert (table.names, table.columns, table.values.tolist()) == (("kiwi", "moa"), ("size",), [[0.5], [1.0]])
    sheets.append(sheet)
    with pytest.raises(ZSLError, match=r"an Excel workbook with 2 sheets \('one', 'one'\); save the one as CSV"):
        read_table(path)
    with pytest.raises(ZSLError, match=r"y\.csv: a zip archive; unpack it"):
        read_table(workbook(tmp_path / "y.csv", "signatures.csv"))


def test_a_workbook_that_a_spreadsheet_program_wrote_is_read_as_its_csv(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["class", "size", "wings"], ["kiwi", 1.5, True], ["moa", 2, None]):
        book.active.append(row)
    book.active["C3"] = -0.25
    book.save(tmp_path / "t.xlsx")
    (tmp_path / "t.csv").write_text("class;size;wings\nkiwi;1,5;1\nmoa;2;-0,25\n")
    table, other = (read_table(tmp_path / name) for name in ("t.xlsx", "t.csv"))
    assert (table.names, table.columns) == (other.names, other.columns) == (("kiwi", "moa"), ("size", "wings"))
    np.testing.assert_array_equal(table.values, other.values)
