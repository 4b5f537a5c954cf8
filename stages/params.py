"""`zsl params`: what every setting means, its value, and where the value comes from."""

from typing import Annotated

import typer
from rich.table import Table

from zslcore.errors import unknown
from zslcore.io.layers import describe, flat
from zslcore.methods import registry
from zslcore.project.params import PARAMS_FILE, SECTIONS, Params

from .common import print_table


def command(
    name: Annotated[
        str | None, typer.Argument(help="A data set, whose values are shown; or a method, whose settings are.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Argument(help="Only this section or setting: train, train.lr, fewshot, ..."),
    ] = None,
) -> None:
    """Explain settings: the value a data set gets and the file it stands in, or the default of a method's."""
    params = Params()
    if name is not None and (":" in name or name in registry.names()) and name not in params.known():
        table = Table("setting", "default", "meaning")
        for path, default, meaning in describe(registry.get(name).Settings):
            if _within(path, part):
                table.add_row(path, _text(default), meaning)
    else:
        table = _of_dataset(params, name or params.datasets[0], part)
    if not table.row_count:
        raise unknown("part", str(part), SECTIONS)
    print_table(table)


def _of_dataset(params: Params, dataset: str, part: str | None) -> Table:
    values, origins = flat(params.resolve(dataset).plain()), params.origins(dataset)
    table = Table("parameter", dataset, "from", "meaning")
    for name, model in SECTIONS.items():
        for path, default, meaning in describe(model):
            full = f"{name}.{path}"
            inside = [key for key in values if key == full or key.startswith(f"{full}.")]
            if _within(full, part):
                value = ", ".join(f"{key.removeprefix(full)[1:]} {values[key]}".strip() for key in inside)
                files = {origins.get(key, "built-in default") for key in inside}
                value = value or (_text(default) if default else "none")
                table.add_row(full, value, ", ".join(sorted(files)) or "built-in default", meaning)
    for name in ("preset", "device", "seeds"):
        if _within(name, part):
            table.add_row(name, _text(values[name]), str(PARAMS_FILE), "")
    return table


def _text(value: object) -> str:
    return "null" if value is None else str(value)


def _within(path: str, part: str | None) -> bool:
    return part is None or path == part or path.startswith(f"{part}.")
