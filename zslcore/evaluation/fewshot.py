"""Few-shot episodes: drawn once by seed, so that every learner answers the same questions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.errors import ZSLError

Learner = Callable[[Tensor, Tensor], Tensor]
"""(support (b, way, shot, d), queries (b, q, d)) -> scores (b, q, way): b episodes at once."""


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
    found = []
    for start in range(0, len(episodes.support), block):
        support = features[torch.from_numpy(episodes.support[start : start + block])]
        query = features[torch.from_numpy(episodes.query[start : start + block])]
        b, way, queries, d = query.shape
        predicted = learner(support, query.reshape(b, way * queries, d)).argmax(2).reshape(b, way, queries)
        right = predicted == torch.arange(way, device=predicted.device)[:, None]
        found.append(right.double().mean((1, 2)).cpu().numpy())
    return np.concatenate(found)
