"""The rooms of the library stand one above the other: imports lead down (docs/architecture.md)."""

import re
from collections.abc import Iterator
from pathlib import Path

from zslcore.project.code import imports

ROOT = Path(__file__).parents[1]
ROOMS = (
    "errors progress",
    "io settings",
    "nn training compute scaling",
    "signatures datasets features",
    "synthesis methods",
    "evaluation estimators model experiments",
    "project report serving",
)
"""From the ground up; a room imports from those before it, of its own line too."""
ORDER = " ".join(ROOMS).split()


def room(module: str) -> str:
    return module.split(".")[1]


def arrows() -> Iterator[tuple[str, str]]:
    """Each module of a room, and each other module of the project that it imports."""
    for path in sorted((ROOT / "zslcore").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for name in imports(path.read_text(encoding="utf-8"), package):
            if module != "zslcore" and re.match(r"(zslcore\.|stages\b)", name):
                yield module, name


def test_every_room_has_its_place_and_its_line_in_the_picture() -> None:
    inside = [path for path in (ROOT / "zslcore").iterdir() if path.suffix in ("", ".py")]
    here = {path.stem for path in inside} - {"__init__", "__main__", "__pycache__", "template"}  # the last: no code
    assert here == set(ORDER)
    assert len([path for path in inside if path.suffix == ".py" and path.name != "__init__.py"]) <= 6
    picture = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("```")[1]
    assert {room for room in ORDER if f" {room}/" not in picture and f"{room}.py" not in picture} == set()


def test_imports_lead_down() -> None:
    found = list(arrows())
    assert len(found) > 500
    up = [f"{module} -> {name}" for module, name in found if name.startswith("stages") or not below(name, module)]
    assert up == []


def below(name: str, module: str) -> bool:
    return ORDER.index(room(name)) <= ORDER.index(room(module))
