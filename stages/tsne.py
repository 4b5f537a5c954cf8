"""Stage `tsne`: the data of Fig. 3, real and synthetic features of unseen classes in the plane."""

from zslcore.evaluation.per_class import write_csv
from zslcore.evaluation.selected import fill
from zslcore.experiments.tsne import PANELS, coordinates
from zslcore.io.artifacts import read_json

from .common import DatasetName
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Fit a model for each panel of Fig. 3 and write the points of its t-SNE."""
    workspace = Workspace(dataset)
    selected = read_json(workspace.result("selected.json"))
    panels = {name: fill(workspace.settings.override(over), selected) for name, over in PANELS.items()}
    table = coordinates(workspace.data, workspace.features(), panels, workspace.section("tsne"), workspace.device)
    write_csv(workspace.experiment("tsne.csv"), table)
