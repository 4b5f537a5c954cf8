"""Experiment `mining`: strategy × negatives a positive, and accuracy by epoch (Bucher et al., Table 2 and Fig. 1)."""

import pandas as pd

from zslcore.evaluation.per_class import write_csv
from zslcore.experiments.mining import convergence
from zslcore.io import artifacts
from zslcore.progress import progress

from .common import DatasetName, say
from .lines import spread
from .metric_learning import open_study
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Fit every strategy with every n, once a seed, at the settings that `metric-learning` chooses."""
    workspace = Workspace(dataset)
    study, about = open_study(workspace)
    with progress(f"{dataset}: mining", study.fits.table2) as study.advance:
        rows = study.table2()
    write_csv(workspace.experiment("mining/convergence.csv"), pd.DataFrame(convergence(rows)))
    artifacts.write_json(workspace.experiment("mining/table2.json"), {"about": about, "rows": rows})
    for strategy, by_n in rows.items():
        cells = (
            f"n = {n}: {spread(row['T1'])} (95 % after {row['epochs to 95 %']['mean']:.1f} epochs)"
            for n, row in by_n.items()
        )
        say(f"{dataset}: {strategy}: " + "; ".join(cells))
