"""The feature store: what one network made of each image, by the image's content, on disk after every batch.

One SQLite file a network (its weights, preprocessing, precision, ...). A batch is one transaction, so a process killed
at any moment loses at most the batch it was computing. Nothing here grows in memory with the number of images.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.features.sources import ImageRef, Missing

SCHEMA = """
CREATE TABLE IF NOT EXISTS run (settings TEXT);
CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS bad (key BLOB PRIMARY KEY, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (token BLOB PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE wanted (
    row INTEGER PRIMARY KEY, name TEXT, path TEXT, token BLOB, start INTEGER, size INTEGER, reason TEXT, pending INTEGER
);
"""


class Outcome(NamedTuple):
    """What became of an image.

    key: SHA-256 of its bytes, or None when they could not be read. features: (d,) float32, or None where they are in
    the store already or where `reason` says why the image is bad.
    """

    key: bytes | None
    features: NDArray[np.float32] | None = None
    reason: str | None = None


class Store:
    """An open feature store, and the images wanted of it in this run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def settings(self, resolve: Any) -> dict[str, Any]:
        """What was resolved when the store was begun; `resolve()` decides it for a new one."""
        found = self._db.execute("SELECT settings FROM run").fetchone()
        if found is None:
            with self._db:
                self._db.execute("INSERT INTO run VALUES (?)", [json.dumps(resolve())])
            return self.settings(resolve)
        return dict(json.loads(found[0]))

    def want(self, images: Iterable[ImageRef | Missing]) -> tuple[int, int]:
        """Note the images of this run, in order; (how many, how many of them are still to be computed)."""

        def rows() -> Iterator[tuple[Any, ...]]:
            for row, image in enumerate(images):
                if isinstance(image, Missing):
                    yield row, image.name, None, None, None, None, image.reason, 0
                else:
                    yield row, image.name, image.path, image.token, image.start, image.size, None, 1

        with self._db:
            self._db.executemany("INSERT INTO wanted VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
            self._db.execute("UPDATE wanted SET pending = 0 WHERE token IN (SELECT token FROM files)")
            self._db.execute("CREATE INDEX temp.by_token ON wanted (token) WHERE pending")
        count, pending = self._db.execute("SELECT count(*), total(pending) FROM wanted").fetchone()
        return count, int(pending)

    def pending(self, batch_size: int) -> Iterator[list[ImageRef]]:
        """The images to compute, in batches: which ones share a batch depends on the order alone."""
        last = -1
        query = "SELECT row, name, path, token, start, size FROM wanted WHERE pending AND row > ? ORDER BY row LIMIT ?"
        while batch := self._db.execute(query, [last, batch_size]).fetchall():
            last = batch[-1][0]
            yield [ImageRef(*values) for _, *values in batch]

    def missing(self) -> int:
        """How many wanted images are known to be bad or not there."""
        query = """
            SELECT count(coalesce(wanted.reason, bad.reason))
            FROM wanted LEFT JOIN files USING (token) LEFT JOIN bad USING (key)
        """
        return int(self._db.execute(query).fetchone()[0])

    def knows(self, key: bytes) -> bool:
        """Whether an image of these bytes was seen before, good or bad; any thread may ask."""
        query = "SELECT EXISTS (SELECT 1 FROM features WHERE key = ?1) OR EXISTS (SELECT 1 FROM bad WHERE key = ?1)"
        return bool(self._db.execute(query, [key]).fetchone()[0])

    def commit(self, images: Sequence[ImageRef], outcomes: Sequence[Outcome]) -> None:
        """Keep what became of a batch, all of it or nothing."""
        with self._db:
            for image, outcome in zip(images, outcomes, strict=True):
                if outcome.key is None:
                    unreadable = outcome.reason, image.token
                    self._db.execute("UPDATE wanted SET reason = ? WHERE token = ? AND pending", unreadable)
                    continue
                if outcome.reason is not None:
                    self._db.execute("INSERT OR IGNORE INTO bad VALUES (?, ?)", [outcome.key, outcome.reason])
                elif outcome.features is not None:
                    value = outcome.features.astype("<f4").tobytes()
                    self._db.execute("INSERT OR IGNORE INTO features VALUES (?, ?)", [outcome.key, value])
                self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", [image.token, outcome.key])

    def results(self) -> Iterator[tuple[str, NDArray[np.float32] | None, str | None]]:
        """(name, features (d,) or None, why not or None) of every wanted image, in order."""
        query = """
            SELECT name, features.value, coalesce(wanted.reason, bad.reason)
            FROM wanted LEFT JOIN files USING (token) LEFT JOIN features USING (key) LEFT JOIN bad USING (key)
            ORDER BY row
        """
        for name, value, reason in self._db.execute(query):
            yield name, None if value is None else np.frombuffer(value, "<f4"), reason


@contextmanager
def open_store(path: Path | None) -> Iterator[Store]:
    """Open or begin a store; None: one that is forgotten. Raises ZSLError when it is damaged or cannot be written."""
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ZSLError(f"{path}: cannot be made ({error.strerror}); check the permissions") from error
    try:
        with closing(sqlite3.connect(path or "", timeout=600, check_same_thread=False)) as connection:
            connection.executescript(SCHEMA)
            yield Store(connection)
    except sqlite3.OperationalError as error:
        raise ZSLError(f"{path}: cannot be used ({error}); free disk space or check the permissions") from error
    except sqlite3.DatabaseError as error:
        raise ZSLError(f"{path}: damaged ({error}); delete it: its features are computed again") from error
