"""Experiment `compare`: methods of the registry on data sets, one protocol, a small result each."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from zslcore.compute.cores import at_once, one_thread
from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset, Seen, sources_of
from zslcore.errors import ZSLError
from zslcore.evaluation.signatures import choose_composition
from zslcore.experiments.compare import cached_compare, check_data, list_jobs, load_candidates, load_given
from zslcore.io.artifacts import sha256, write_json
from zslcore.io.yaml import read_yaml
from zslcore.methods import registry
from zslcore.methods.base import Method
from zslcore.project.code import ROOT, code_hash
from zslcore.project.params import Params
from zslcore.signatures.compose import fixed, of_attributes

from .common import listed, say
from .lines import headline
from .workspace import Workspace

GIVEN = "experiments/methods.yaml"
PAPER = "experiments/paper.yaml"


def command(
    methods: Annotated[
        str | None, typer.Option(help=f"Names of methods, by commas; default: all that have a row in {GIVEN}.")
    ] = None,
    datasets: Annotated[str | None, typer.Option(help="Names of data sets, by commas; default: all.")] = None,
    choose: Annotated[
        bool, typer.Option("--choose", help="Choose settings on validation classes, whatever is given.")
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
    params = Params()
    asked = list(read_yaml(Path(GIVEN))) if methods is None else listed(methods)
    names = {registry.get(one).name if ":" in one else one: one for one in asked}
    # the code as it is now: what is edited during the run is measured by the next
    codes = {name: code(one) for name, one in names.items()}
    usual = [PAPER, GIVEN] if params.preset == "paper" else [GIVEN]
    tables = {table: load_given(Path(table)) for table in ([] if choose else usual if given is None else [given])}
    among = {} if candidates is None else {name: load_candidates(Path(candidates), name) for name in names}
    workspaces = {name: Workspace(name) for name in (params.datasets if datasets is None else listed(datasets))}
    files = {}
    for dataset, workspace in workspaces.items():
        check_data(workspace.data)
        files[dataset] = {file: sha256(workspace.artifact(file)) for file in ("dataset.h5", "features.h5")}
    jobs = list_jobs(list(workspaces), list(names), tables, required=given)

    calls = [
        partial(
            cached_compare,
            partial(_load, workspaces[job.dataset], names[job.method]),
            job.row,
            workspaces[job.dataset].section("compare"),
            workspaces[job.dataset].seeds,
            workspaces[job.dataset].device,
            among.get(job.method),
            {
                "compare": registry.target(names[job.method]),
                "data": files[job.dataset],
                "signatures": workspaces[job.dataset].settings.signatures.model_dump(),
                "code": codes[job.method],
            },
            checkpoints,
        )
        for job in jobs
    ]
    device = next((workspace.device for workspace in workspaces.values()), "cpu")
    failures = []
    for job, metrics in zip(jobs, _measure(calls, device), strict=True):
        if isinstance(metrics, ZSLError):
            if len(jobs) == 1:
                raise metrics
            failures.append(f"{job.dataset}, {job.method}: {metrics}")
            continue
        metrics["about"]["given"] = job.table
        write_json(workspaces[job.dataset].experiment(f"methods/{job.method}.json"), metrics)
        say(f"{job.dataset}, {job.method}: {headline(metrics)}")
        if (metrics["about"]["validation"] or {}).get("longest"):
            say(f"{job.dataset}, {job.method}: the longest training length that was tried is the best: try more epochs")
    if failures:
        raise ZSLError(f"{len(jobs) - len(failures)} of {len(jobs)} measured; not measured:\n" + "\n".join(failures))


def _measure(calls: Sequence[Callable[[], dict[str, Any]]], device: str) -> Iterator[dict[str, Any] | ZSLError]:
    """What each call gives, or the error that it raises: side by side, or each with its own fits side by side.

    The latter where there are fewer calls than cores.
    """
    attempt = partial(_attempt, calls)
    if len(calls) < at_once():
        return map(attempt, range(len(calls)))
    return in_order("compare", attempt, [(position,) for position in range(len(calls))], device)


def _attempt(calls: Sequence[Callable[[], dict[str, Any]]], position: int) -> dict[str, Any] | ZSLError:
    try:
        with one_thread():
            return calls[position]()
    except ZSLError as error:
        return error


def _load(workspace: Workspace, method: str) -> tuple[type[Method[Any]], Dataset, Seen, NDArray[np.float32]]:
    """With signatures as the settings say, or as suits ESZSL best on validation classes."""
    cls, choice, signatures = registry.get(method), workspace.section("compare"), workspace.settings.signatures
    seen = workspace.seen_sources(maps=cls.input == "maps")
    composition = fixed(signatures)
    if composition is None:
        composition = choose_composition(workspace.seen_sources(), signatures, choice.splits, choice.seed)
    if cls.needs_binary_attributes:
        composition = of_attributes(sources_of(seen), composition)
    data = workspace.data_sources().composed(composition)
    features = workspace.maps() if cls.input == "maps" else workspace.rows()
    return cls, data, seen.composed(composition), features


def code(method: str, by: str = "zslcore.experiments.compare", root: Path = ROOT) -> str:
    """A hash of the code that a method's figures depend on: no other method's, nor their registry.

    method: its name, or package.module:Class. by: the module that measures it.
    """
    return code_hash(by, registry.target(method).partition(":")[0], root=root)
