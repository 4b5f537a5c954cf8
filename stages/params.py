"""`zsl params`: what every parameter means, its default, and its value for a data set."""

from typing import Annotated, Any

import typer


def command(
    dataset: Annotated[str | None, typer.Argument(help="Show the values resolved for this data set.")] = None,
    section: Annotated[
        str | None,
        typer.Option(help="Only this section: train, classify, ..., or an experiment's: fewshot, mining, ..."),
    ] = None,
) -> None:
    """Explain the parameters of params.yaml: default, meaning, and the value a data set gets."""
    from functools import reduce
    from operator import getitem
    from pkgutil import resolve_name

    from rich.console import Console
    from rich.table import Table

    from zslcore.errors import unknown
    from zslcore.params import EXTRA_SECTIONS, SECTIONS, explain, load_params

    names = [*SECTIONS, *EXTRA_SECTIONS]
    if section is not None and section not in names:
        raise unknown("section", section, names)
    params = load_params()
    resolved: dict[str, Any] = params.resolve(dataset).model_dump() if dataset else {}
    table = Table("parameter", "default", *([dataset] if dataset else []), "meaning", title=None)
    for name in SECTIONS if section is None else [section]:
        model = SECTIONS[name] if name in SECTIONS else resolve_name(EXTRA_SECTIONS[name])
        if dataset and name in params.raw and name in EXTRA_SECTIONS:
            resolved[name] = params.extra(name, model, dataset).model_dump()
        for path, default, meaning in explain(model):
            value = reduce(getitem, path.split("."), resolved[name]) if name in resolved else default
            cells = [str(default), *([str(value)] if dataset else []), meaning]
            table.add_row(f"{name}.{path}", *("null" if cell == "None" else cell for cell in cells))
    Console().print(table)
