"""Command `sweep`: many runs of the main method at once, here or on a Ray cluster; results are DVC metrics."""

from typing import Annotated, Literal

import typer

from zslcore.compute.cluster import ADDRESS
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import benchmark_task
from zslcore.experiments.sweep import SweepData, parse_grid, sweep
from zslcore.io import artifacts
from zslcore.project.params import Params

from .common import listed, say
from .lines import headline
from .workspace import Workspace


def command(
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.name=value,value,…; several make a grid, e.g. train.noise.strength=0,0.2."),
    ] = None,
    datasets: Annotated[str | None, typer.Option(help="Names of data sets, by commas; default: all.")] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="On this machine's cores, or on a Ray cluster.")
    ] = "local",
    address: Annotated[str | None, typer.Option(help=f"With --engine ray: {ADDRESS}")] = None,
) -> None:
    """Run the main method for every combination of settings, data set and seed.

    Each combination chooses on validation classes what `select` chooses. A result each lands under
    experiments/results/<data set>/sweep, for `dvc metrics show`.
    """
    if engine == "local" and address is not None:
        raise ZSLError("zsl sweep --address: only for --engine ray; add it")
    points = parse_grid(assignments or [])
    names = Params().datasets if datasets is None else listed(datasets)
    workspaces = {name: Workspace(name) for name in names}
    settings = {name: workspace.settings for name, workspace in workspaces.items()}
    data_sets = {
        name: SweepData(
            workspace.seen(), benchmark_task(workspace.data, workspace.features()), workspace.data.split_name
        )
        for name, workspace in workspaces.items()
    }
    first = next(iter(workspaces.values()))
    results = sweep(settings, data_sets, points, first.seeds, first.device, engine, address)
    for (dataset, label), metrics in results.items():
        artifacts.write_json(workspaces[dataset].experiment(f"sweep/{label}.json"), metrics)
        say(f"{dataset}, {label}: {headline(metrics)}")
