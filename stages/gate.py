"""`zsl gate`: fail a build whose metrics are worse than at a git revision, beyond tolerance and noise."""

from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from zslcore.errors import ZSLError
from zslcore.io.layers import validate
from zslcore.project import gate
from zslcore.project.fresh import check_results
from zslcore.project.params import PARAMS_FILE, Params
from zslcore.project.resolved import RESULTS, load_resolved

from .code import code_of
from .common import print_table, say


class Format(StrEnum):
    """How the verdicts are printed."""

    table = "table"
    markdown = "markdown"
    json = "json"


def command(
    against: Annotated[
        str | None, typer.Option(help="Revision to compare with; by default the commit where HEAD left main.")
    ] = None,
    format: Annotated[Format, typer.Option(help="For the terminal, for a comment in CI, or for programs.")] = (
        Format.table
    ),
) -> None:
    """Compare the metrics with a git revision: exit 1 on a regression or a gated metric gone, 2 on misuse."""
    try:
        settings = validate(gate.GateSettings, Params().top("gate"), f"{PARAMS_FILE}: gate").with_tolerances()
        commit = gate.resolve_revision(against)
        _check_results()
        note = gate.check_revision(commit, against is not None)
        rows = gate.compare(gate.metrics_diff(commit), settings)
        gate.check_rows(rows, settings, commit)
    except ZSLError as error:
        say(f"error: {error}")
        raise typer.Exit(2) from error
    if note:
        say(note)
    if format is Format.table:
        _print(rows)
        print(gate.summary(rows, commit))
    else:
        print({Format.markdown: gate.markdown, Format.json: gate.as_json}[format](rows, commit))
    if any(row.fails for row in rows):
        raise typer.Exit(1)


def _check_results() -> None:
    """Raise ZSLError where a result is not what `dvc repro` would leave. One that is gone, the comparison tells."""
    params = Params()
    for dataset in params.datasets if "datasets" in params.raw else ():
        if (RESULTS / dataset / "metrics.json").exists():
            resolved = load_resolved(dataset)
            check_results(resolved, partial(code_of, resolved=resolved), of="evaluate")


def _print(rows: list[gate.Row]) -> None:
    styles = {"worse": "red", "missing": "yellow", "better": "green", "new": "cyan", "same": ""}
    table = Table(*gate.HEADER)
    for row in rows:
        table.add_row(*(Text(cell) for cell in gate.cells(row)), style=styles[row.verdict])
    print_table(table)
