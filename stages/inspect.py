"""`zsl inspect`: what an artifact is, what made it, and what it holds."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from zslcore.errors import printable
from zslcore.io.artifacts import PACKAGED
from zslcore.io.inspection import inspect
from zslcore.io.layers import flat, validate
from zslcore.model.card import card
from zslcore.model.header import Header


def command(
    file: Annotated[Path, typer.Argument(help="An artifact (HDF5, safetensors).")],
) -> None:
    """Print format, parameters, library versions, input hashes, shapes and ranges of an artifact."""

    contents = inspect(file)
    if contents.about.get("format") == PACKAGED.name:  # what `params` holds, in words
        header = validate(Header, contents.params, str(file))
        print(card(header, file))
        if not header.of_texts:
            print("the first line of a table for `zsl predict --classes`:")
            csv.writer(sys.stdout, lineterminator="\n").writerow(map(printable, ("class", *header.attributes)))
        contents = replace(contents, params={})
    for name, value in contents.about.items():
        print(f"{name}: {printable(value)}")
    for title, values in (("inputs", contents.inputs), ("libraries", contents.libraries), ("params", contents.params)):
        print(f"{title}:")
        for name, value in flat(values if isinstance(values, dict) else {"value": values}).items():
            print(f"  {printable(name)}: {printable(value)}")
    print("holds:")
    for array in contents.arrays:
        shape = " × ".join(map(str, array.shape)) or "one value"
        range_ = "" if array.low is None else f", {array.low:.6g} … {array.high:.6g}"
        warning = f", {array.not_finite} NaN or infinite" if array.not_finite else ""
        print(f"  {printable(array.name)}: {shape}, {array.dtype}{range_}{warning}")
