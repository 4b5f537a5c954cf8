"""Experiment `ablation`: one variant of the main method, in memory, metrics only."""

from typing import Annotated

import typer

from stages.common import DatasetName, experiment, result, say

VARIANTS = "experiments/variants.yaml"


def command(
    dataset: DatasetName, variant: Annotated[str, typer.Argument(help=f"Name of a row in {VARIANTS}.")]
) -> None:
    """Choose a variant's open settings on validation classes, fit it once a seed, and score it."""
    from pathlib import Path

    from stages.inputs import everything
    from zslcore import artifacts
    from zslcore.evaluation.ablation import get_variant, load_variants, run_variant
    from zslcore.params import load_params
    from zslcore.report.cells import spread

    variants = load_variants(Path(VARIANTS))
    get_variant(variants, variant)
    params = load_params()
    main = result(dataset, "selected.json"), result(dataset, "metrics.json")
    found = run_variant(params, dataset, variant, variants, *everything(dataset), main)
    artifacts.write_json(experiment(dataset, f"ablation/{variant}.json"), found)
    for warning in found["warnings"]:
        say(f"{dataset}, {variant}: {warning}")
    figures = [("T1", found["zsl"]["T1"]), ("H", found["gzsl"]["H"])]
    say(f"{dataset}, {variant}: " + ", ".join(f"{name} {spread(value)}" for name, value in figures))
