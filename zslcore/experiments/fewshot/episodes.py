"""Few-shot episodes: drawn once by seed, so that every learner answers the same questions; and the table over them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.errors import ZSLError
from zslcore.evaluation.intervals import mean_interval
from zslcore.experiments.settings import Fewshot
from zslcore.progress import progress
from zslcore.settings import Finetune
from zslcore.training.device import tensor

FeatureMap = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Unscaled features (n, d) -> what the learner works on (n, ·)."""
Learner = Callable[[Tensor, Tensor], Tensor]
"""(support (b, way, shot, d), queries (b, q, d)) -> scores (b, q, way): b episodes at once."""


@dataclass(frozen=True)
class Base:
    """What every learner is fitted on: images of base classes, and the settings.

    features: (n, d) float32 unscaled; labels: (n,) in 0..K-1.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    settings: Fewshot
    finetune: Finetune
    seed: int
    device: torch.device


Fit = Callable[[Base], tuple[FeatureMap, Learner]]
"""How a row of the table is fitted on base classes."""


@dataclass(frozen=True)
class Episodes:
    """Row numbers of images: support (episodes, way, shot), query (episodes, way, queries)."""

    support: NDArray[np.int64]
    query: NDArray[np.int64]


def draw_episodes(
    labels: NDArray[np.int64],
    way: int,
    shot: int,
    query: int,
    count: int,
    seed: int,
    where: str = "novel",
    section: str = "fewshot",
) -> Episodes:
    """`count` episodes of `way` classes, each with `shot` support and `query` other images.

    labels: (n,) of the images to draw from. where: what error messages call them; section: of the parameters to change.
    Raises ZSLError for fewer classes than `way`, or fewer images than `shot + query` in too many of them.
    """
    random = np.random.default_rng((seed, way, shot))
    members = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    enough = [rows for rows in members if len(rows) >= shot + query]
    if len(members) < way:
        raise ZSLError(f"{way}-way episodes need {way} {where} classes, there are {len(members)}; lower {section}.way")
    if len(enough) < way:
        raise ZSLError(
            f"{way}-way {shot}-shot episodes with {query} queries need {way} {where} classes of {shot + query} images, "
            f"there are {len(enough)} such (the largest class has {max(map(len, members))}); "
            f"lower {section}.query, or take fewer shots"
        )
    support = np.empty((count, way, shot), dtype=np.int64)
    queries = np.empty((count, way, query), dtype=np.int64)
    for episode in range(count):
        for position, k in enumerate(random.permutation(len(enough))[:way]):
            rows = random.permutation(enough[k])[: shot + query]
            support[episode, position], queries[episode, position] = rows[:shot], rows[shot:]
    return Episodes(support, queries)


@torch.inference_mode()
def accuracies(learner: Learner, features: Tensor, episodes: Episodes, block: int = 50) -> NDArray[np.float64]:
    """Accuracy (episodes,) in [0, 1] of a learner. features: (n, d), the rows that the episodes point into."""
    blocks = []
    for start in range(0, len(episodes.support), block):
        support = features[torch.from_numpy(episodes.support[start : start + block])]
        query = features[torch.from_numpy(episodes.query[start : start + block])]
        b, way, queries, d = query.shape
        predicted = learner(support, query.reshape(b, way * queries, d)).argmax(2).reshape(b, way, queries)
        right = predicted == torch.arange(way, device=predicted.device)[:, None]
        blocks.append(right.double().mean((1, 2)).cpu().numpy())
    return np.concatenate(blocks)


def measure(
    fits: Mapping[str, Fit],
    baseline: str,
    base: Base,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    description: str = "fewshot",
) -> dict[str, dict[str, Any]]:
    """Fit each learner on base classes and score it on the same episodes of novel classes, {row: {"5-shot": …}}.

    features: (n, d) float32 unscaled; labels: (n,), of images of novel classes. description: of the progress.
    A cell holds the mean accuracy in percent, its 95 % interval and count; `lead`: the same of the difference from the
    row `baseline`, episode by episode (None for itself).
    Raises ZSLError for too few novel or base classes or images to draw an episode from.
    """
    settings = base.settings
    episodes = {
        shot: draw_episodes(labels, settings.way, shot, settings.query, settings.episodes, settings.seed)
        for shot in settings.shots
    }
    accuracy: dict[str, dict[int, NDArray[np.float64]]] = {}
    with progress(description, len(fits) * (1 + len(episodes))) as advance:
        for name, fit in fits.items():
            advance(0, name)
            feature_map, learner = fit(base)
            advance(1, name)
            novel = tensor(feature_map(features), base.device)
            accuracy[name] = {}
            for shot, drawn in episodes.items():
                accuracy[name][shot] = 100 * accuracies(learner, novel, drawn)
                advance(1, name)
    return {
        name: {
            f"{shot}-shot": {
                **asdict(mean_interval(values)),
                "lead": asdict(mean_interval(values - accuracy[baseline][shot])) if name != baseline else None,
            }
            for shot, values in by_shot.items()
        }
        for name, by_shot in accuracy.items()
    }
