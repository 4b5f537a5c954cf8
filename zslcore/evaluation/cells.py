"""Long tables of runs, one cell at a time: what is done is kept under `.zsl/`, so that an interrupted run resumes.

A cell is keyed by all that its value depends on: the data, the method, its settings, the seed, the libraries and the
code: this package's whole, unless its key says which files it is.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zslcore import artifacts
from zslcore.evaluation.protocol import Task

STORE = Path(".zsl/cells")


def cell(key: Mapping[str, Any], compute: Callable[[], Any], store: Path = STORE) -> Any:
    """The value of `key`, plain data: read back where it was computed before, else computed and written atomically."""
    path = place(key, store)
    if not path.exists():
        artifacts.write_json(path, compute())
    return artifacts.read_json(path)


def place(key: Mapping[str, Any], store: Path = STORE) -> Path:
    """The file of a cell."""
    text = json.dumps({"code": artifacts.code(), "libraries": artifacts.library_versions(), **key}, sort_keys=True)
    return store / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def fingerprint(task: Task) -> str:
    """SHA-256 of the numbers of a task."""
    train = task.train
    return digest(
        train.features,
        train.labels,
        train.signatures,
        train.image_attributes,
        task.signatures,
        task.seen_features,
        task.seen_labels,
        task.unseen_features,
        task.unseen_labels,
    )


def digest(*arrays: NDArray[Any] | None) -> str:
    """SHA-256 of the types, shapes and numbers of arrays."""
    found = hashlib.sha256()
    for values in arrays:
        if values is not None:
            found.update(f"{values.dtype}{values.shape}".encode())
            found.update(values.tobytes())
    return found.hexdigest()
