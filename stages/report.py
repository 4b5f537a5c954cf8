"""Stage `report`: one page over all data sets."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from zslcore.errors import ZSLError
from zslcore.project.fresh import check_results
from zslcore.project.params import Params
from zslcore.project.resolved import load_resolved
from zslcore.report.build import write_report

from .code import code_of
from .common import say, say_git_add
from .workspace import EXPERIMENTS

TIMINGS = Path(".zsl/bench")
"""Where bench/methods.py writes; no output of DVC."""


def command(
    experiments: Annotated[
        bool,
        typer.Option("--experiments", help="Show the experiments' results too, and write to experiments/report."),
    ] = False,
    with_timings: Annotated[
        bool,
        typer.Option("--with-timings", help="Show experiments and times of bench/methods.py; write to .zsl/report."),
    ] = False,
) -> None:
    """Write report.md and report.html from results/, and print the results table."""
    if with_timings and not any(TIMINGS.glob("methods-*.json")):
        raise ZSLError(f"{TIMINGS}: no timings; run python bench/methods.py DATASET first")
    folder, others = (EXPERIMENTS.parent / "report", EXPERIMENTS) if experiments else (Path("report"), None)
    if with_timings:  # they change from run to run: apart from what DVC keeps
        folder, others = TIMINGS.parent / "report", EXPERIMENTS
    resolved = [load_resolved(dataset) for dataset in Params().datasets]
    for one in resolved:
        check_results(one, partial(code_of, resolved=one), experiments=others is not None)
    say(write_report(resolved, folder=folder, others=others, bench=TIMINGS if with_timings else None))
    say(f"the whole report: {folder}/report.html")
    say_git_add("dvc.lock")  # which DVC writes once more after this
