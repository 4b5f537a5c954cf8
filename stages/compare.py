"""Experiment `compare`: methods of the registry on data sets, one protocol, a small result each."""

from pathlib import Path
from typing import Annotated

import typer

from stages.common import experiment, listed, say

GIVEN = "experiments/methods.yaml"
PAPER = "experiments/paper.yaml"


def command(
    methods: Annotated[str, typer.Option(help="Names of methods, separated by commas.")],
    datasets: Annotated[str | None, typer.Option(help="Names of data sets, by commas; default: all.")] = None,
    choose: Annotated[
        bool, typer.Option("--choose", help="Choose settings anew on validation classes, whatever is given.")
    ] = False,
    given: Annotated[
        str | None,
        typer.Option(
            help=f"Table of settings that must have a row for each method and data set; {PAPER} holds those the papers "
            f"state; default: {PAPER} with preset: paper, then {GIVEN}, each where it has a row."
        ),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(help="Table of settings to choose among, instead of the methods' search spaces.")
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Folder for checkpoints of the generative methods: a killed measurement goes on from there."),
    ] = None,
) -> None:
    """Measure methods on data sets: T1, U, S, H and AUSUC, mean ± std over the seeds where a method is random.

    Settings that no table gives are chosen on validation classes.
    """
    from stages.inputs import everything
    from zslcore import artifacts
    from zslcore.evaluation.cells import STORE
    from zslcore.evaluation.compare import CompareSettings, compare, load_candidates, load_given
    from zslcore.methods import registry
    from zslcore.params import load_params
    from zslcore.report.cells import spread

    params = load_params()
    names = listed(methods)
    usual = [PAPER, GIVEN] if params.preset == "paper" else [GIVEN]
    tables = [] if choose else usual if given is None else [given]
    for name in names:
        registry.get(name)
    for dataset in params.datasets if datasets is None else listed(datasets):
        params.source(dataset)
        own = params.extra("compare", CompareSettings, dataset)
        data, seen, features = everything(dataset)
        for name in names:
            rows = ((table, load_given(Path(table), name, dataset, required=given is not None)) for table in tables)
            table, row = next(((table, row) for table, row in rows if row is not None), (None, None))
            among = None if candidates is None else load_candidates(Path(candidates), name)
            found = compare(
                name, data, seen, features, row, own, params.seeds, params.device, among, checkpoints, STORE
            )
            found["about"]["given"] = table
            artifacts.write_json(experiment(dataset, f"methods/{name}.json"), found)
            figures = [("T1", found["zsl"]["T1"]), *((key, found["gzsl"][key]) for key in "USH")]
            figures.append(("H chosen on test (diagnostic only)", found["diagnostic"]["test_selected_H"]))
            say(f"{dataset}, {name}: " + ", ".join(f"{metric} {spread(value)}" for metric, value in figures))
