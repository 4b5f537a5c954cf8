"""The final classifiers against closed forms."""

from typing import get_args

import numpy as np
import pytest
import torch

from zslcore.io.rows import Rows, as_array
from zslcore.settings import Classify
from zslcore.synthesis.classifier import DEFAULT_EPOCHS, KINDS, Classifier, fit_classifier

CPU = torch.device("cpu")


def test_every_kind_can_be_asked_for() -> None:
    assert set(KINDS) == set(get_args(Classify.model_fields["kind"].annotation))


def labelled(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of 3 classes, of 5, 9 and 6, whose columns have other means and spreads; the last is nearly constant."""
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [5, 9, 6])
    features = 2 * random.normal(size=(3, 4))[labels] + random.normal(size=(20, 4))
    return (features * [1, 4, 0.3, 1e-4] + [3, -1, 0, 0.5]).astype("f4"), labels


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def fitted(settings: Classify, members: int = 1, seed: int = 0) -> Classifier:
    return fit_classifier(*labelled(), 3, settings, seed=seed, device=CPU, purpose="zsl", members=members)


UNTRAINED = {"lr": 1e-30, "epochs": 1}


def test_softmax_standardises_but_no_unit_by_less_than_the_smallest_spread() -> None:
    """Untrained, the weights of both are the same draw: log-odds are w·x + b, or w·(x − mean)/spread + b."""
    features, _ = labelled()
    plain, standardised = (fitted(Classify(standardise=value, **UNTRAINED)).scores for value in (False, True))
    mean, spread = features.mean(axis=0), features.std(axis=0, ddof=1)
    assert spread[3] < 1e-3
    spread[3] = 0.05
    points = np.random.default_rng(1).normal(size=(6, 4)).astype("f4")
    np.testing.assert_allclose(standardised(points * spread + mean), plain(points), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("standardise", [False, True])
def test_features_that_are_read_give_the_classifier_of_those_in_memory(kind: str, standardise: bool) -> None:
    """With batches of all images, whose order is nothing, up to rounding."""
    features, labels = labelled()
    read = as_array(Rows(lambda numbers: features[numbers], np.arange(20), 4))
    settings = Classify(kind=kind, standardise=standardise, batch_size=20, epochs=30, lr=0.05)
    inside, outside = (
        fit_classifier(x, labels, 3, settings, seed=0, device=CPU, purpose="zsl").scores(features)
        for x in (features, read)
    )
    np.testing.assert_allclose(outside, inside, atol=1e-2 * np.abs(inside).max())


def test_a_unit_that_is_nearly_always_off_does_not_decide() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    features = np.stack([np.where(labels, 0.6, 0.4) + 0.05 * random.normal(size=200), np.full(200, 1e-6)], axis=1)
    features[0, 1] = 2e-6
    scores = fit_classifier(
        features.astype("f4"), labels, 2, Classify(epochs=60, lr=0.03), seed=0, device=CPU, purpose="zsl"
    ).scores
    alight = np.stack([features[:, 0], np.full(200, 0.01)], axis=1).astype("f4")
    assert (scores(alight).argmax(axis=1) == labels).mean() > 0.95


def test_softmax_training_reaches_the_maximum_of_the_likelihood() -> None:
    """At the minimum of the cross-entropy, the mean probability of a class is its share, weighted by any feature."""
    features, labels = labelled()
    features = features + 3 * np.random.default_rng(5).normal(size=features.shape).astype("f4")  # not separable
    scores = fit_classifier(
        features, labels, 3, Classify(epochs=300, lr=0.1), seed=0, device=CPU, purpose="zsl"
    ).scores(features)
    residual = np.exp(scores) - np.eye(3)[labels]
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=5e-3)
    np.testing.assert_allclose(x.T @ residual / len(x), 0, atol=5e-3)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_cosines_are_those_of_centred_features_and_class_means(temperature: float) -> None:
    features, labels = labelled()
    found = fitted(Classify(kind="cosine", temperature=temperature, **UNTRAINED)).scores(features + 1)
    centre = features.mean(axis=0)
    means = np.stack([features[labels == k].mean(axis=0) - centre for k in range(3)])
    x = features + 1 - centre
    cosines = (x @ means.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(found, log_softmax(temperature * cosines), rtol=1e-4, atol=1e-4)


def test_each_member_purpose_and_seed_begins_with_weights_of_its_own() -> None:
    features, labels = labelled()
    twice, settings = np.hstack([features, features]), Classify(**UNTRAINED)

    def scores(x: np.ndarray, members: int = 1, seed: int = 0, purpose: str = "zsl") -> np.ndarray:
        fitted = fit_classifier(x, labels, 3, settings, seed=seed, device=CPU, purpose=purpose, members=members)
        return fitted.scores(x)

    alone = scores(features)
    np.testing.assert_array_equal(alone, scores(features))
    for other in (scores(twice, members=2), scores(features, seed=1), scores(features, purpose="joint")):
        assert np.abs(other - alone).max() > 0.01


def test_cosine_weights_are_trained() -> None:
    features, labels = labelled()

    def loss(settings: Classify) -> float:
        return -float(fitted(settings).scores(features)[np.arange(20), labels].mean())

    assert loss(Classify(kind="cosine", lr=0.1, epochs=40)) < 0.8 * loss(Classify(kind="cosine", **UNTRAINED))


def test_prototype_scores_are_minus_squared_distances_to_class_means() -> None:
    features, labels = labelled()
    means = [features[labels == k].mean(axis=0) for k in range(3)]
    distances = np.stack([((features + 1 - mean) ** 2).sum(axis=1) for mean in means], axis=1)
    found = fitted(Classify(kind="prototype")).scores(features + 1)
    np.testing.assert_allclose(found, log_softmax(-distances), rtol=1e-3, atol=1e-3)


def test_members_vote_by_the_mean_of_their_log_probabilities() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 8)).astype(np.float32), np.arange(60) % 3
    added = random.normal(size=(60, 3)).astype(np.float32)
    each = []
    for half in np.split(features.astype(float), 2, axis=1):
        means = np.stack([half[labels == k].mean(axis=0) for k in range(3)])
        each.append(log_softmax(-((half[:, None] - means) ** 2).sum(axis=2)))
    both = fit_classifier(features, labels, 3, Classify(kind="prototype"), seed=0, device=CPU, purpose="zsl", members=2)
    np.testing.assert_allclose(both.logits(torch.tensor(features)), np.mean(each, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both.scores(features), log_softmax(np.mean(each, axis=0)), rtol=1e-4, atol=1e-5)
    found = both.scores(features, added, block=7)
    np.testing.assert_allclose(found, log_softmax(np.mean(each, axis=0) + added), rtol=1e-4, atol=1e-5)
    kept = both.restrict_to(np.array([True, False, True])).scores(features)
    np.testing.assert_allclose(kept, log_softmax(np.mean(each, axis=0)[:, [0, 2]]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_classifier_scores_as_before(kind: str) -> None:
    features, labels = labelled()
    fitted = fit_classifier(
        features, labels, 3, Classify(kind=kind, epochs=2, temperature=3), seed=0, device=CPU, purpose="zsl", members=2
    )
    read = Classifier.from_state(kind, fitted.state(), CPU)
    np.testing.assert_array_equal(read.scores(features), fitted.scores(features))
    assert len(read.modules) == 2


def test_auto_trains_for_the_default_number_of_epochs() -> None:
    auto, given = (fitted(Classify(epochs=epochs)).scores(labelled()[0]) for epochs in ("auto", DEFAULT_EPOCHS))
    np.testing.assert_array_equal(auto, given)


@pytest.mark.parametrize("kind", KINDS)
def test_classifiers_separate_what_is_separable(kind: str) -> None:
    random = np.random.default_rng(0)
    means = 3 * random.normal(size=(5, 8))
    labels = np.repeat(np.arange(5), 40)
    features = (means[labels] + random.normal(size=(200, 8)) * 0.3).astype(np.float32)
    settings = Classify(kind=kind, epochs=60, lr=0.01, batch_size=32)
    scores = fit_classifier(features, labels, 5, settings, seed=0, device=CPU, purpose="zsl").scores(features)
    assert scores.shape == (200, 5)
    assert (scores.argmax(1) == labels).mean() > 0.98
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-4)
