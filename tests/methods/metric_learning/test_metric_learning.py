"""The estimator: its loss is eq. 11 over all pairs, its prediction eq. 7, and what it refuses."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import sparse

from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task, score
from zslcore.methods.base import TrainData
from zslcore.methods.metric_learning.estimator import MetricLearning, MetricLearningSettings, Problem, dense_columns
from zslcore.methods.metric_learning.metric import AttributeMetric

STRATEGIES = ("random", "uncertainty", "uncertainty-correlation")


def make(**settings: object) -> MetricLearning:
    quick = {"epochs": 3, "batch_size": 32, "device": "cpu"}
    return MetricLearning(MetricLearningSettings(**{**quick, **settings}))  # type: ignore[arg-type]


def class_level(train: TrainData) -> TrainData:
    return replace(train, image_attributes=None)


@pytest.mark.parametrize("weighting", ["frequency", "none"])
@pytest.mark.parametrize("hinge", ["parent", "printed"])
def test_batches_add_up_to_the_objective(weighting: str, hinge: str) -> None:
    """Over uneven batches, the loss's mean over images is eq. 11 (or eq. 6 / |D₊|), summed here pair by pair."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    settings = MetricLearningSettings(weighting=weighting, hinge=hinge, lambda_attributes=0.3, mu=0.02)  # type: ignore[arg-type]
    model = AttributeMetric(6, np.full(4, 0.2, dtype=np.float32), 3, scale_x=1.0, scale_a=0.8, tau=1.2)
    x, y = random.normal(size=(7, 6)).astype("f4"), random.uniform(size=(5, 4)).astype("f4")
    own = np.array([0, 1, 2, 3, 4, 0, 1])
    counts = random.integers(0, 3, (7, 5)) * (np.arange(5) != own[:, None])
    counts[3] = 0  # an image without negative pairs, as early epochs of a growing D₋ have
    pairs = sparse.csr_matrix(counts.astype(np.int32))
    problem = Problem(model, *(torch.from_numpy(a) for a in (x, y, own)), settings=settings)

    w_x, b_x, w_a, tau = (p.detach().double().numpy() for p in (model.w_x, model.b_x, model.w_a, model.tau))
    predicted = np.maximum(0, x @ w_x + b_x)

    def hinge_of(i: int, j: int, z: int) -> float:
        s = np.linalg.norm((predicted[i] - y[j]) @ w_a)
        return float(max(0, 1 - z * ((tau - s) ** 2 if hinge == "printed" else tau - s**2)))

    positive = sum(hinge_of(i, own[i], 1) + 0.3 * ((y[own[i]] - predicted[i]) ** 2).sum() for i in range(7))
    negative = sum(counts[i, j] * hinge_of(i, j, -1) for i in range(7) for j in range(5))
    penalty = (w_x**2).sum() + (b_x**2).sum() + (w_a**2).sum()
    if weighting == "frequency":
        expected = positive / 7 + negative / counts.sum() + 0.02 * penalty
    else:
        expected = (positive + negative + 0.02 * penalty) / 7

    batches = [torch.tensor(rows) for rows in ([4, 0, 2], [3, 1], [6, 5])]
    found = sum(len(rows) / 7 * problem.loss(rows, pairs, int(counts.sum())).item() for rows in batches)
    assert found == pytest.approx(expected, rel=1e-5)


def test_dense_columns() -> None:
    counts = sparse.csr_matrix(np.array([[0, 2, 0, 1], [0, 0, 0, 0], [0, 0, 0, 3]], dtype=np.int32))
    used, dense = dense_columns(counts)
    assert used.tolist() == [1, 3]
    assert dense.tolist() == [[2, 1], [0, 0], [0, 3]]


def test_predicts_the_nearest_signature(toy_task: Task) -> None:
    """Eq. 7, with S of eq. 1 computed for each image and class by itself."""
    method = make(signature_scaling="none").fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:6])
    w_x, b_x, w_a = (p.detach().numpy() for p in (method.model.w_x, method.model.b_x, method.model.w_a))
    for x, row in zip(method.scaler(toy_task.unseen_features[:6]), scores, strict=True):
        predicted = np.maximum(0, x @ w_x + b_x)
        distances = [np.linalg.norm((predicted - y) @ w_a) for y in toy_task.signatures]
        np.testing.assert_allclose(-row, distances, rtol=1e-3, atol=1e-4)
        assert row.argmax() == np.argmin(distances)


@pytest.mark.parametrize("growth", ["accumulate", "resample"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("hinge", ["parent", "printed"])
def test_learns_with_every_strategy(toy_task: Task, strategy: str, growth: str, hinge: str) -> None:
    mining = {"strategy": strategy, "growth": growth, "n": 100}  # more negatives than the 11 other classes
    method = make(mining=mining, hinge=hinge, epochs=40, lr=0.02).fit(toy_task.train)
    assert method.curve[-1]["total"] < method.curve[0]["total"]
    if hinge == "parent":  # the printed form lowers its loss without ranking well
        assert score(method, toy_task).zsl_top1 > 0.7


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_tau_is_learned(toy_task: Task, optimiser: str) -> None:
    method = make(optimiser=optimiser, tau=2.0).fit(toy_task.train)
    assert float(method.model.tau.detach()) != 2.0


def test_strategies_differ_and_are_deterministic(toy_task: Task) -> None:
    found = {}
    for strategy in STRATEGIES:
        first, second = (make(mining={"strategy": strategy}).fit(toy_task.train, seed=1).state() for _ in range(2))
        for name, value in first.items():
            assert value.tobytes() == second[name].tobytes(), name
        found[strategy] = first["model.w_a"]
    assert not any(np.array_equal(found[a], found[b]) for a, b in pairwise(STRATEGIES))


def test_attributes_below_zero_are_shifted_where_relu_reaches(toy_task: Task) -> None:
    """Vectors that the method learns from are ≥ 0, and the same shift at scoring leaves S of eq. 1 as it is."""
    method = make(signature_scaling="power", attributes="class").fit(toy_task.train)
    scaled = method.attribute_scaler(toy_task.train.signatures)
    assert scaled.min() < 0
    np.testing.assert_allclose((scaled - method.floor).min(axis=0), 0, atol=1e-7)
    scorer = method.for_classes(toy_task.signatures, toy_task.seen_mask)
    np.testing.assert_array_equal(scorer.signatures[: toy_task.seen_count], scaled - method.floor)
    assert not make(signature_scaling="none").fit(toy_task.train).floor.any()


def test_observe_sees_every_epoch_and_can_score(toy_task: Task) -> None:
    method, seen = make(), []
    method.fit(toy_task.train, observe=lambda done: seen.append((done, score(method, toy_task).zsl_top1)))
    assert [done for done, _ in seen] == [1, 2, 3]
    assert seen[-1][1] == score(method, toy_task).zsl_top1


def test_learns_from_image_attributes_where_given(toy_task: Task) -> None:
    auto, image, of_class, without = (
        make(attributes=kind).fit(train).state()["model.w_x"]
        for kind, train in (
            ("auto", toy_task.train),
            ("image", toy_task.train),
            ("class", toy_task.train),
            ("auto", class_level(toy_task.train)),
        )
    )
    np.testing.assert_array_equal(auto, image)
    np.testing.assert_array_equal(of_class, without)
    assert not np.array_equal(auto, without)


def test_refuses_correlation_of_one_signature_a_class(toy_task: Task) -> None:
    method = make(mining={"strategy": "uncertainty-correlation"})
    with pytest.raises(ZSLError, match=r"each class has one signature.*strategy: uncertainty"):
        method.fit(class_level(toy_task.train))
    constant = replace(toy_task.train, image_attributes=toy_task.train.signatures[toy_task.train.labels])
    with pytest.raises(ZSLError, match="same attributes"):
        method.fit(constant)


def test_refuses_bad_image_attributes(toy_task: Task) -> None:
    with pytest.raises(ZSLError, match="has none an image"):
        make(attributes="image").fit(class_level(toy_task.train))
    given = toy_task.train.image_attributes
    assert given is not None
    for bad in (given[:, 1:], given[1:], np.where(np.arange(len(given))[:, None] == 2, np.nan, given)):
        with pytest.raises(ZSLError, match="per-image attributes of shape"):
            make().fit(replace(toy_task.train, image_attributes=bad))


@pytest.mark.parametrize(
    "bad", [{"mining": {"n": 0}}, {"mu": -1e-9}, {"lambda_attributes": -1}, {"dimensions": 0}, {"epochs": 0}]
)
def test_refuses_bad_settings(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="greater than or equal"):
        make(**bad)


def test_refuses_a_single_seen_class(toy_task: Task) -> None:
    train = toy_task.train
    rows = train.labels == 0
    with pytest.raises(ZSLError, match="one seen class"):
        make().fit(TrainData(train.features[rows], train.labels[rows], train.signatures[:1]))


def test_never_reads_attributes_of_test_images(toy_task: Task) -> None:
    """The task hands a method no attribute rows but trainval's; scoring takes features and signatures alone."""
    assert toy_task.train.image_attributes is not None
    assert len(toy_task.train.image_attributes) == len(toy_task.train.features)
    method = make().fit(toy_task.train)
    before = score(method, toy_task).zsl
    toy = replace(toy_task, train=replace(toy_task.train, image_attributes=None))
    np.testing.assert_array_equal(score(method, toy).zsl, before)
