"""Experiment `ablation`: one variant of the main method, in memory, metrics only."""

from typing import Annotated

import typer

from stages.common import DatasetName, artifact, experiment, result, say

VARIANTS = "experiments/variants.yaml"


def command(
    dataset: DatasetName, variant: Annotated[str, typer.Argument(help=f"Name of a row in {VARIANTS}.")]
) -> None:
    """Choose a variant's open settings on validation classes, fit it once a seed, and score it."""
    from pathlib import Path

    import numpy as np

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.datasets import dataset as datasets
    from zslcore.evaluation.ablation import get_variant, load_variants, run_variant
    from zslcore.params import load_params

    variants = load_variants(Path(VARIANTS))
    get_variant(variants, variant)
    params = load_params()
    inputs = artifact(dataset, "dataset.h5"), artifact(dataset, "features.h5")
    data, seen = used(dataset), datasets.load_seen(*inputs)
    features = datasets.load_features(inputs[1], np.arange(len(data.labels)))
    main = result(dataset, "selected.json"), result(dataset, "metrics.json")
    found = run_variant(params, dataset, variant, variants, data, seen, features, main)
    artifacts.write_json(experiment(dataset, f"ablation/{variant}.json"), found)
    for warning in found["warnings"]:
        say(f"{dataset}, {variant}: {warning}")
    figures = [("T1", found["zsl"]["T1"]), ("H", found["gzsl"]["H"])]
    say(f"{dataset}, {variant}: " + ", ".join(f"{n} {v['mean']:.1f} ± {v['std']:.1f}" for n, v in figures))
