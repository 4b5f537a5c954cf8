"""Experiment `fewshot`: few-shot recognition of unseen classes, with F trained on seen ones (Table 5)."""

from zslcore.experiments.fewshot.episodes import Base, measure
from zslcore.experiments.fewshot.learners import BASELINE, ROWS
from zslcore.io import artifacts
from zslcore.training.device import resolve_device

from .common import DatasetName, say
from .lines import half_width
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Fit each learner on base (seen) classes and score it on seeded episodes of novel (unseen) classes."""
    workspace = Workspace(dataset)
    settings, data = workspace.section("fewshot"), workspace.data
    base_features, novel_features = (workspace.features(rows) for rows in (data.trainval, data.test_unseen))
    device = resolve_device(workspace.device)
    base = Base(base_features, data.train_labels, settings, workspace.settings.finetune, settings.seed, device)
    rows = measure(ROWS, BASELINE, base, novel_features, data.labels[data.test_unseen], f"{dataset}: fewshot")
    about = {
        "dataset": dataset,
        "split": data.split_name,
        "way": settings.way,
        "query": settings.query,
        "baseline": BASELINE,
        "order": list(rows),
        "columns": [f"{shot}-shot" for shot in settings.shots],
    }
    artifacts.write_json(workspace.experiment("fewshot.json"), {"about": about, "rows": rows})
    for name, cells in rows.items():
        accuracies = (f"{shot} {half_width(cell['mean'], cell['high'])}" for shot, cell in cells.items())
        say(f"{dataset}: {name}: " + ", ".join(accuracies))
