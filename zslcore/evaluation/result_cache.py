"""Results of long computations, cached under `.zsl/` one by one, so that an interrupted run resumes.

A result is keyed by all that it depends on: the data, the method, its settings, the seed, the libraries and the code:
this package's whole, unless its key says which files it is.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zslcore.evaluation.protocol import Task
from zslcore.io import artifacts

CACHE = Path(".zsl/results")


def cached_result(key: Mapping[str, Any], compute: Callable[[], Any], cache: Path = CACHE) -> Any:
    """The result of `key`, plain data: read where it was computed before, else computed and written atomically."""
    path = result_path(key, cache)
    if not path.exists():
        artifacts.write_json(path, compute())
    return artifacts.read_json(path)


def result_path(key: Mapping[str, Any], cache: Path = CACHE) -> Path:
    """The file of a result."""
    text = json.dumps({"code": artifacts.code(), "libraries": artifacts.library_versions(), **key}, sort_keys=True)
    return cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


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
    sha256 = hashlib.sha256()
    for values in arrays:
        if values is not None:
            sha256.update(f"{values.dtype}{values.shape}".encode())
            sha256.update(values.tobytes())
    return sha256.hexdigest()
