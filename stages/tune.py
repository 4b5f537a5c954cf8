"""Command `tune`: hyper-parameters searched on validation classes, outside the pipeline, whose input they are."""

import difflib
from pathlib import Path
from typing import Annotated

import typer

from stages.common import DatasetName, say
from stages.workspace import Workspace
from zslcore.errors import ZSLError
from zslcore.evaluation.per_class import write_csv
from zslcore.experiments.tune import best_values, history, open_study, search
from zslcore.layers import flat
from zslcore.project.edit import with_values
from zslcore.project.params import Params, data_file


def command(
    dataset: DatasetName,
    trials: Annotated[int, typer.Option(min=0, help="Trials to add; 0 prints the best so far.")] = 20,
    study: Annotated[Path | None, typer.Option(help="Study file; default: .zsl/tune/<data set>.db.")] = None,
) -> None:
    """Search on validation classes, resuming the data set's study, and print the best values as a diff.

    The ranges stand in experiments/params.yaml (tune.space). Nothing is changed: apply the diff and commit it.
    """
    workspace = Workspace(dataset)
    tune = workspace.section("tune")
    fixed = sorted(tune.space.keys() & flat(Params().top("override")).keys())
    if fixed:
        raise ZSLError(f"params.yaml: override: {', '.join(fixed)}: wins over what is searched; take it out")
    file = study or Path(".zsl/tune") / f"{dataset}.db"
    opened = open_study(file, workspace.settings, dataset, tune)
    search(opened, workspace.settings, workspace.seen(), tune, trials, workspace.device)
    path = data_file(dataset)
    text = path.read_text(encoding="utf-8")
    changed = with_values(text, workspace.resolved.preset, best_values(opened))
    table = workspace.experiment("tune.csv")
    write_csv(table, history(opened))
    best = opened.best_trial
    say(
        f"{dataset}: best of {len(opened.trials)} trials on validation classes: T1 {best.user_attrs['T1']:.1f}, "
        f"H {best.user_attrs['H']:.1f} (trial {best.number})"
    )
    say(f"its history: dvc plots show {table} --template trials -x trial -y score")
    diff = difflib.unified_diff(text.splitlines(True), changed.splitlines(True), str(path), str(path))
    print("".join(diff) or f"{path} has these values already")
