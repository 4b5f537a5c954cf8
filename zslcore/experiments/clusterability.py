"""How well the clusters of k-means agree with the classes: Table 4's "MI", in every variant that could be meant."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.metrics.cluster import contingency_matrix

from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.experiments.settings import Clusterability
from zslcore.methods.base import TrainData
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.clusterable.train import DEFAULT_EPOCHS
from zslcore.progress import Advance, no_progress
from zslcore.settings import Settings, number_or
from zslcore.training.seeding import stream

Labels = NDArray[np.int64]


def purity(labels: Labels, clusters: Labels) -> float:
    """Share of points whose class is the most frequent one of their cluster, in (0, 1]."""
    return float(contingency_matrix(labels, clusters).max(axis=0).sum() / len(labels))


MEASURES: dict[str, Callable[[Labels, Labels], float]] = {
    "NMI arithmetic": partial(metrics.normalized_mutual_info_score, average_method="arithmetic"),
    "NMI geometric": partial(metrics.normalized_mutual_info_score, average_method="geometric"),
    "NMI max": partial(metrics.normalized_mutual_info_score, average_method="max"),
    "AMI": metrics.adjusted_mutual_info_score,
    "MI nats": metrics.mutual_info_score,
    "purity": purity,
}
"""(labels, clusters) -> agreement. All but MI, which is in nats, lie in [0, 1] (AMI: about 0 by chance)."""


def clusterability(
    features: NDArray[np.float32], labels: Labels, settings: Clusterability, seed: int
) -> dict[str, float]:
    """Every measure of k-means on (n, d) features, with as many clusters as classes unless the settings give a number.

    labels: (n,). Raises ZSLError for fewer points than clusters.
    """
    clusters = number_or(settings.clusters, len(np.unique(labels)))
    check_points(len(features), clusters)
    k_means = KMeans(clusters, n_init=settings.n_init, random_state=stream(seed, "k-means") % 2**32).fit(features)
    assigned = k_means.labels_.astype(np.int64)
    return {name: float(measure(labels, assigned)) for name, measure in MEASURES.items()}


def check_points(points: int, clusters: int) -> None:
    """Raise ZSLError for fewer points than clusters."""
    if points < clusters:
        raise ZSLError(
            f"k-means: {points} points for {clusters} clusters; set clusterability.clusters to at most {points}, or "
            "use a data set with more images"
        )


def spaces(
    data: Dataset,
    features: NDArray[np.float32],
    settings: Settings,
    seed: int,
    device: str,
    advance: Advance = no_progress,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every feature space in the order of the table, as (name, features (n, ·) of all images).

    x: features scaled as F's input is; F(x), M(x), M(F(x)): of models fitted on trainval with the run's settings, M(x)
    without F; F′: F trained by plain cross-entropy (eq. 5) instead of Gaussian similarity (eq. 8).
    `advance` is called for each epoch.
    """
    train = TrainData(features[data.trainval], data.train_labels, data.signatures[data.seen])
    without, gaussian, cross_entropy = (
        settings.finetune.model_copy(update=update)
        for update in (
            {"enabled": False},
            {"enabled": True, "level": "features", "loss": "gaussian"},
            {"enabled": True, "level": "features", "loss": "cce"},
        )
    )
    for finetune, names in (
        (without, ("x", "M(x)")),
        (gaussian, ("F(x)", "M(F(x))")),
        (cross_entropy, ("F′(x)", "M(F′(x))")),
    ):
        variant = ClusterableSettings.of(settings.model_copy(update={"finetune": finetune}), device)
        advance(0, f"seed {seed}: {names[0]}")
        method = Clusterable(variant).fit(train, seed, partial(_epoch, advance, f"seed {seed}: {names[1]}"))
        tuned = method.finetuned(features)
        yield names[0], method.finetuned.scaler(features) if names[0] == "x" else tuned
        if settings.train.projection:
            yield names[1], method.model.project(tuned)


def measure(
    data: Dataset,
    features: NDArray[np.float32],
    settings: Settings,
    clustering: Clusterability,
    seed: int,
    device: str,
    advance: Advance = no_progress,
) -> dict[str, dict[str, float]]:
    """Every measure of every space and side, one seed: {"unseen M(x)": {"AMI": …}, "seen-test x": …}.

    features: (n, d) float32 of all images. settings: of the models; clustering: of k-means.
    `advance` is called for each epoch and each k-means, `steps(settings)` times in all. Raises ZSLError for fewer
    points than clusters, before anything is trained.
    """
    sides = {"unseen": data.test_unseen, "seen-test": data.test_seen}
    for rows in sides.values():
        check_points(len(rows), number_or(clustering.clusters, 0))
    measures = {}
    for name, space in spaces(data, features, settings, seed, device, advance):
        for side, rows in sides.items():
            note = f"seed {seed}: k-means of {side} {name}"
            advance(0, note)
            measures[f"{side} {name}"] = clusterability(space[rows], data.labels[rows], clustering, seed)
            advance(1, note)
    return measures


def steps(settings: Settings) -> int:
    """Epochs and k-means that `measure` takes."""
    return 3 * (number_or(settings.train.epochs, DEFAULT_EPOCHS)) + (12 if settings.train.projection else 6)


def _epoch(advance: Advance, note: str, done: int) -> None:
    advance(1, note)
