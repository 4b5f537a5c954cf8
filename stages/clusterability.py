"""Experiment `clusterability`: do F and M make classes easier to find again by k-means? (Table 4)"""

from stages.common import DatasetName, artifact, experiment, result, say


def command(dataset: DatasetName) -> None:
    """Cluster x, F(x), M(x) and M(F(x)) of unseen and of seen test images, and compare with the classes."""
    import numpy as np

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.datasets import dataset as datasets
    from zslcore.evaluation.clusterability import measure, steps
    from zslcore.evaluation.protocol import summarise
    from zslcore.params import flat, load_params
    from zslcore.progress import progress
    from zslcore.settings import ClusterabilitySettings

    params = load_params()
    own = params.extra("clusterability", ClusterabilitySettings, dataset)
    settings = params.resolve(dataset, own.settings).with_chosen(result(dataset, "selected.json"))
    data = used(dataset)
    features = datasets.load_features(artifact(dataset, "features.h5"), np.arange(len(data.labels)))
    with progress(f"{dataset}: clusterability", len(params.seeds) * steps(settings)) as advance:
        runs = {seed: measure(data, features, settings, own, seed, params.device, advance) for seed in params.seeds}
    about = {"dataset": dataset, "split": data.split_name, "preset": params.preset, "seeds": len(params.seeds)}
    found = summarise(runs)
    about |= {"common": flat(own.settings), "order": list(found), "measures": list(next(iter(found.values())))}
    artifacts.write_json(experiment(dataset, "clusterability.json"), {"about": about, "spaces": found})
    nmi = {name: values["NMI arithmetic"]["mean"] for name, values in found.items()}
    say(f"{dataset}: NMI " + ", ".join(f"{name} {value:.3f}" for name, value in nmi.items()))
