"""What a stage's code says: hashes of the files it imports, which comments, docstrings and messages leave as they are.

An edited loss then re-runs what it touches, and a reworded message nothing.
"""

import ast
import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("zslcore", "stages")
LEFT_OUT = (
    "zslcore",
    "zslcore.errors",
    "zslcore.progress",
    "zslcore.settings",
    "zslcore.io.extras",
    "zslcore.io.layers",
    "zslcore.experiments.settings",
    "zslcore.project",
    "stages.cli",
    "stages.commands",
    "stages.common",
    "stages.lines",
    "stages.live",
)
"""Modules, and packages whole, that change no figure but by the values they resolve, which stages depend on."""
BELOW_LEFT_OUT = tuple(f"{name}." for name in LEFT_OUT if "." in name)
SPEAKERS = ("say", "print", "debug", "info", "warning", "warn", "advance")
"""Functions that only tell a person something."""


def closure(*modules: str, root: Path = ROOT) -> dict[str, Path]:
    """The modules that `modules` import, directly or not, themselves included: name -> file.

    Modules of this project, and of each package that `modules` name. Imports inside functions count. A registry's
    "module:attribute" strings do not: name what they lead to.
    """
    of_stages = root / "zslcore" if (root / "zslcore/stages").is_dir() else root  # where the wheel has them, or not
    folders = {"zslcore": root, "stages": of_stages, **_elsewhere(modules)}
    files: dict[str, Path] = {}
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        path = None if name in seen or _left_out(name) else _file(name, folders)
        seen.add(name)
        if path is None:
            continue
        files[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [package, *imports(path.read_text(encoding="utf-8"), package)]
    return dict(sorted(files.items()))


def code_hash(*modules: str, root: Path = ROOT) -> str:
    """SHA-256 of what the closure of `modules` says, the first 16 digits.

    The data of a module, which stand in a YAML file of its name next to it, count too.
    """
    whole = hashlib.sha256()
    for name, path in closure(*modules, root=root).items():
        whole.update(f"{name} {_meaning(path.read_text(encoding='utf-8'))}\n".encode())
        if (data := path.with_suffix(".yaml")).exists():
            whole.update(data.read_bytes())
    return whole.hexdigest()[:16]


def _elsewhere(modules: Iterable[str]) -> dict[str, Path]:
    """Packages of other projects that modules are in, and the folder each stands in."""
    folders: dict[str, Path] = {}
    for package in {module.split(".")[0] for module in modules}.difference(PACKAGES):
        spec = find_spec(package)
        places = [] if spec is None else [*(spec.submodule_search_locations or []), *filter(None, [spec.origin])]
        if places:
            folders[package] = Path(places[0]).parent
    return folders


def _left_out(module: str) -> bool:
    return module in LEFT_OUT or module.startswith(BELOW_LEFT_OUT)


def _file(module: str, folders: Mapping[str, Path]) -> Path | None:
    folder = folders.get(module.split(".")[0])
    if folder is None:
        return None
    base = os.path.join(folder, *module.split("."))  # for thousands of names, of which pathlib would make a second
    return next((Path(path) for path in (f"{base}.py", f"{base}/__init__.py") if os.path.isfile(path)), None)


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def imports(source: str, package: str) -> tuple[str, ...]:
    """The names that a module in `package` imports, anywhere in it; of `from a import b` both a and a.b."""
    names: list[str] = []
    blocks: list[ast.AST] = [_tree(source)]
    while blocks:
        node = blocks.pop()
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):  # no import stands in an expression
            blocks += getattr(node, part, ())
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(names)


@cache
def _meaning(source: str) -> str:
    """SHA-256 of a module's syntax tree, less what only people read; the same on every version of Python."""
    words: list[str] = []
    _write(_tree(source), words)
    return hashlib.sha256("".join(words).encode()).hexdigest()


def _write(node: object, words: list[str]) -> None:
    """A tree as text: types and fields that hold something, whatever else a version of Python gives its nodes.

    Without docstrings, the words of errors and messages, and descriptions of settings.
    """
    if isinstance(node, ast.AST):
        words.append(f"({type(node).__name__}")
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                value = [item for item in value if not _is_silent(item)]
            elif field == "exc" and isinstance(value, ast.Call):
                value = value.func
            if value is not None and value != []:
                words.append(f" {field}=")
                _write(value, words)
        words.append(")")
    elif isinstance(node, list):
        for item in node:
            _write(item, words)
    else:
        words.append(repr(node))


def _is_silent(node: object) -> bool:
    """Whether a statement or an argument only tells a person something."""
    if isinstance(node, ast.Expr):
        value = node.value
        if isinstance(value, ast.Constant):
            return isinstance(value.value, str)
        return isinstance(value, ast.Call) and _name(value.func) in SPEAKERS
    return isinstance(node, ast.keyword) and node.arg in ("description", "help")


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
