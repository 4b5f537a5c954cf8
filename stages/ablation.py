"""Experiment `ablation`: one variant of the main method, in memory, metrics only."""

from pathlib import Path
from typing import Annotated

import typer

from zslcore.errors import ZSLError
from zslcore.experiments.ablation import get_variant, load_variants, run_variant
from zslcore.io import artifacts

from .common import DatasetName, say
from .lines import headline
from .workspace import Workspace

VARIANTS = "experiments/variants.yaml"


def command(
    dataset: DatasetName, variant: Annotated[str, typer.Argument(help=f"Name of a row in {VARIANTS}.")]
) -> None:
    """Choose a variant's open settings on validation classes, fit it once a seed, and score it."""
    variants = load_variants(Path(VARIANTS))
    get_variant(variants, variant)
    workspace = Workspace(dataset)
    if workspace.settings.finetune.level == "backbone":
        raise ZSLError(
            f"{dataset}: the rows of the ablation are about F on features, and its backbone is fine-tuned; set "
            "finetune.level to features"
        )
    metrics = run_variant(
        workspace.settings,
        workspace.section("ablation"),
        variant,
        variants,
        workspace.data,
        workspace.seen(),
        workspace.features(),
        (workspace.result("selected.json"), workspace.result("metrics.json")),
        preset=workspace.resolved.preset,
        seeds=workspace.seeds,
        device=workspace.device,
    )
    artifacts.write_json(workspace.experiment(f"ablation/{variant}.json"), metrics)
    for warning in metrics["warnings"]:
        say(f"{dataset}, {variant}: {warning}")
    say(f"{dataset}, {variant}: {headline(metrics)}")
