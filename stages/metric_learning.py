"""Experiment `metric-learning`: metric learning with each mining strategy beside ESZSL (Bucher et al., Table 1)."""

from typing import TYPE_CHECKING, Any

from stages.common import DatasetName, experiment, say

if TYPE_CHECKING:
    from zslcore.evaluation.mining import Study


def open_study(dataset: str) -> tuple["Study", dict[str, Any]]:
    """The study of a data set, and what stands at the head of its results."""
    from stages.inputs import everything
    from zslcore.evaluation.mining import MiningStudy, Study
    from zslcore.evaluation.protocol import benchmark_task
    from zslcore.params import load_params

    params = load_params()
    data, seen, features = everything(dataset)
    settings: MiningStudy = params.extra("mining", MiningStudy, dataset)
    study = Study(settings, benchmark_task(data, features), seen, params.device)
    about = {
        "dataset": dataset,
        "split": data.split_name,
        "runs": study.settings.runs,
        "attributes": "of each image" if len(study.strategies) == 3 else "of each class",
    }
    return study, about


def command(dataset: DatasetName) -> None:
    """Choose λ, m and μ on held-out training classes, fit once a seed, and score the unseen classes."""
    from zslcore import artifacts
    from zslcore.progress import progress
    from zslcore.report.cells import spread

    study, about = open_study(dataset)
    with progress(f"{dataset}: metric-learning", study.fits[0]) as study.advance:
        rows = study.table1()
    found = {"about": about, "rows": rows, "chosen": study.chosen}
    artifacts.write_json(experiment(dataset, "metric-learning.json"), found)
    for name, row in rows.items():
        say(f"{dataset}: {name}: T1 {spread(row['T1'])}")
