"""Experiment `compare`: methods of the registry on data sets, one protocol, a small result each."""

from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from stages.common import artifact, experiment, listed, say
from zslcore.closure import ROOT, hashes
from zslcore.errors import ZSLError

GIVEN = "experiments/methods.yaml"
PAPER = "experiments/paper.yaml"


def command(
    methods: Annotated[
        str | None, typer.Option(help=f"Names of methods, by commas; default: all that have a row in {GIVEN}.")
    ] = None,
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

    Settings that no table gives are chosen on validation classes. What the same data, settings and code of a method
    gave before is read back. A method that fails costs no other: which ones did, and why, is said at the end.
    """
    from stages.inputs import everything, used
    from zslcore.artifacts import sha256, write_json
    from zslcore.evaluation.cells import STORE, cell
    from zslcore.evaluation.compare import CompareSettings, Given, check_data, compare, load_candidates, load_given
    from zslcore.methods import registry
    from zslcore.params import load_params, read_yaml
    from zslcore.report.cells import spread

    params = load_params()
    names = list(read_yaml(Path(GIVEN))) if methods is None else listed(methods)
    codes = {name: code(name) for name in names}  # as it is now: what is edited during the run is measured by the next
    usual = [PAPER, GIVEN] if params.preset == "paper" else [GIVEN]
    tables = {table: load_given(Path(table)) for table in ([] if choose else usual if given is None else [given])}
    among = {} if candidates is None else {name: load_candidates(Path(candidates), name) for name in names}
    own, files = {}, {}
    for dataset in params.datasets if datasets is None else listed(datasets):
        params.source(dataset)
        own[dataset] = params.extra("compare", CompareSettings, dataset)
        check_data(used(dataset))
        files[dataset] = {file: sha256(artifact(dataset, file)) for file in ("dataset.h5", "features.h5")}
    jobs = []
    for dataset, name in product(own, names):
        rows = ((table, known[name][dataset]) for table, known in tables.items() if dataset in known.get(name, {}))
        table, row = next(rows, (None, None))
        if row is None and given in tables:
            like = f"by copying the row of the data set that {dataset} is like"
            raise ZSLError(f"{given}: no row {name}: {dataset}; add one, {like}")
        jobs.append((dataset, name, table, row))

    def measured(dataset: str, name: str, row: Given | None) -> Any:
        how: dict[str, Any] = {"seeds": params.seeds, "device": params.device, "among": among.get(name)}
        key = {
            "compare": registry.target(name),
            "data": files[dataset],
            "given": row and row.model_dump(),
            "own": own[dataset].model_dump(),
            **how,
            "code": codes[name],
        }
        return cell(
            key,
            lambda: compare(
                registry.get(name), *everything(dataset), row, own[dataset], **how, checkpoints=checkpoints, store=STORE
            ),
        )

    failed = []
    for dataset, name, table, row in jobs:
        try:
            found = measured(dataset, name, row)
        except ZSLError as error:
            if len(jobs) == 1:
                raise
            failed.append(f"{dataset}, {name}: {error}")
            continue
        found["about"]["given"] = table
        write_json(experiment(dataset, f"methods/{name}.json"), found)
        figures = [("T1", found["zsl"]["T1"]), *((key, found["gzsl"][key]) for key in "USH")]
        figures.append(("H chosen on test (diagnostic only)", found["diagnostic"]["test_selected_H"]))
        say(f"{dataset}, {name}: " + ", ".join(f"{metric} {spread(value)}" for metric, value in figures))
    if failed:
        raise ZSLError(f"{len(jobs) - len(failed)} of {len(jobs)} measured; not measured:\n" + "\n".join(failed))


def code(method: str, root: Path = ROOT) -> dict[str, str]:
    """The files that a method's figures depend on, each with its SHA-256: no other method's, nor their registry."""
    from zslcore.methods import registry

    return hashes("zslcore.evaluation.compare", registry.target(method).partition(":")[0], root=root)
