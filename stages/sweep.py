"""Command `sweep`: many runs of the main method at once, here or on a Ray cluster; results are DVC metrics."""

from typing import Annotated, Literal

import typer

from stages.common import experiment, listed, say
from zslcore.cluster import ADDRESS


def command(
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.name=value,value,…; several make a grid, e.g. train.noise.strength=0,0.2."),
    ] = None,
    datasets: Annotated[str | None, typer.Option(help="Names of data sets, by commas; default: all.")] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="One run after another, or on a Ray cluster.")
    ] = "local",
    address: Annotated[str | None, typer.Option(help=f"With --engine ray: {ADDRESS}")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processors a run computes with.")] = 1,
) -> None:
    """Run the main method for every combination of settings, data set and seed.

    Each combination chooses on validation classes what `select` chooses. A result each lands under
    experiments/results/<data set>/sweep, for `dvc metrics show`.
    """
    from stages.inputs import everything
    from zslcore import artifacts
    from zslcore.errors import ZSLError
    from zslcore.evaluation.protocol import benchmark_task
    from zslcore.evaluation.sweep import Material, parse_grid, sweep
    from zslcore.params import load_params
    from zslcore.report.cells import spread

    if engine == "local" and address is not None:
        raise ZSLError("zsl sweep --address: only for --engine ray; add it")
    params = load_params()
    points = parse_grid(assignments or [])
    materials = {}
    for dataset in params.datasets if datasets is None else listed(datasets):
        params.source(dataset)
        data, seen, features = everything(dataset)
        materials[dataset] = Material(seen, benchmark_task(data, features), data.split_name)
    for (dataset, label), found in sweep(params, materials, points, params.seeds, engine, address, threads).items():
        artifacts.write_json(experiment(dataset, f"sweep/{label}.json"), found)
        figures = [("T1", found["zsl"]["T1"]), ("H", found["gzsl"]["H"])]
        say(f"{dataset}, {label}: " + ", ".join(f"{name} {spread(value)}" for name, value in figures))
