"""The feature store: the features of each image under the SHA-256 of its bytes, on disk after every batch.

One SQLite file a network (its weights, preprocessing, precision, ...). A batch is one transaction, so a process killed
at any moment loses at most the batch it was computing. Nothing here grows in memory with the number of images.
"""

import json
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.features.image_sources import ImageRef, Missing
from zslcore.io.sqlite import remedy

SCHEMA = """
CREATE TABLE IF NOT EXISTS run (settings TEXT);
CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS bad (key BLOB PRIMARY KEY, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (token BLOB PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE wanted (
    row INTEGER PRIMARY KEY, name TEXT, path TEXT, token BLOB, start INTEGER, size INTEGER, reason TEXT, pending INTEGER
);
CREATE TEMP TABLE elsewhere (key BLOB PRIMARY KEY) WITHOUT ROWID;
"""

VECTOR = np.dtype("<f4")
LOCKED_SECONDS = 600.0
"""How long to wait for another process that has the store to itself."""


class Outcome(NamedTuple):
    """Features of an image, or why it has none.

    key: SHA-256 of its bytes, or None when they could not be read. features: (d,) float32, or a record with the feature
    map (`regions.layout`); None where they are in the store already or where `reason` says why the image is bad.
    """

    key: bytes | None
    features: NDArray[Any] | None = None
    reason: str | None = None


class Store:
    """An open feature store, and the images wanted of it in this run."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._db, self._path = connection, path
        self._one_at_a_time = Lock()  # where another thread uses it meanwhile, SQLite's error of a write is lost

    def settings(self) -> dict[str, Any] | None:
        """The plan that `begin` stored, None where there is none yet."""
        row = self._db.execute("SELECT settings FROM run").fetchone()
        return dict(json.loads(row[0])) if row else None

    def begin(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Store the plan for all later runs; returns it, or the one that another run has stored meanwhile."""
        with self._db:
            insert = "INSERT INTO run SELECT ? WHERE NOT EXISTS (SELECT 1 FROM run)"
            self._db.execute(insert, [json.dumps(settings)])
        return self.settings() or settings

    def want(self, images: Iterable[ImageRef | Missing]) -> tuple[int, int]:
        """Note the images of this run, in order; returns (number of images, number of them to compute)."""

        def rows() -> Iterator[tuple[Any, ...]]:
            for row, image in enumerate(images):
                if isinstance(image, Missing):
                    yield row, image.name, None, None, None, None, image.reason, 0
                else:
                    yield row, image.name, image.path, image.token, image.start, image.size, None, 1

        with self._db:
            self._db.executemany("INSERT INTO wanted VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
            known = "SELECT token FROM files WHERE key IN (SELECT key FROM features) OR key IN (SELECT key FROM bad)"
            self._db.execute(f"UPDATE wanted SET pending = 0 WHERE token IN ({known})")
            self._db.execute("CREATE INDEX temp.by_token ON wanted (token) WHERE pending")
        count, pending = self._db.execute("SELECT count(*), total(pending) FROM wanted").fetchone()
        return count, int(pending)

    def pending(self, batch_size: int) -> Iterator[list[ImageRef]]:
        """Yield the images to compute, in batches: which ones share a batch depends on the order alone."""
        last = -1
        query = "SELECT row, name, path, token, start, size FROM wanted WHERE pending AND row > ? ORDER BY row LIMIT ?"
        while batch := self._fetch(query, last, batch_size):
            last = batch[-1][0]
            yield [ImageRef(*values) for _, *values in batch]

    def missing(self) -> int:
        """Number of wanted images that are known to be bad or missing."""
        query = """
            SELECT count(coalesce(wanted.reason, bad.reason))
            FROM wanted LEFT JOIN files USING (token) LEFT JOIN bad USING (key)
        """
        return int(self._db.execute(query).fetchone()[0])

    def knows(self, key: bytes) -> bool:
        """Whether an image of these bytes was seen before, good or bad; any thread may ask."""
        tables = "features", "bad", "elsewhere"
        query = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE key = ?1)" for table in tables)
        return bool(self._fetch(f"SELECT {query}", key)[0][0])

    def is_bad(self, key: bytes | None) -> bool:
        """Whether an image of these bytes is known to be bad; None: of an image that could not be read."""
        return key is not None and bool(self._fetch("SELECT 1 FROM bad WHERE key = ?1", key))

    def _fetch(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._one_at_a_time:
            return self._db.execute(query, values).fetchall()

    def commit(self, images: Sequence[ImageRef], outcomes: Sequence[Outcome]) -> None:
        """Store the outcomes of a batch, all of them or none."""
        with self._one_at_a_time, self._db:
            self._keep(outcomes)
            for image, outcome in zip(images, outcomes, strict=True):
                if outcome.key is None:
                    unreadable = outcome.reason, image.token
                    self._db.execute("UPDATE wanted SET reason = ? WHERE token = ? AND pending", unreadable)
                    continue
                self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", [image.token, outcome.key])
                if outcome.features is None:  # a part has them
                    self._db.execute("INSERT OR IGNORE INTO elsewhere VALUES (?)", [outcome.key])

    def outcome(self, key: bytes) -> Outcome:
        """Of an image that the store knows: its features (d,) float32, or why it is bad."""
        query = "SELECT value, NULL FROM features WHERE key = ?1 UNION ALL SELECT NULL, reason FROM bad WHERE key = ?1"
        ((value, reason),) = self._fetch(query, key)
        return Outcome(key, None if value is None else np.frombuffer(value, VECTOR), reason)

    def keep(self, outcomes: Sequence[Outcome]) -> None:
        """Store outcomes in a part, all of them or none: by the images' keys, without the files they are of."""
        with self._db:
            self._keep(outcomes)

    def _keep(self, outcomes: Sequence[Outcome]) -> None:
        for key, features, reason in outcomes:
            if key is not None and reason is not None:
                self._db.execute("INSERT OR IGNORE INTO bad VALUES (?, ?)", [key, reason])
            elif key is not None and features is not None:
                self._db.execute("INSERT OR IGNORE INTO features VALUES (?, ?)", [key, features.tobytes()])

    @contextmanager
    def parts(self) -> Iterator[Path | None]:
        """Yield a folder for the parts of this store that workers write; on exit they are joined to the store.

        None for a temporary store. The folder is locked meanwhile; where the run is killed, `join_left` of the next
        run joins the parts. Raises ZSLError when the folder cannot be made.
        """
        if self._path is None:
            yield None
            return
        folder = (_parts(self._path) / uuid.uuid4().hex).absolute()
        _make(folder.parent)
        with _locked(folder):
            _make(folder)
            try:
                yield folder
            finally:
                self._join(folder)

    def join_left(self) -> None:
        """Join the parts of runs that were killed, but not those that another run writes or that are not writable."""
        for folder in sorted(_parts(self._path).glob("*")) if self._path else ():
            if folder.is_dir():
                with suppress(OSError), _locked(folder):
                    self._join(folder)

    def _join(self, folder: Path) -> None:
        for part in sorted(folder.glob("*.sqlite")):
            with open_store(part):
                pass  # undoes what a killed worker left half done
            self._db.execute("ATTACH ? AS part", [str(part)])
            with self._db:
                for table in ("features", "bad"):
                    self._db.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM part.{table}")
            self._db.execute("DETACH part")
            part.unlink()
        shutil.rmtree(folder, ignore_errors=True)  # gone already where another run has joined it

    def results(self, kind: np.dtype[Any] = VECTOR) -> Iterator[tuple[str, NDArray[Any] | None, str | None]]:
        """Yield (name, features or None, reason or None) of every wanted image, in order.

        kind: what features are an array of: (d,) float32, or (1,) of a record.
        """
        query = """
            SELECT name, features.value, coalesce(wanted.reason, bad.reason)
            FROM wanted LEFT JOIN files USING (token) LEFT JOIN features USING (key) LEFT JOIN bad USING (key)
            ORDER BY row
        """
        for name, value, reason in self._db.execute(query):
            yield name, None if value is None else np.frombuffer(value, kind), reason


@contextmanager
def open_store(path: Path | None) -> Iterator[Store]:
    """Open the store at `path`, new where there is none; None: a temporary one, deleted when it is closed.

    Raises ZSLError, also from the body of the context, when it is damaged, locked, or cannot be written.
    """
    if path is not None:
        _make(path.parent)
    try:
        with closing(sqlite3.connect(path or "", LOCKED_SECONDS, check_same_thread=False)) as connection:
            connection.executescript(SCHEMA)
            yield Store(connection, path)
    except sqlite3.OperationalError as error:
        todo = remedy(error) or "free disk space or check the permissions"
        raise ZSLError(f"{path or 'the temporary store'}: cannot be used ({error}); {todo}") from error
    except sqlite3.DatabaseError as error:
        raise ZSLError(f"{path}: damaged ({error}); delete it: its features are computed again") from error


def _parts(path: Path) -> Path:
    return path.with_suffix(".parts")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise ZSLError(f"{folder}: cannot be made ({reason}); free disk space or check the permissions") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder. Raises BlockingIOError while another process holds it.

    The lock file is not in the folder: NFS keeps a folder in which an open file is removed.
    """
    import fcntl  # not on every system; without clusters nothing is locked

    lock = folder.with_suffix(".lock")
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
