import numpy as np
import pytest
import torch

from zslcore.experiments.fewshot.classifiers import linear, nearest_mean
from zslcore.experiments.fewshot.delta_encoder import DeltaEncoder, partners, train_delta_encoder
from zslcore.experiments.fewshot.episodes import accuracies, draw_episodes
from zslcore.experiments.fewshot.learners import ROWS, Base
from zslcore.experiments.fewshot.protonet import train_protonet
from zslcore.experiments.settings import DeltaEncoder as DeltaSettings
from zslcore.experiments.settings import Fewshot, ProtoNet
from zslcore.methods.clusterable.finetune import finetune
from zslcore.settings import Finetune
from zslcore.training.optimisers import Adam

QUICK = Fewshot(
    query=4,
    ridge=0.3,
    finetune={"epochs": 2, "gamma": 10.0},
    protonet=ProtoNet(way=4, query=3, episodes=5),
    delta=DeltaSettings(hidden=16, latent=4, samples=5, epochs=2),
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
    optimiser = Adam(model.parameters(), 3e-3)
    for _ in range(400):
        anchor, size = torch.randn(128, 2), torch.rand(128, 1)
        x = anchor + size * torch.tensor([1.0, 0.0])
        loss = (model.decode(model.encode(x, anchor), anchor) - x).abs().mean()
        loss.backward()
        optimiser.step()
    z = model.encode(torch.tensor([[0.9, 0.0]]), torch.tensor([[0.0, 0.0]]))
    moved = model.decode(z, torch.tensor([[0.5, -0.5]]))
    np.testing.assert_allclose(moved.detach(), [[1.4, -0.5]], atol=0.25)


LINEAR, NEAREST = "linear classifier", "nearest prototype"


def sphere(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) * np.sqrt(rows.shape[1])


def mapped(name: str, base: Base, x: np.ndarray) -> np.ndarray:
    """What a row of the table works on: features as given, scaled by base statistics, or F(x); all of one length."""
    if name.startswith("plain"):
        return sphere(x)
    if name.startswith("F by"):
        loss = "cce" if "cross-entropy" in name else "gaussian"
        settings = base.finetune.model_copy(update={"loss": loss, **QUICK.finetune})
        return sphere(finetune(base.features, base.labels, settings, base.seed, base.device)(x))
    return sphere((x - base.features.mean(axis=0)) / base.features.std(axis=0))


def decided(name: str, support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Scores (q, way) of support (way, shot, d) and queries (q, d): ridge regression, or minus squared distances."""
    way, shot, d = support.shape
    if name.endswith(NEAREST):
        return -((query[:, None] - support.mean(axis=1)) ** 2).sum(axis=2)
    rows = support.reshape(way * shot, d)
    mean = rows.mean(axis=0)
    strength = QUICK.ridge * np.mean(((rows - mean) ** 2).sum(axis=1))
    targets = np.repeat(np.eye(way), shot, axis=0) - 1 / way
    weights = np.linalg.solve((rows - mean).T @ (rows - mean) + strength * np.eye(d), (rows - mean).T @ targets)
    return (query - mean) @ weights


def test_a_row_is_the_features_and_the_learner_that_its_name_says() -> None:
    features, labels = problem()
    base = Base(features[labels < 8], labels[labels < 8], QUICK, Finetune(lr=0.01, epochs=1), 0, torch.device("cpu"))
    novel = features[labels >= 8]
    spaces, support, query = {}, np.arange(40).reshape(4, 10)[:, :3], np.arange(40).reshape(4, 10)[:, 3:].ravel()
    for name, row in ROWS.items():
        mapping, learner = row(base)
        spaces[name] = mapped(name, base, novel)
        np.testing.assert_allclose(mapping(novel), spaces[name], atol=1e-4, err_msg=name)
        if name.endswith((LINEAR, NEAREST)):
            found = learner(torch.from_numpy(spaces[name][support])[None], torch.from_numpy(spaces[name][query])[None])
            expected = decided(name, spaces[name][support].astype(float), spaces[name][query].astype(float))
            np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-4, err_msg=name)
    first, second = (spaces[f"F by {loss}, linear classifier"] for loss in ("cross-entropy", "Gaussian similarity"))
    assert np.abs(first - second).max() > 1e-2, "the losses lead F elsewhere"


def test_protonet_moves_its_embedding_by_adam_on_the_loss_of_each_episode() -> None:
    """From the identity, by cross-entropy over −scale ‖f(query) − mean f(support)‖² / d, three episodes."""
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(12, 3)), np.repeat(np.arange(3), 4)
    drawn = draw_episodes(labels, 3, 2, 2, 3, 0)
    way = np.repeat(np.arange(3), 2)

    def scores(weights: np.ndarray, support: np.ndarray, query: np.ndarray) -> np.ndarray:
        s, q = support @ weights[:, :3].T + weights[:, 3], query @ weights[:, :3].T + weights[:, 3]
        return -((q[:, None] - s.mean(axis=1)) ** 2).sum(axis=2)

    def loss(weights: np.ndarray, episode: int) -> float:
        logits = 4.0 / 3 * scores(weights, x[drawn.support[episode]], x[drawn.query[episode].ravel()])
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(6), way]))

    weights = np.eye(3, 4)
    first, second = np.zeros((3, 4)), np.zeros((3, 4))
    for t in (1, 2, 3):
        slope = np.zeros((3, 4))
        for index in np.ndindex(3, 3):  # a bias shifts queries and means alike: it has no slope
            step = np.zeros((3, 4))
            step[index] = 1e-5
            slope[index] = (loss(weights + step, t - 1) - loss(weights - step, t - 1)) / 2e-5
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weights = weights - 0.1 * first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    learner = train_protonet(torch.from_numpy(x).float(), drawn, lr=0.1, scale=4.0)
    support, query = x[drawn.support[0]], x[drawn.query[0].ravel()]
    found = learner(torch.from_numpy(support)[None].float(), torch.from_numpy(query)[None].float())
    np.testing.assert_allclose(found[0], scores(weights, support, query), rtol=1e-3, atol=1e-3)


def test_the_delta_encoders_classifier_learns_from_the_examples_too() -> None:
    """Untrained, what it draws tells nothing: far apart examples alone are found back."""
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(40, 8)).astype("f4"), torch.arange(40) % 5
    delta = DeltaSettings(hidden=4, latent=2, samples=1, epochs=1, lr=1e-30)
    torch.manual_seed(0)
    learner = train_delta_encoder(torch.from_numpy(features), labels, Fewshot(ridge=0.01, delta=delta))
    examples = 10 * torch.eye(8)[None, :, None]
    assert learner(examples, examples[:, :, 0]).argmax(2)[0].tolist() == list(range(8))


def test_what_base_classes_teach_carries_over_to_new_ones() -> None:
    """Images of all classes vary most along one shared direction, which a single example cannot show."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 15)
    features = 2 * random.normal(size=(40, 6))[labels] + 0.5 * random.normal(size=(600, 6))
    features[:, 0] = 6 * random.normal(size=600)
    features = (features @ np.linalg.qr(random.normal(size=(6, 6)))[0]).astype("f4")
    settings = Fewshot(
        finetune={"epochs": 15, "lr": 0.03, "gamma": 10.0},
        protonet=ProtoNet(way=8, query=4, episodes=60, lr=0.03),
        delta=DeltaSettings(hidden=32, latent=4, samples=30, epochs=30, dropout=0.0, lr=1e-2),
    )
    base = Base(features[labels < 25], labels[labels < 25], settings, Finetune(batch_size=64), 0, torch.device("cpu"))
    novel, drawn = features[labels >= 25], draw_episodes(labels[labels >= 25], 5, 1, 4, 100, 0)
    found = {}
    for name, row in ROWS.items():
        mapping, learner = row(base)
        found[name] = accuracies(learner, torch.from_numpy(mapping(novel)), drawn).mean()
    for name, accuracy in found.items():
        untaught = name.startswith(("plain", "standardised"))  # the direction is none of the dimensions
        assert 0.4 < accuracy < 0.7 if untaught else accuracy > 0.85, (name, accuracy)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_repeats(name: str) -> None:
    features, labels = problem()
    base = Base(features, labels, QUICK, Finetune(epochs=1), 0, torch.device("cpu"))
    drawn = draw_episodes(labels, 3, 2, 4, 20, 0)
    found = []
    for _ in range(2):
        mapping, learner = ROWS[name](base)
        found.append(accuracies(learner, torch.from_numpy(mapping(features)), drawn))
    np.testing.assert_array_equal(*found)
