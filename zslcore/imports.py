"""The files of a new data set, put into the project whole or not at all."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zslcore.datasets.source import Source
from zslcore.errors import ZSLError
from zslcore.progress import track

Copies = list[tuple[Path, Path]]
"""(where a file is, where it goes below the new folder)."""


def localised(source: Source, root: Path, home: Path) -> tuple[dict[str, Any], Copies]:
    """The settings of a source as they will stand in params.yaml, once every file has its copy in `home`.

    Each file is called after its setting and itself, `features-res101.mat`, a folder after its setting, `images/...`.
    """
    settings: dict[str, Any] = {"kind": source.kind}
    copies: Copies = []

    def place(path: Path, stem: str) -> str:
        target = Path(f"{stem}-{path.stem}{path.suffix.lower()}" if (root / path).is_file() else stem)
        copies.extend(_files(root / path, target))
        return (home / target).as_posix()

    named = source.named(root)
    for name, value in named:
        if name not in named.model_fields_set or value is None:
            continue
        if isinstance(value, Path):
            settings[name] = place(value, name)
        elif isinstance(value, tuple):
            settings[name] = [place(path, f"{name}{position}") for position, path in enumerate(value, start=1)]
        else:
            settings[name] = value
    return settings, copies


def _files(path: Path, target: Path) -> Copies:
    """A file, or all that are not hidden below a folder."""
    if not path.is_dir():
        return [(path, target)]
    inside = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    return [copy for child in inside for copy in _files(child, target / child.name)]


@contextmanager
def installed(home: Path, files: Copies, dvc: bool) -> Iterator[None]:
    """Copy files into `home` and put it under DVC; if that or the body fails, everything is as it was.

    Whatever was at `home` is replaced. Raises ZSLError when the disk is full, may not be written, or DVC fails.
    """
    if dvc and not Path(".dvc").is_dir():
        raise ZSLError("no .dvc folder here: run in the project's folder, after `dvc init`, or give --no-dvc")
    new, old = (home.with_name(f".{home.name}.{suffix}") for suffix in ("new", "old"))
    beside = {path: _content(path) for path in (home.with_name(f"{home.name}.dvc"), home.with_name(".gitignore"))}
    replaced = False
    try:
        shutil.rmtree(new, ignore_errors=True)
        for source, target in track(files, f"copy to {home}", len(files)):
            (new / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, new / target)
        if home.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(home, old)
        replaced = True
        os.replace(new, home)
        if dvc:
            _dvc_add(home)
        yield
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if replaced:
            shutil.rmtree(home, ignore_errors=True)
            if old.exists():
                os.replace(old, home)
            for path, content in beside.items():
                path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise ZSLError(f"{home}: cannot be written ({reason}); free disk space or check the permissions") from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _dvc_add(home: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", "add", str(home)], capture_output=True, text=True)
    if done.returncode:
        raise ZSLError(f"`dvc add {home}` failed; put that right or give --no-dvc: {done.stderr.strip()}")
