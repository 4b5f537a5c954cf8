"""The files of a new data set, put into the project whole or not at all."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from zslcore.datasets import readiness
from zslcore.datasets.dataset import Dataset, is_utf8, shown
from zslcore.datasets.described import Described
from zslcore.datasets.source import Source
from zslcore.errors import ZSLError
from zslcore.evaluation.selected import chosen_names
from zslcore.io.artifacts import write_text
from zslcore.progress import track
from zslcore.project.params import Params, data_file
from zslcore.settings import Settings
from zslcore.signatures.encoders import extra
from zslcore.signatures.source import Source as Signatures

REQUIREMENTS = Path("requirements.txt")
"""What CI installs, in a project that `zsl init` made."""
LONGEST = 255
"""Bytes of the longest name of a file."""
Copies = list[tuple[Path, Path]]
"""(where a file is, where it goes below the new folder)."""


def plan_copies(source: Source, root: Path, home: Path) -> tuple[dict[str, Any], Copies]:
    """The settings of a source as data/<name>.yaml will hold them, and the copies of its files to make below `home`.

    root: folder that the source's paths start from. A copy is named after its setting and its file,
    `features-res101.mat`; that of a folder after its setting, `images/...`. A file of two settings is copied once, and
    one that is called as its setting stays so.
    """
    settings: dict[str, Any] = {"kind": source.kind}
    copies: Copies = []
    placed: dict[Path, Path] = {}

    def place(path: Path, stem: str) -> str:
        if path not in placed:
            name = stem if path.stem == stem else f"{stem}-{path.stem}"
            placed[path] = Path(f"{name}{path.suffix.lower()}" if (root / path).is_file() else stem)
            copies.extend(_files(root / path, placed[path]))
        return (home / placed[path]).as_posix()

    complete = source.with_found_files(root)
    for name, value in complete:
        if name not in complete.model_fields_set or value is None:
            continue
        if isinstance(value, Path):
            settings[name] = place(value, name)
        elif isinstance(value, dict):
            settings[name] = {key: _values(one) | {"file": place(one.file, key)} for key, one in value.items()}
        elif isinstance(value, tuple):
            settings[name] = [place(path, f"{name}{position}") for position, path in enumerate(value, start=1)]
        else:
            settings[name] = value
    return settings, copies


def _values(described: Described) -> dict[str, Any]:
    """What is set of it, as YAML holds it."""
    return described.model_dump(mode="json", exclude_unset=True)


def check_copies(copies: Copies) -> None:
    """Raise ZSLError for files whose names are not UTF-8, or longer than a name may be; nothing is copied then."""
    strange = [source for source, target in copies if not is_utf8(str(target))]
    if strange:
        first = ", ".join(shown(str(path)) for path in strange[:5])
        raise ZSLError(f"{len(strange)} files have names that are not UTF-8: {first}; rename them")
    long = [(source, target) for source, target in copies if len(target.name.encode()) > LONGEST]
    for source, target in long[:1]:
        raise ZSLError(f"{source}: its copy {target.name} would have a name of more than {LONGEST} bytes; rename it")


class Planned(Params):
    """The settings as they will be once a data set's file has another text."""

    def __init__(self, dataset: str, text: str, root: Path = Path()) -> None:
        super().__init__(root)
        self.dataset, self.text = dataset, text

    def _read(self, file: Path) -> dict[str, Any]:
        if file != data_file(self.dataset):
            return super()._read(file)
        return dict(YAML(typ="safe", pure=True).load(self.text))


def check_ready(data: Dataset, settings: Settings, root: Path = Path()) -> list[str]:
    """Notes on a data set that every stage takes with these settings; its images are opened.

    root: folder that their paths start from. Raises ZSLError for what a stage would refuse, unreadable images among it.
    """
    readiness.check(data, chooses=bool(chosen_names(settings)))
    found = readiness.notes(data)
    if bad := readiness.bad_images(data, root):
        said = readiness.unreadable(bad, len(data.image_files))
        if settings.extract.on_bad_image == "fail":
            raise ZSLError(
                f"data set '{data.name}': {said}\nmend or remove them, or write `extract: {{on_bad_image: skip}}` into "
                f"{data_file(data.name)}"
            )
        readiness.check(readiness.without(data, bad), chooses=bool(chosen_names(settings)))
        found.append(f"{said}\nthey are skipped (extract.on_bad_image)")
    return [*found, *readiness.image_notes(data, root)]


def _files(path: Path, target: Path) -> Copies:
    """The copies of a file, or of all files below a folder that are not hidden."""
    if not path.is_dir():
        return [(path, target)]
    inside = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    return [copy for child in inside for copy in _files(child, target / child.name)]


def with_extras(sources: Iterable[Signatures]) -> dict[Path, str]:
    """requirements.txt with the extras that read a data set's texts, where it installs zslcore without them."""
    if not REQUIREMENTS.exists():
        return {}
    text = REQUIREMENTS.read_text(encoding="utf-8")
    named = ",".join(re.findall(r"^zslcore\[(.*?)\]", text, re.MULTILINE)).split(",")
    wanted = {extra(source.made) for source in sources if source.texts} - {None, *named}
    if "all" in named or named == [""] or not wanted:
        return {}
    return {REQUIREMENTS: "\n".join([text.rstrip(), *(f"zslcore[{name}]" for name in sorted(map(str, wanted)))]) + "\n"}


@contextmanager
def install_files(home: Path, files: Copies, dvc: bool, texts: tuple[Path, ...] = ()) -> Iterator[None]:
    """Copy files into `home`, which is replaced, and put it under DVC where `dvc` says so; a context.

    If a copy, DVC or the body of the context fails, everything is put back as it was, `texts` too, which the body may
    write. Raises ZSLError when the disk
    is full or may not be written, when DVC fails, or when the working folder is not one of DVC's.
    """
    if dvc and not Path(".dvc").is_dir():
        raise ZSLError("no .dvc folder here: run in the project's folder, after `dvc init`, or give --no-dvc")
    new, old = (home.with_name(f".{home.name}.{suffix}") for suffix in ("new", "old"))
    before = (home.with_name(f"{home.name}.dvc"), home.with_name(".gitignore"), *texts)
    contents = {path: _content(path) for path in before}
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
            for path, content in contents.items():
                path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise ZSLError(f"{home}: cannot be written ({reason}); free disk space or check the permissions") from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def add_file(source: Path, target: Path, texts: Mapping[Path, str]) -> None:
    """Copy a file or folder to `target` in a data set's folder, and write texts: all or nothing.

    The folder goes under DVC again where it is. Raises ZSLError where something is there already, or cannot be written.
    """
    if target.exists():
        raise ZSLError(f"{target} is there already; remove it, or call the new one otherwise")
    home = target.parent
    tracked = home.with_name(f"{home.name}.dvc")
    contents = {path: _content(path) for path in (tracked, *texts)}
    try:
        for file, below in _files(source, Path()):
            (target / below).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / below)
        if tracked.exists():
            _dvc_add(home)
        for path, text in texts.items():
            write_text(path, text)
    except BaseException as error:
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        for path, content in contents.items():
            path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        if isinstance(error, OSError):
            raise ZSLError(f"{target}: cannot be written ({error.strerror or error}); free disk space") from error
        raise


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _dvc_add(home: Path) -> None:
    result = subprocess.run([sys.executable, "-m", "dvc", "add", str(home)], capture_output=True, text=True)
    if result.returncode:
        raise ZSLError(f"`dvc add {home}` failed; put that right or give --no-dvc: {result.stderr.strip()}")
