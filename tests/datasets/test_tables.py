"""Tables and lists: any text is read or refused by name, in time and memory that follow its size."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zslcore.datasets.folder import read_unseen
from zslcore.datasets.tables import read_classes, read_table
from zslcore.errors import ZSLError

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
