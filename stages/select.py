"""Stage `select`: what the paper leaves open, chosen on validation classes; no test row is opened."""

import pandas as pd

from stages.common import DatasetName, say
from stages.lines import named
from stages.workspace import Workspace
from zslcore.evaluation.per_class import write_csv
from zslcore.evaluation.select import select
from zslcore.evaluation.selected import chosen_and_given
from zslcore.io import artifacts


def command(dataset: DatasetName) -> None:
    """Choose training length, calibration, numbers of synthetic features and classifier length."""
    workspace = Workspace(dataset)
    selected, table = select(workspace.seen(), workspace.settings, workspace.device)
    write_csv(workspace.result("selection.csv"), pd.DataFrame(table))
    artifacts.write_json(workspace.result("selected.json"), selected)
    chosen, given = chosen_and_given(workspace.settings, selected)
    say(f"{dataset}: chosen on validation classes: {named(chosen) or 'nothing'}; given: {named(given) or 'nothing'}")
