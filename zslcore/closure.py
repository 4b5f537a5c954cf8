"""The code that modules run, as the closure of their imports: what a stage depends on, and what a kept result does."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("zslcore", "stages")


def closure(*modules: str, root: Path = ROOT) -> list[str]:
    """Files of this project that `modules` import, directly or not, themselves included; sorted, relative to `root`.

    Imports inside functions count. A registry's "module:attribute" strings do not: name what they lead to.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = None if name in found else _file(name, root)
        if path is None:
            continue
        found[name] = path
        waiting += _imports(path.read_text(encoding="utf-8"))
    return sorted({path.relative_to(root).as_posix() for path in found.values() if path.name != "__init__.py"})


def hashes(*modules: str, root: Path = ROOT) -> dict[str, str]:
    """SHA-256 of each file of a closure."""
    return {file: hashlib.sha256((root / file).read_bytes()).hexdigest() for file in closure(*modules, root=root)}


def _file(module: str, root: Path) -> Path | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _imports(source: str) -> tuple[str, ...]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)
