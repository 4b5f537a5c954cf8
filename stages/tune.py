"""Command `tune`: hyper-parameters searched on validation classes, outside the pipeline, whose input they are."""

import difflib
from math import isnan
from pathlib import Path
from typing import Annotated, Any

import typer

from zslcore.errors import ZSLError
from zslcore.evaluation.per_class import write_csv
from zslcore.experiments.tune import best_trial, best_values, compare, history, open_study, search
from zslcore.io.layers import flat
from zslcore.project.edit import with_values
from zslcore.project.params import Params, data_file
from zslcore.report.numbers import difference

from .common import DatasetName, say
from .workspace import Workspace


def command(
    dataset: DatasetName,
    trials: Annotated[int, typer.Option(min=0, help="Trials to add; 0 prints the best so far.")] = 20,
    study: Annotated[Path | None, typer.Option(help="Study file; default: .zsl/tune/<data set>.db.")] = None,
) -> None:
    """Search on validation classes, resuming the data set's study; print a better value as a diff, if there is one.

    The ranges stand in experiments/params.yaml (tune.space). The present settings are the first trial; the best one is
    offered where its lead over them, by seeds that no trial used, is beyond its noise. Nothing is changed: apply the
    diff and commit it.
    """
    workspace = Workspace(dataset)
    tune = workspace.section("tune")
    fixed = sorted(tune.space.keys() & flat(Params().top("override")).keys())
    if fixed:
        raise ZSLError(f"params.yaml: override: {', '.join(fixed)}: wins over what is searched; take it out")
    if workspace.settings.finetune.level == "backbone":
        raise ZSLError(
            f"{dataset}: its backbone is fine-tuned for the validation splits of select.seed alone, and `tune` needs "
            "others; set finetune.level to features"
        )
    file = study or Path(".zsl/tune") / f"{dataset}.db"
    opened, seen = open_study(file, workspace.settings, dataset, tune), workspace.seen()
    search(opened, workspace.settings, seen, tune, trials, workspace.device)
    table = workspace.experiment("tune.csv")
    write_csv(table, history(opened))
    best = best_trial(opened)
    say(f"{dataset}: best of {len(opened.trials)} trials on validation classes: {_figures(best)}")
    say(f"its history: dvc plots show {table} --template trials -x trial -y score")
    found = compare(opened, workspace.settings, seen, tune, workspace.device)
    if found is None:
        say(f"{dataset}: the present settings have not been tried; add a trial (--trials 1): nothing is offered")
        return
    if found.best == found.present:
        say(f"{dataset}: no trial is better than the present settings: nothing is offered")
        return
    lead = "not known, as a fit failed" if isnan(found.lead.mean) else f"{difference(found.lead)} (95 %)"
    say(
        f"{dataset}: the present settings: {_figures(opened.trials[found.present])}; by {found.lead.count} other seeds "
        f"the lead in (T1 + H) / 2 is {lead}"
    )
    if not found.better:
        say(f"{dataset}: within its noise: nothing is offered")
        return
    path = data_file(dataset)
    text = path.read_text(encoding="utf-8")
    changed = with_values(text, workspace.resolved.preset, best_values(opened))
    print(unified_diff(text, changed, str(path)), end="")


def _figures(trial: Any) -> str:
    return f"T1 {trial.user_attrs['T1']:.1f}, H {trial.user_attrs['H']:.1f} (trial {trial.number})"


def unified_diff(before: str, after: str, path: str) -> str:
    """The lines that change, as `git apply -p0` takes them.

    Not difflib.unified_diff: beyond 200 lines it takes those that repeat for junk, and shows unchanged ones as changed.
    """
    old, new = before.splitlines(True), after.splitlines(True)
    lines = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3):
        (_, start, _, new_start, _), (_, _, end, _, new_end) = group[0], group[-1]
        lines.append(f"@@ -{_range(start, end)} +{_range(new_start, new_end)} @@\n")
        for kind, i, j, k, m in group:
            if kind == "equal":
                lines += [f" {line}" for line in old[i:j]]
            else:
                lines += [f"-{line}" for line in old[i:j]] + [f"+{line}" for line in new[k:m]]
    whole = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return f"--- {path}\n+++ {path}\n{''.join(whole)}" if lines else ""


def _range(start: int, end: int) -> str:
    """Of a hunk: the first line, counted from 1 (the one before, for no lines), and how many lines."""
    return f"{start + (end > start)},{end - start}"
