"""Experiment `metric-learning`: metric learning with each mining strategy, next to ESZSL (Bucher et al., Table 1)."""

from typing import Any

from zslcore.evaluation.protocol import benchmark_task
from zslcore.experiments.mining import Study
from zslcore.io import artifacts
from zslcore.progress import progress

from .common import DatasetName, say
from .lines import spread
from .workspace import Workspace


def open_study(workspace: Workspace) -> tuple[Study, dict[str, Any]]:
    """The study of a data set, and what stands at the head of its results."""
    task = benchmark_task(workspace.data, workspace.features())
    study = Study(workspace.section("mining"), task, workspace.seen(), workspace.device)
    about = {
        "dataset": workspace.dataset,
        "split": workspace.data.split_name,
        "runs": study.settings.runs,
        "attributes": "of each image" if len(study.strategies) == 3 else "of each class",
    }
    return study, about


def command(dataset: DatasetName) -> None:
    """Choose λ, m and μ on held-out training classes, fit once a seed, and score the unseen classes."""
    workspace = Workspace(dataset)
    study, about = open_study(workspace)
    with progress(f"{dataset}: metric-learning", study.fits.table1) as study.advance:
        rows = study.table1()
    table = {"about": about, "rows": rows, "chosen": study.chosen}
    artifacts.write_json(workspace.experiment("metric-learning.json"), table)
    for name, row in rows.items():
        say(f"{dataset}: {name}: T1 {spread(row['T1'])}")
