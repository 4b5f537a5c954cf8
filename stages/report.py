"""Stage `report`: one page over all data sets."""

from pathlib import Path
from typing import Annotated

import typer

from stages.common import EXPERIMENTS, say


def command(
    experiments: Annotated[
        bool,
        typer.Option("--experiments", help="Show the experiments' results too, and write to experiments/report."),
    ] = False,
) -> None:
    """Write report.md and report.html from results/, and print the results table."""
    from zslcore.params import load_params
    from zslcore.report import write_report

    folder, others = (EXPERIMENTS.parent / "report", EXPERIMENTS) if experiments else (Path("report"), None)
    say(write_report(load_params(), folder=folder, others=others))
    say(f"the whole report: {folder}/report.html")
