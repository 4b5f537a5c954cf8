"""Δ-encoder on fixed features (Schwartz et al., 2018): learn how two images of a class differ, and replay it."""

import torch
from torch import Tensor, nn

from zslcore.experiments.fewshot.classifiers import linear
from zslcore.experiments.fewshot.episodes import Learner
from zslcore.experiments.settings import Fewshot
from zslcore.training.loop import minimise


class DeltaEncoder(nn.Module):
    """E: (x, anchor) -> z, what x has beyond its class-mate; D: (z, anchor) -> x̂. One hidden layer each."""

    def __init__(self, dimensions: int, hidden: int, latent: int, dropout: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(2 * dimensions, hidden), nn.LeakyReLU(0.2), nn.Dropout(dropout), nn.Linear(hidden, latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent + dimensions, hidden),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
            nn.Linear(hidden, dimensions),
        )

    def encode(self, x: Tensor, anchor: Tensor) -> Tensor:
        """z of a pair: (n, d), (n, d) -> (n, latent)."""
        z: Tensor = self.encoder(torch.cat([x, anchor], dim=1))
        return z

    def decode(self, z: Tensor, anchor: Tensor) -> Tensor:
        """x̂: (n, latent), (n, d) -> (n, d)."""
        x: Tensor = self.decoder(torch.cat([z, anchor], dim=1))
        return x


def partners(labels: Tensor) -> Tensor:
    """For each image another one of its class at random (itself where it is alone): (n,) row numbers."""
    order = torch.randperm(len(labels)).to(labels.device)
    order = order[labels[order].argsort(stable=True)]
    sorted_labels = labels[order]
    starts = torch.ones_like(sorted_labels, dtype=torch.bool)
    starts[1:] = sorted_labels[1:] != sorted_labels[:-1]
    first = torch.where(starts, torch.arange(len(order), device=order.device), 0).cummax(0).values
    ends = torch.cat([starts[1:], starts.new_ones(1)])
    follower = torch.where(ends, first, torch.arange(len(order), device=order.device) + 1)
    partner = torch.empty_like(order)
    partner[order] = order[follower]
    return partner


def train_delta_encoder(features: Tensor, labels: Tensor, settings: Fewshot) -> Learner:
    """Minimise the L1 error of x̂ = D(E(x, anchor), anchor) over pairs of base classes; call inside `seeded`.

    In an episode, z of random base pairs are replayed on each support image, and a linear classifier learns from the
    synthetic features and the support together. features: (n, d), labels: (n,) of base classes.
    """
    delta = settings.delta
    model = DeltaEncoder(features.shape[1], delta.hidden, delta.latent, delta.dropout).to(features.device)
    mates: dict[int, Tensor] = {}

    def terms(rows: Tensor, epoch: int) -> dict[str, Tensor]:
        if epoch not in mates:
            mates.clear()
            mates[epoch] = partners(labels)
        x, anchor = features[rows], features[mates[epoch][rows]]
        return {"total": (model.decode(model.encode(x, anchor), anchor) - x).abs().mean()}

    minimise(
        terms,
        model.parameters(),
        count=len(features),
        epochs=delta.epochs,
        batch_size=delta.batch_size,
        lr=delta.lr,
        label="delta-encoder",
    )
    model.eval().requires_grad_(False)
    deltas = model.encode(features, features[partners(labels)])
    chosen = torch.randperm(len(deltas))[: delta.samples].to(features.device)

    def learner(support: Tensor, query: Tensor) -> Tensor:
        b, way, shot, d = support.shape
        picks = deltas[chosen[torch.arange(delta.samples, device=chosen.device) % len(chosen)]]
        anchors = support[:, :, torch.arange(delta.samples, device=support.device) % shot]
        z = picks.expand(b, way, -1, -1)
        synthetic = model.decode(z.reshape(-1, picks.shape[1]), anchors.reshape(-1, d)).reshape(b, way, -1, d)
        return linear(torch.cat([support, synthetic], dim=2), query, settings.ridge)

    return learner
