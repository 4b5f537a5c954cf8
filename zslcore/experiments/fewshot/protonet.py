"""Prototypical Networks on fixed features (Snell, Swersky and Zemel, 2017): an embedding trained by episodes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from zslcore.experiments.fewshot.classifiers import nearest_mean
from zslcore.experiments.fewshot.episodes import Episodes, Learner
from zslcore.nn.mappings import FineTuning
from zslcore.training.optimisers import Adam


def train_protonet(features: Tensor, episodes: Episodes, lr: float, scale: float) -> Learner:
    """Minimise cross-entropy over −scale ‖f(query) − mean f(support)‖² / d, one step an episode.

    f: linear, starting as the identity. features: (n, d) of base classes; episodes: drawn from them. Call in `seeded`.
    """
    d = features.shape[1]
    embedding: nn.Module = FineTuning(d).to(features.device)
    optimiser = Adam(embedding.parameters(), lr)
    _, way, queries = episodes.query.shape
    labels = torch.arange(way, device=features.device).repeat_interleave(queries)
    for support, query in zip(torch.from_numpy(episodes.support), torch.from_numpy(episodes.query), strict=True):
        means = embedding(features[support])[None]
        scores = nearest_mean(means, embedding(features[query.reshape(-1)])[None])[0]
        functional.cross_entropy(scale / d * scores, labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    embedding.requires_grad_(False)
    return lambda support, query: nearest_mean(embedding(support), embedding(query))
