"""What DVC recorded of a result: small results (JSON, CSV) carry nothing of what made them, dvc.lock does."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zslcore.errors import ZSLError
from zslcore.params import read_yaml


@dataclass(frozen=True)
class Record:
    """The stage that wrote a file: its command, parameters, and inputs (path -> MD5).

    folder: where the paths start. same: whether the file still holds what that stage wrote.
    """

    command: str
    params: dict[str, Any]
    inputs: dict[str, str]
    folder: Path
    same: bool


def find(path: Path) -> Record | None:
    """The record of a file in the dvc.lock of a folder above it; None where none knows it.

    Raises ZSLError for a dvc.lock that cannot be read.
    """
    path = path.absolute()
    for lock in (folder / "dvc.lock" for folder in path.parents):
        if not lock.is_file():
            continue
        try:
            for stage in read_yaml(lock)["stages"].values():
                for out in stage.get("outs", ()):
                    for folder in (lock.parent, lock.parent.parent):  # whose stages may run one folder up
                        if folder / out["path"] == path:
                            return _record(stage, out, folder)
        except (KeyError, TypeError, AttributeError) as error:
            raise ZSLError(f"{lock}: not a lock file of DVC; bring it back with git checkout") from error
    return None


def _record(stage: dict[str, Any], out: dict[str, Any], folder: Path) -> Record:
    params = {name: value for values in stage.get("params", {}).values() for name, value in values.items()}
    inputs = {dep["path"]: str(dep.get("md5")) for dep in stage.get("deps", ())}
    same = hashlib.md5((folder / out["path"]).read_bytes(), usedforsecurity=False).hexdigest() == out.get("md5")
    return Record(stage["cmd"], params, inputs, folder, same)
