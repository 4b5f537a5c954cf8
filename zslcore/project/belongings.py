"""All that belongs to one data set in the project's folder, and taking it away or giving it another name, whole."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zslcore.errors import ZSLError, unknown
from zslcore.io.artifacts import alive, write_text
from zslcore.project.edit import blocks, with_other_home, with_other_name, with_path, without_name, without_source
from zslcore.project.params import DATA, PARAMS_FILE, Params, data_file
from zslcore.project.resolved import RESULTS

ARTIFACTS = Path("artifacts")
EXPERIMENT_RESULTS = Path("experiments/results")
MODELS = Path("models")
PLACES = (DATA, ARTIFACTS, RESULTS, EXPERIMENT_RESULTS)
"""Where a data set has a folder of its name: its files, and what is made of them."""
LOCKS = (Path("dvc.lock"), Path("experiments/dvc.lock"))
PIPELINE = Path("dvc.yaml")
"""Its list `artifacts` may name a data set's model."""
BENCHMARKS = ("awa1", "awa2", "cub", "flo", "sun")
"""Data sets whose settings come with the project, in data/<name>.yaml, and wait for their files."""


@dataclass
class Plan:
    """Changes to the project's folder, none made yet.

    texts: file -> (what it is to hold, what is changed in it). moves: from -> to. deletes: files and folders.
    """

    root: Path
    texts: dict[Path, tuple[str, str]] = field(default_factory=dict)
    moves: dict[Path, Path] = field(default_factory=dict)
    deletes: list[Path] = field(default_factory=list)

    def edit(self, path: Path, change: Callable[[str], str], what: str) -> None:
        """Change a file's text, where there is the file and where it changes; one that is left empty goes."""
        if (self.root / path).is_file():
            before = (self.root / path).read_text(encoding="utf-8")
            after = change(before)
            if not after:
                self.delete(path)
            elif after != before:
                self.texts[path] = after, what

    def delete(self, *paths: Path) -> None:
        """Delete what is there of these."""
        self.deletes += [path for path in paths if (self.root / path).exists()]

    def move(self, old: Path, new: Path) -> None:
        """Move a file or a folder, where it is there."""
        if (self.root / old).exists():
            self.moves[old] = new

    @property
    def touched(self) -> list[Path]:
        """Files and folders whose present content goes."""
        return [*self.texts, *self.moves, *self.deletes]

    def lines(self) -> Iterator[str]:
        """What is to be done, for people, a line each."""
        inside = {path: {old for old in self.moves if old in path.parents} for path in self.texts}
        for path, (_, what) in self.texts.items():
            if not inside[path]:
                yield f"edit    {path}: {what}"
        for old, new in self.moves.items():
            count = sum(old in folders for folders in inside.values())
            yield f"move    {old} to {new}" + (f"; {count} results in it say the new name" if count else "")
        for path in self.deletes:
            yield f"delete  {path}{_size(self.root / path)}"

    def carry_out(self) -> None:
        """Make the changes.

        Raises ZSLError naming a file that resists: nothing has changed then, unless deleting has begun, with which the
        same command goes on.
        """
        undo: list[Callable[[], object]] = []
        path = self.root
        try:
            for path, (text, _) in self.texts.items():
                whole = self.root / path
                undo.append(
                    partial(whole.write_bytes, whole.read_bytes())
                    if whole.exists()
                    else partial(whole.unlink, missing_ok=True)
                )
                write_text(whole, text)
            for path, new in self.moves.items():
                old, target = self.root / path, self.root / new
                os.replace(old, target)
                undo.append(partial(os.replace, target, old))
            undo.clear()
            for path in self.deletes:
                whole = self.root / path
                shutil.rmtree(whole) if whole.is_dir() and not whole.is_symlink() else whole.unlink()
        except BaseException as error:
            for step in reversed(undo):
                step()
            if isinstance(error, OSError):
                reason = error.strerror or str(error)
                raise ZSLError(f"{path}: cannot be changed ({reason}); put that right, then try again") from error
            raise


def removal(params: Params, name: str) -> Plan:
    """All that taking a data set away changes. Raises ZSLError for an unknown one, and where another needs it."""
    _check_known(params, name)
    if params.datasets == [name]:
        raise ZSLError(f"'{name}' is the only data set in {PARAMS_FILE}; import another one first")
    _check_apart(params, name)
    _check_idle(params, name)
    plan = Plan(params.root)
    plan.edit(PARAMS_FILE, lambda text: without_name(text, name), "datasets without it")
    _forget(plan, name)
    line = re.compile(rf"^/{re.escape(name)}(\n|\Z)", re.MULTILINE)
    plan.edit(DATA / ".gitignore", lambda text: line.sub("", text), "its line")
    plan.edit(PIPELINE, lambda text: _without_model(text, name), "artifacts without its model")
    _delete_settings(plan, name)
    plan.delete(*_all_of(params, name), *_tuned_backbones(params, name))
    return plan


def renaming(params: Params, old: str, new: str) -> Plan:
    """All that another name changes. Raises ZSLError for an unknown data set, and where something has the new name."""
    _check_known(params, old)
    _check_apart(params, old)
    _check_idle(params, old)
    in_the_way = [path for path in _all_of(params, new) if (params.root / path).exists()]
    if in_the_way or new in {*params.datasets, *params.known()}:
        there = in_the_way[0] if in_the_way else f"data set '{new}'"
        raise ZSLError(f"{there} is there already; choose another name, or `zsl remove {new}` first")
    plan = Plan(params.root)
    plan.edit(PARAMS_FILE, lambda text: with_other_name(text, old, new), f"'{new}' in the place of '{old}'")
    _forget(plan, old)
    line = re.compile(rf"^/{re.escape(old)}$", re.MULTILINE)
    plan.edit(DATA / ".gitignore", lambda text: line.sub(f"/{new}", text), "its line")
    plan.edit(PIPELINE, lambda text: _with_other_model(text, old, new), "the name and path of its model")
    plan.edit(DATA / f"{old}.dvc", lambda text: with_path(text, new), "its path")
    if (params.root / data_file(old)).exists():
        text = (params.root / data_file(old)).read_text(encoding="utf-8")
        waiting = ", in place of the project's settings for it" if (params.root / data_file(new)).exists() else ""
        what = f"what {data_file(old)} holds{waiting}"
        plan.texts[data_file(new)] = with_other_home(text, DATA / old, DATA / new), what
        _delete_settings(plan, old)
    for place in (RESULTS, EXPERIMENT_RESULTS):
        for path in sorted((params.root / place / old).rglob("*.json")):
            file = path.relative_to(params.root)
            plan.edit(file, lambda text: _with_other_label(text, old, new), "the name of the data set in it")
    for path, other in zip(_by_name(old), _by_name(new), strict=True):
        plan.move(path, other)
    for path in _models(params, old):
        plan.move(path, path.with_name(new + path.name.removeprefix(old)))
    plan.delete(*_tuned_backbones(params, old))  # their keys hold the name, so that they would not be found
    return plan


def rename_study(root: Path, new: str) -> None:
    """Give the study of `zsl tune` in a moved file the new name, under which it is looked for."""
    file = root / _caches(new)[0]
    if file.exists():
        with closing(sqlite3.connect(file)) as study, study:
            study.execute("UPDATE studies SET study_name = ?", (new,))


def _check_known(params: Params, name: str) -> None:
    known = {*params.datasets, *params.known()}
    plain = re.fullmatch(r"[\w-]+", name)  # no path that leads elsewhere
    left = plain and any((params.root / path).exists() for path in _all_of(params, name))
    if name not in known and not left:
        raise unknown("data set", name, known)


def _check_apart(params: Params, name: str) -> None:
    """Raise ZSLError where the source of another data set has files among those of this one."""
    inside = re.compile(rf"'{DATA.as_posix()}/{re.escape(name)}[/']")
    for other in params.known():
        if other != name and inside.search(repr(params.source(other))):
            raise ZSLError(f"{data_file(other)}: data set '{other}' has files in {DATA / name}; remove it first")


def _delete_settings(plan: Plan, name: str) -> None:
    if name in BENCHMARKS:
        plan.edit(data_file(name), without_source, "without its source; the settings stay for the next import")
    else:
        plan.delete(data_file(name))


def _check_idle(params: Params, name: str) -> None:
    """Raise ZSLError while a run of DVC works on files of a data set, by the marks that it leaves."""
    folders = [str((params.root / place / name).resolve()) for place in PLACES]
    try:
        marks = json.loads((params.root / ".dvc/tmp/rwlock").read_text(encoding="utf-8"))
        held = [(path, mark) for kind in ("write", "read") for path, mark in marks.get(kind, {}).items()]
    except (OSError, ValueError, AttributeError):
        return
    for path, mark in held:
        inside = any(Path(path).is_relative_to(folder) for folder in folders)
        for holder in mark if isinstance(mark, list) else [mark]:
            if inside and alive(holder["pid"]):
                raise ZSLError(f"{path} is in use by `{holder['cmd']}` (PID {holder['pid']}); wait for it")


def _all_of(params: Params, name: str) -> list[Path]:
    """Files and folders of a data set but its settings."""
    return [*_by_name(name), *_models(params, name)]


def _by_name(name: str) -> list[Path]:
    """Places of a data set's files and folders, whether they are there or not, but its settings and models."""
    return [DATA / f"{name}.dvc", *(place / name for place in PLACES), *_caches(name)]


def _models(params: Params, name: str) -> list[Path]:
    """A data set's models, and their cards: of its name, or of that and a method's, of this library or another.

    Those that fit the longer name of another data set, `mine-eszsl` next to `mine`, are that one's.
    """
    others = [re.escape(other) for other in params.known() if other.startswith(f"{name}-")]
    theirs = re.compile(rf"({'|'.join(others)})(-.*)?") if others else None
    files = [path for ending in ("zsl", "md") for path in (params.root / MODELS).glob(f"*.{ending}")]
    return sorted(
        path.relative_to(params.root)
        for path in files
        if re.fullmatch(rf"{re.escape(name)}(-.*)?", path.stem) and not (theirs and theirs.fullmatch(path.stem))
    )


def _caches(name: str) -> list[Path]:
    """What tools keep of a data set by name; other caches go by content and serve every data set."""
    grid = [Path(f".zsl/grid/{name}"), Path(f".zsl/grid/{name}.png")]
    return [Path(f".zsl/tune/{name}.db"), Path(f".zsl/bench/methods-{name}.json"), *grid]


def _tuned_backbones(params: Params, name: str) -> list[Path]:
    """Folders of a data set's fine-tuned backbones."""
    found = (params.root / ".zsl/backbones").glob(f"{name}-" + "[0-9a-f]" * 16)
    return sorted(path.relative_to(params.root) for path in found)


def _forget(plan: Plan, name: str) -> None:
    """Take a data set's stages out of dvc.lock."""
    places = "|".join(place.as_posix() for place in (*PLACES, MODELS))
    outs = re.compile(rf"^ *- path: ({places})/{re.escape(name)}(/|\.zsl$)", re.MULTILINE)
    for path in LOCKS:
        if not (plan.root / path).is_file():
            continue
        pieces = blocks((plan.root / path).read_text(encoding="utf-8"))
        rest = [piece for piece in pieces if not outs.search(piece.partition("\n    outs:\n")[2])]
        if len(rest) == len(pieces):
            continue
        if any(piece.startswith("  ") for piece in rest):
            plan.edit(path, lambda text, rest=rest: "".join(rest), f"{len(pieces) - len(rest)} stages of it")  # type: ignore[misc]
        else:
            plan.delete(path)


def _model(name: str) -> re.Pattern[str]:
    return re.compile(rf"^    path: {MODELS.as_posix()}/{re.escape(name)}(?=\.zsl$)", re.MULTILINE)


def _without_model(text: str, name: str) -> str:
    rest = "".join(piece for piece in blocks(text) if not _model(name).search(piece))
    return re.sub(r"\n*^artifacts:\s*\n(?=\S|\Z)", "\n", rest, flags=re.MULTILINE)


def _with_other_model(text: str, old: str, new: str) -> str:
    def renamed(piece: str) -> str:
        if not _model(old).search(piece):
            return piece
        piece = _model(old).sub(f"    path: {MODELS.as_posix()}/{new}", piece)
        return re.sub(rf"^  {re.escape(old)}:", f"  {new}:", piece)

    return "".join(map(renamed, blocks(text)))


def _with_other_label(text: str, old: str, new: str) -> str:
    """A result whose `dataset` has the other name."""
    return text.replace(f'"dataset": {json.dumps(old)}', f'"dataset": {json.dumps(new)}')


def _size(path: Path) -> str:
    if path.is_symlink() or not path.is_dir():
        return ""
    files = [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return f": {len(files)} files, {size / 2**20:.1f} MiB"
