"""What an error of SQLite means, however it was wrapped."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, exc, text

from zslcore.io.sqlite import remedy


def test_a_lock_is_recognised_through_the_libraries_that_wrap_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (a)")
        other.execute("BEGIN EXCLUSIVE")
        engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.01})
        with pytest.raises(exc.OperationalError) as caught, engine.connect() as connection:
            connection.execute(text("SELECT * FROM t"))
    wrapped = RuntimeError("the storage failed")
    wrapped.__cause__ = caught.value
    assert remedy(wrapped) == "another run has it: wait for that one to end, or stop it"


def test_other_errors_have_no_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database" * 100)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, pytest.raises(sqlite3.DatabaseError) as caught:
        connection.execute("SELECT 1 FROM t")
    assert remedy(caught.value) is None
    assert remedy(ValueError("other")) is None


def test_a_disk_that_fails_is_no_damaged_file() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE  # SQLite's extended codes say more than the table needs
    assert remedy(error) == "check the disk, and that it can be reached, then run again to go on"
