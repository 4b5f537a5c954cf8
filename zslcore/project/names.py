"""Names that a data set may have, and what a name takes over that is there already."""

import re

from zslcore.errors import ZSLError
from zslcore.io.yaml import read_yaml
from zslcore.methods import registry
from zslcore.project.belongings import BENCHMARKS, PLACES
from zslcore.project.edit import settings_of
from zslcore.project.params import DATA, Params, data_file

LONGEST = 64
"""Characters; temporary files have longer names than their data set."""
WINDOWS = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
"""Names that no file may have on Windows, whatever its suffix and in either case."""


def check_name(params: Params, name: str, replace: bool, like: str | None = None) -> list[str]:
    """What to tell of a data set that comes under a name, whose settings are to be those of `like`.

    replace: whether a data set of this name may be there. Raises ZSLError for a name that it may not have.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ZSLError(f"name {name!r}: use letters, digits, - and _ only")
    if len(name) > LONGEST:
        raise ZSLError(f"name {name!r}: {len(name)} characters; use {LONGEST} at most")
    if name.lower() in WINDOWS:
        raise ZSLError(f"name {name!r}: Windows keeps this name for a device, no file may have it; choose another")
    if name.lower() in [preset.lower() for preset in params.presets]:
        raise ZSLError(f"name {name!r}: a preset is called so; choose another name")
    for other in sorted(_names(params)):
        if other != name and other.lower() == name.lower():
            raise ZSLError(
                f"name {name!r}: '{other}' is here, and Windows and macOS take the two names for one; use '{other}' "
                "itself or another name"
            )
    home = params.root / DATA / name
    taken = name in {*params.datasets, *params.known()} or home.exists() or home.with_name(f"{name}.dvc").exists()
    if taken and not replace:
        raise ZSLError(f"data set '{name}' exists; choose another --name, or --replace it")
    return _notes(params, name, taken, like)


def _notes(params: Params, name: str, taken: bool, like: str | None) -> list[str]:
    notes = []
    file = data_file(name)
    path = params.root / file
    values = read_yaml(path, aliases=False) if path.exists() else {}
    settings = [section for section in values if section != "source"]
    start = settings_of(params, name, like)
    if settings and start != name:
        whose = "brought by the project" if name in BENCHMARKS else "there already"
        notes.append(
            f"{file}: its settings ({', '.join(settings)}), {whose}, are replaced by those of '{start}'; leave --like "
            f"out to keep them"
        )
    elif start not in (None, name) and like is None:
        notes.append(f"its settings start from those of '{start}', whose name it begins with; --like says otherwise")
    left = [str(place / name) for place in PLACES[1:] if (params.root / place / name).exists()]
    if left and not taken:
        notes.append(f"{', '.join(left)}: of an earlier data set of this name; `dvc repro` replaces what is there")
    if name in registry.METHODS:
        notes.append(f"a method has this name, too: `zsl params {name}` shows the data set from now on")
    return notes


def _names(params: Params) -> set[str]:
    """Names of data sets that are in the list, have a file or folder in data/, or have left something elsewhere."""
    entries = [path for place in PLACES for path in (params.root / place).glob("*")]
    return {*params.datasets, *(path.name if path.is_dir() else path.stem for path in entries)}
