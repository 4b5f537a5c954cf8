import numpy as np
import pytest
import torch

from zslcore.evaluation.fewshot import accuracies, draw_episodes
from zslcore.fewshot.classifiers import linear, nearest_mean
from zslcore.fewshot.delta_encoder import DeltaEncoder, partners
from zslcore.fewshot.learners import ROWS, Base
from zslcore.settings import DeltaEncoderSettings, FewshotFinetune, FewshotSettings, Finetune, ProtoNet

QUICK = FewshotSettings(
    query=4,
    finetune=FewshotFinetune(epochs=2),
    protonet=ProtoNet(way=4, query=3, episodes=5),
    delta=DeltaEncoderSettings(hidden=16, latent=4, samples=5, epochs=2),
)


def problem(classes: int = 12, per_class: int = 10, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), per_class)
    return (3 * random.normal(size=(classes, d))[labels] + random.normal(size=(len(labels), d))).astype("f4"), labels


def test_ridge_against_the_primal_solution() -> None:
    torch.manual_seed(0)
    support, query = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.randn(2, 5, 6, dtype=torch.float64)
    for b in range(2):
        rows = support[b].reshape(12, 6).numpy()
        mean = rows.mean(0)
        rows = rows - mean
        targets = np.repeat(np.eye(3), 4, axis=0) - 1 / 3
        strength = 0.7 * np.mean((rows**2).sum(1))
        weights = np.linalg.solve(rows.T @ rows + strength * np.eye(6), rows.T @ targets)
        expected = (query[b].numpy() - mean) @ weights
        np.testing.assert_allclose(linear(support, query, 0.7)[b], expected, atol=1e-6)


def test_ridge_does_not_mind_the_scale_of_the_features() -> None:
    torch.manual_seed(0)
    support, query = torch.randn(1, 3, 2, 6), torch.randn(1, 5, 6)
    np.testing.assert_allclose(linear(support, query), linear(100 * support, 100 * query), rtol=1e-3, atol=1e-5)


def test_nearest_mean_by_hand() -> None:
    support = torch.tensor([[[[0.0, 0.0], [2.0, 0.0]], [[5.0, 0.0], [5.0, 2.0]]]])
    np.testing.assert_allclose(nearest_mean(support, torch.tensor([[[1.0, 1.0]]])), [[[-1.0, -16.0]]], rtol=1e-5)


def test_partners_are_class_mates_and_not_oneself() -> None:
    labels = torch.tensor([3, 1, 3, 3, 1, 7])
    found = partners(labels)
    assert (labels[found] == labels).all()
    assert (found != torch.arange(6)).tolist() == [True] * 5 + [False]


def test_delta_encoder_replays_a_shift() -> None:
    # Class-mates differ by one shared shift: D(E(x, anchor), new anchor) should move a new anchor likewise.
    torch.manual_seed(0)
    model = DeltaEncoder(2, 64, 1, 0.0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(400):
        anchor, size = torch.randn(128, 2), torch.rand(128, 1)
        x = anchor + size * torch.tensor([1.0, 0.0])
        loss = (model.decode(model.encode(x, anchor), anchor) - x).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    z = model.encode(torch.tensor([[0.9, 0.0]]), torch.tensor([[0.0, 0.0]]))
    moved = model.decode(z, torch.tensor([[0.5, -0.5]]))
    np.testing.assert_allclose(moved.detach(), [[1.4, -0.5]], atol=0.25)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_beats_chance_and_repeats(name: str) -> None:
    features, labels = problem()
    base = Base(features, labels, QUICK, Finetune(epochs=1), 0, torch.device("cpu"))
    drawn = draw_episodes(labels, 3, 2, 4, 20, 0)
    found = []
    for _ in range(2):
        mapping, learner = ROWS[name](base)
        found.append(accuracies(learner, torch.from_numpy(mapping(features)), drawn))
    assert found[0].mean() > 0.6
    np.testing.assert_array_equal(*found)
