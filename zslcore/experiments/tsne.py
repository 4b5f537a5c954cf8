"""Fig. 3: real and synthetic features of unseen classes in the plane, before projection, after, and with noise."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset
from zslcore.experiments.settings import TSNESettings
from zslcore.methods.base import TrainData
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.settings import Settings
from zslcore.synthesis.generate import generate
from zslcore.training.seeding import stream

PANELS: dict[str, dict[str, dict[str, Any]]] = {
    "before projection": {
        "train": {"projection": 0, "output": "linear", "noise": {"applies_to": "none"}},
        "generate": {"noise": 0.0},
    },
    "after projection": {"train": {"noise": {"applies_to": "none"}}, "generate": {"noise": 0.0}},
    "with noise": {},
}
"""Panel -> what it changes in the run's settings; the last is the run itself, with a single member."""


def coordinates(
    data: Dataset,
    features: NDArray[np.float32],
    panels: dict[str, Settings],
    figure: TSNESettings,
    device: str,
) -> pd.DataFrame:
    """A row a point: panel, class, kind (real, synthetic), x, y. One model a panel, one embedding for both kinds.

    features: (n, d) float32 of all images. panels: the settings of each panel's model. figure: which classes, how many
    points, and t-SNE's. Raises ZSLError where a model cannot be fitted.
    """
    random = np.random.default_rng(figure.seed)
    classes = np.sort(random.permutation(np.unique(data.labels[data.test_unseen]))[: figure.classes])
    rows = np.concatenate(
        [_some(data.test_unseen[data.labels[data.test_unseen] == k], figure, random) for k in classes]
    )
    embed = partial(_panel, data, features, rows, classes, figure, device)
    return pd.concat(in_order(f"{data.name}: tsne", embed, list(panels.items()), device))


def _panel(
    data: Dataset,
    features: NDArray[np.float32],
    rows: NDArray[np.int64],
    classes: NDArray[np.int64],
    figure: TSNESettings,
    device: str,
    panel: str,
    settings: Settings,
) -> pd.DataFrame:
    """The points of one panel. rows: of the real images. classes: those of the synthetic ones."""
    train = TrainData(features[data.trainval], data.train_labels, data.signatures[data.seen])
    one = settings.train.model_copy(update={"members": 1})  # the picture of a single feature space
    single = settings.model_copy(update={"train": one})
    method = Clusterable(ClusterableSettings.of(single, device)).fit(train, figure.seed)
    real = method.model.project(method.finetuned(features[rows]))
    synthetic, made_for = generate(
        method.model, data.signatures[classes], figure.per_class, figure.seed, "tsne", settings.generate.noise
    )
    points = np.concatenate([real, synthetic])
    perplexity = min(figure.perplexity, (len(points) - 1) / 3)
    random_state = stream(figure.seed, f"tsne/{panel}") % 2**32
    flat = TSNE(perplexity=perplexity, init="pca", random_state=random_state).fit_transform(points)
    shown = np.concatenate([data.labels[rows], classes[made_for]])
    return pd.DataFrame(
        {
            "panel": panel,
            "class": [data.classes[k] for k in shown],
            "kind": np.repeat(["real", "synthetic"], [len(real), len(synthetic)]),
            "x": flat[:, 0],
            "y": flat[:, 1],
        }
    )


def _some(rows: NDArray[np.int64], figure: TSNESettings, random: np.random.Generator) -> NDArray[np.int64]:
    """At most `figure.per_class` of the rows (n,), ascending."""
    return np.sort(random.permutation(rows)[: figure.per_class])
