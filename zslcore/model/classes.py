"""Classes by description: the value of each attribute, checked, from a mapping or a table."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError, abridged, unknown
from zslcore.io.tables import clean, read_classes, read_table


def check_names(names: Collection[str], known: Collection[str]) -> None:
    """Raise ZSLError where there is no new class, or one has no name or that of a known class."""
    if not names:
        raise ZSLError("no new class; name at least one, and describe it by its attributes")
    if not all(map(str.strip, names)):
        raise ZSLError("a new class has an empty name; give it one")
    if twice := sorted(set(names).intersection(known)):
        raise ZSLError(f"the model has a class {twice[0]!r} already; give the new one another name")


def signature(name: str, values: Any, attributes: tuple[str, ...]) -> NDArray[np.float32]:
    """(a,) float32 of a class, from the value of each attribute by its name, or from all values in order.

    Raises ZSLError, which names the class, for unknown and missing attributes, and values that are no finite numbers.
    """
    if isinstance(values, Mapping):
        check_attributes(f"class {name!r}", values, attributes)
        values = [values[attribute] for attribute in attributes]
    try:
        numbers = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ZSLError(f"class {name!r}: values that are no numbers ({error})") from error
    if numbers.shape != (len(attributes),):
        raise ZSLError(f"class {name!r}: {numbers.size} values, and the model has {len(attributes)} attributes")
    if not np.isfinite(numbers).all():
        wrong = attributes[int(np.flatnonzero(~np.isfinite(numbers))[0])]
        raise ZSLError(f"class {name!r}: the value of {wrong!r} is no finite number")
    return numbers


def check_attributes(what: str, given: Collection[str], attributes: tuple[str, ...], most: int = 10) -> None:
    """Raise ZSLError unless exactly the model's attributes are given, in any order."""
    known = set(attributes)
    for attribute in given:
        if attribute not in known:
            raise ZSLError(f"{what}: {unknown('attribute', str(attribute), attributes, most)}")
    if missing := [attribute for attribute in attributes if attribute not in given]:
        listed = abridged(missing, most)
        raise ZSLError(f"{what}: no value for {len(missing)} of {len(attributes)} attributes: {listed}")


def read_descriptions(path: Path, attributes: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    """Name -> signature (a,) of each row of a table, whose columns are the model's attributes in any order.

    Raises ZSLError, which names the file, for unknown, missing and repeated attributes or names, and bad values.
    """
    table = read_table(path)
    ours = {clean(attribute): attribute for attribute in attributes}
    columns = [ours.get(column, column) for column in table.columns]
    check_attributes(str(path), columns, attributes)
    place = {column: k for k, column in enumerate(columns)}
    values = table.values[:, [place[attribute] for attribute in attributes]]
    return dict(zip(table.names, values, strict=True))


def read_candidates(path: Path, classes: tuple[str, ...]) -> list[str]:
    """The classes of a list, one name a line. Raises ZSLError for a name that is none of `classes`."""
    return [classes[k] for k in read_classes(path, classes)]
