"""Stage `tsne`: the data of Fig. 3, real and synthetic features of unseen classes in the plane."""

from stages.common import DatasetName, artifact, result


def command(dataset: DatasetName) -> None:
    """Fit a model for each panel of Fig. 3 and write the points of its t-SNE."""
    import numpy as np

    from stages.inputs import used
    from zslcore.datasets import dataset as datasets
    from zslcore.evaluation.tables import write_csv
    from zslcore.evaluation.tsne import PANELS, coordinates
    from zslcore.params import load_params
    from zslcore.settings import TSNESettings

    params = load_params()
    own = params.extra("tsne", TSNESettings, dataset)
    chosen = result(dataset, "selected.json")
    panels = {name: params.resolve(dataset, over).with_chosen(chosen) for name, over in PANELS.items()}
    data = used(dataset)
    features = datasets.load_features(artifact(dataset, "features.h5"), np.arange(len(data.labels)))
    write_csv(result(dataset, "tsne.csv"), coordinates(data, features, panels, own, params.device))
