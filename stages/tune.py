"""Command `tune`: hyper-parameters searched on validation classes, outside the pipeline, whose input they are."""

from pathlib import Path
from typing import Annotated

import typer

from stages.common import DatasetName, artifact, experiment, say


def command(
    dataset: DatasetName,
    trials: Annotated[int, typer.Option(min=0, help="Trials to add; 0 prints what was found so far.")] = 20,
    study: Annotated[Path | None, typer.Option(help="Study file; default: .zsl/tune/<data set>.db.")] = None,
) -> None:
    """Search on validation classes, resuming the data set's study, and print the best values as a diff of params.yaml.

    The ranges stand in params.yaml (tune.space). Nothing is changed: apply the diff and commit it.
    """
    from zslcore.datasets.dataset import load_seen
    from zslcore.evaluation.study import TuneSettings, history, open_study, params_diff, search
    from zslcore.evaluation.tables import write_csv
    from zslcore.params import load_params

    params = load_params()
    own = params.extra("tune", TuneSettings, dataset)
    file = study or Path(".zsl/tune") / f"{dataset}.db"
    seen = load_seen(artifact(dataset, "dataset.h5"), artifact(dataset, "features.h5"))
    found = open_study(file, params, dataset, own)
    search(found, params, seen, own, trials)
    table = experiment(dataset, "tune.csv")
    diff = params_diff(found, params, params.file.read_text(encoding="utf-8"))
    write_csv(table, history(found))
    best = found.best_trial
    say(
        f"{dataset}: best of {len(found.trials)} trials on validation classes: T1 {best.user_attrs['T1']:.1f}, "
        f"H {best.user_attrs['H']:.1f} (trial {best.number})"
    )
    say(f"its history: dvc plots show {table} --template trials -x trial -y score")
    print(diff or "params.yaml has these values already")
