"""`zsl inspect`: what an artifact or a result is, what made it, and what it holds."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zslcore.errors import printable


def command(
    file: Annotated[Path, typer.Argument(help="An artifact (HDF5, safetensors) or a result (JSON, CSV).")],
) -> None:
    """Print format, parameters, library versions, input hashes, shapes and ranges of an artifact."""
    from zslcore.inspection import inspect

    found = inspect(file)
    for name, value in found.about.items():
        print(f"{name}: {printable(value)}")
    for title, values in (("inputs", found.inputs), ("libraries", found.libraries), ("params", found.params)):
        print(f"{title}:")
        for name, value in flat(values):
            print(f"  {printable(name)}: {printable(value)}")
    print("holds:")
    for array in found.arrays:
        shape = " × ".join(map(str, array.shape)) or "one value"
        range_ = "" if array.low is None else f", {array.low:.6g} … {array.high:.6g}"
        warning = f", {array.not_finite} NaN or infinite" if array.not_finite else ""
        print(f"  {printable(array.name)}: {shape}, {array.dtype}{range_}{warning}")


def flat(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of everything in nested dictionaries; a lone value is called `value`."""
    if not isinstance(values, dict):
        return [(prefix.removesuffix(".") or "value", values)]
    return [pair for name, value in values.items() for pair in flat(value, f"{prefix}{name}.")]
