"""A source of signatures in a file: texts through an encoder, or numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from zslcore.datasets.matfile import read_mat
from zslcore.datasets.names import near_names
from zslcore.errors import ZSLError, some
from zslcore.io.tables import clean, read_rows, read_table
from zslcore.signatures.describe import Recipe, describe
from zslcore.signatures.source import Source
from zslcore.signatures.texts import for_classes, read_texts


class Described(Recipe):
    """A file that describes classes, and how texts in it become numbers."""

    file: Path = Field(
        description="texts: a table class,text, JSON, or a folder of <class>.txt; or numbers: a table, or a .mat with "
        "`att` and `allclasses_names`"
    )

    def load(self, root: Path, classes: Sequence[str], seen: Sequence[bool]) -> tuple[Source, list[str]]:
        """The source of these classes, and notes.

        root: folder that the path starts from. seen: (classes,) which are seen. Raises ZSLError naming the file and
        what is wrong: a class that it lacks, say.
        """
        path = root / self.file
        if holds_texts(path):
            texts, notes = for_classes(read_texts(path), classes)
            source, more = describe(texts, seen, Recipe(**self.model_dump(exclude={"file"})))
            return source, [*notes, *more]
        names, values = _numbers(path)
        rows = {clean(name): row for row, name in enumerate(names)}
        if lacking := [known for known in classes if clean(known) not in rows]:
            near = near_names(lacking, [name for name in rows if name not in classes])
            raise ZSLError(f"{path}: no signature for {some(lacking)}{near}; add one row a class")
        return Source(values[[rows[clean(known)] for known in classes]]), []


def holds_texts(path: Path) -> bool:
    """Whether a file or folder has texts about classes, rather than numbers."""
    if path.is_dir() or path.suffix.lower() == ".json":
        return True
    if path.suffix.lower() == ".mat":
        return False
    _, header = next(read_rows(path))
    return [name.lower() for name in header] == ["class", "text"]


def _numbers(path: Path) -> tuple[tuple[str, ...], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    if path.suffix.lower() == ".mat":
        variables = read_mat(path, ("att", "allclasses_names"))
        names, values = tuple(map(str, variables["allclasses_names"])), variables["att"].T
        if values.ndim != 2 or values.dtype.kind not in "fiu" or len(values) != len(names):
            raise ZSLError(f"{path}: 'att' does not fit {len(names)} class names; it is (numbers, classes)")
        return names, np.ascontiguousarray(values, np.float32)
    table = read_table(path)
    return table.names, table.values
