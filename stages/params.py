"""`zsl params`: what every parameter means, its default, and its value for a data set."""

from typing import Annotated, Any

import typer


def command(
    dataset: Annotated[str | None, typer.Argument(help="Show the values resolved for this data set.")] = None,
    section: Annotated[str | None, typer.Option(help="Only this section: train, classify, ...")] = None,
) -> None:
    """Explain the parameters of params.yaml: default, meaning, and the value a data set gets."""
    from rich.console import Console
    from rich.table import Table

    from zslcore.errors import unknown
    from zslcore.params import SECTIONS, explain, load_params

    if section is not None and section not in SECTIONS:
        raise unknown("section", section, SECTIONS)
    resolved = load_params().resolve(dataset).model_dump() if dataset else None
    table = Table("parameter", "default", *([dataset] if dataset else []), "meaning", title=None)
    for name, model in SECTIONS.items():
        if section in (None, name):
            for path, default, meaning in explain(model):
                value: Any = resolved[name] if resolved else None
                for part in path.split(".") if resolved else ():
                    value = value[part]
                cells = [str(default), *([str(value)] if resolved else []), meaning]
                table.add_row(f"{name}.{path}", *("null" if cell == "None" else cell for cell in cells))
    Console().print(table)
