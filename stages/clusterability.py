"""Experiment `clusterability`: do F and M make classes easier to find by k-means? (Table 4)"""

from zslcore.evaluation.protocol import summarise
from zslcore.evaluation.selected import fill
from zslcore.experiments.clusterability import measure, steps
from zslcore.io import artifacts
from zslcore.io.layers import flat
from zslcore.progress import progress

from .common import DatasetName, say
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Cluster x, F(x), M(x) and M(F(x)) of unseen and of seen test images, and compare with the classes."""
    workspace = Workspace(dataset)
    clustering = workspace.section("clusterability")
    settings = workspace.settings.override(clustering.settings, "clusterability.settings")
    settings = fill(settings, artifacts.read_json(workspace.result("selected.json")))
    features = workspace.features()
    with progress(f"{dataset}: clusterability", len(workspace.seeds) * steps(settings)) as advance:
        runs = {
            seed: measure(workspace.data, features, settings, clustering, seed, workspace.device, advance)
            for seed in workspace.seeds
        }
    spaces = summarise(runs)
    about = workspace.about(workspace.data) | {
        "common": flat(clustering.settings),
        "order": list(spaces),
        "measures": list(next(iter(spaces.values()))),
    }
    artifacts.write_json(workspace.experiment("clusterability.json"), {"about": about, "spaces": spaces})
    nmi = {name: values["NMI arithmetic"]["mean"] for name, values in spaces.items()}
    say(f"{dataset}: NMI " + ", ".join(f"{name} {value:.3f}" for name, value in nmi.items()))
