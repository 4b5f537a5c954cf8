"""Stage `select`: what the paper leaves open, chosen on validation classes; no test row is opened."""

import pandas as pd

from zslcore.datasets.dataset import choosable, sources_of
from zslcore.evaluation.per_class import write_csv
from zslcore.evaluation.selected import at_an_end, chosen_and_given, chosen_names, given
from zslcore.evaluation.signatures import select_all
from zslcore.io import artifacts
from zslcore.signatures.compose import Composition, fixed, provenance

from .common import DatasetName, say
from .lines import named
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Choose training length, calibration, numbers of synthetic features and classifier length."""
    workspace = Workspace(dataset)
    seen, settings = workspace.seen_sources(), workspace.settings
    if chosen_names(settings) or choosable(seen):
        selected, table = select_all(seen, settings, workspace.device)
    else:
        composition = fixed(settings.signatures) or Composition()
        selected = {**given(settings), "signatures": provenance(sources_of(seen), composition)}
        table = [{"train_epochs": settings.train.epochs, "H": float("nan")}]
    selected["tasks"] = settings.select.model_dump(include={"splits", "seed"})  # `evaluate` chooses ESZSL's on them
    write_csv(workspace.result("selection.csv"), pd.DataFrame(table))
    artifacts.write_json(workspace.result("selected.json"), selected)
    chosen, set_by_user = chosen_and_given(settings, selected)
    say(
        f"{dataset}: chosen on validation classes: {named(chosen) or 'nothing'}; given: "
        f"{named(set_by_user) or 'nothing'}"
    )
    if "signatures" in selected:
        say(f"{dataset}: signatures: {selected['signatures']['label']}")
    for sentence in at_an_end(settings, selected):
        say(f"{dataset}: {sentence}")
