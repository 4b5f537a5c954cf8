"""Command `sweep`: many runs of the main method at once, here or on a Ray cluster; results are DVC metrics."""

from typing import Annotated, Literal

import typer

from stages.common import artifact, experiment, say


def command(
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.name=value,value,…; several make a grid, e.g. train.noise.strength=0,0.2."),
    ] = None,
    datasets: Annotated[str | None, typer.Option(help="Names of data sets, by commas [default: all].")] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="One run after another, or on a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster [default: RAY_ADDRESS, else one started here].")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processors a run computes with.")] = 1,
) -> None:
    """Run the main method for every combination of settings, data set and seed.

    Each combination chooses on validation classes what `select` chooses. A result each lands under
    experiments/results/<data set>/sweep, for `dvc metrics show`.
    """
    import numpy as np

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.datasets import dataset as data_sets
    from zslcore.evaluation.protocol import benchmark_task
    from zslcore.evaluation.sweep import Material, parse_grid, sweep
    from zslcore.params import load_params

    params = load_params()
    points = parse_grid(assignments or [])
    wanted = params.datasets if datasets is None else [name.strip() for name in datasets.split(",")]
    materials = {}
    for dataset in wanted:
        params.source(dataset)
        inputs = artifact(dataset, "dataset.h5"), artifact(dataset, "features.h5")
        data = used(dataset)
        features = data_sets.load_features(inputs[1], np.arange(len(data.labels)))
        materials[dataset] = Material(data_sets.load_seen(*inputs), benchmark_task(data, features), data.split_name)
    for (dataset, label), found in sweep(params, materials, points, params.seeds, engine, address, threads).items():
        artifacts.write_json(experiment(dataset, f"sweep/{label}.json"), found)
        figures = [("T1", found["zsl"]["T1"]), ("H", found["gzsl"]["H"])]
        say(f"{dataset}, {label}: " + ", ".join(f"{n} {v['mean']:.1f} ± {v['std']:.1f}" for n, v in figures))
