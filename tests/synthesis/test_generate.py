"""Synthetic features: G of a new z each and of scaled signatures, and noise on top; what classifiers learn from."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from zslcore.evaluation.protocol import Task
from zslcore.methods.clusterable.train import Trained, train
from zslcore.scaling import Scaler
from zslcore.settings import Classify, Generate, Train
from zslcore.synthesis.generate import DEFAULT_PER_UNSEEN, draw_classes, generate
from zslcore.synthesis.training_set import draw_training_set, training_set

CPU = torch.device("cpu")
SMALL = Train(hidden=32, projection=16, epochs=6, batch_size=32)


@pytest.fixture
def model(toy_task: Task) -> Trained:
    data = toy_task.train
    return train(data.features, data.labels, data.signatures, SMALL, 0, CPU)


class Glass:
    """A generative model that one sees through: what it draws is z (2) beside the scaled signature (3)."""

    device, latent = CPU, 2
    signature_scaler = Scaler("minmax", np.array([1, 2, 3], dtype="f4"), np.array([10, -1, 0.5], dtype="f4"))

    def draw(self, z: torch.Tensor, signatures: torch.Tensor) -> torch.Tensor:
        return torch.cat([z, signatures], dim=1)


def test_generate_draws_a_new_z_for_every_feature_and_shows_g_scaled_signatures() -> None:
    signatures = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    features, labels = generate(Glass(), signatures, 3000, 0, "unseen")
    np.testing.assert_array_equal(labels, np.repeat(np.arange(4), 3000))
    scaled = (signatures.astype(float) - [1, 2, 3]) * [10, -1, 0.5]
    np.testing.assert_allclose(features[:, 2:], scaled[labels], rtol=1e-5)
    z = features[:, :2].reshape(4, 3000, 2).astype(float)
    assert all(kstest(z[k, :, j], "norm").pvalue > 1e-3 for k in range(4) for j in range(2)), "N(0, 1)"
    together = np.corrcoef(z.transpose(0, 2, 1).reshape(8, 3000))
    assert np.abs(together - np.eye(8)).max() < 0.07, "neither classes nor dimensions share their z"
    assert len(np.unique(features[:, 0])) > 0.99 * len(features)


def test_extra_noise_is_drawn_anew_for_every_number() -> None:
    signatures = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    features, labels = generate(Glass(), signatures, 3000, 0, "unseen", extra_noise=0.5)
    noise = features[:, 2:] - Glass.signature_scaler(signatures)[labels]
    spread = noise.reshape(4, 3000, 3).transpose(0, 2, 1).reshape(12, 3000)
    np.testing.assert_allclose(spread.std(axis=1), 0.5, rtol=0.07)
    np.testing.assert_allclose(spread.mean(axis=1), 0, atol=0.04)
    assert np.abs(np.corrcoef(spread) - np.eye(12)).max() < 0.08
    np.testing.assert_allclose(features[:, :2].var(axis=0), 1.25, rtol=0.07)


@pytest.mark.parametrize("members", [1, 2])
def test_generated_features_are_g_of_z_and_the_scaled_signature(
    toy_task: Task, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, drawn, draw = toy_task.train, [], torch.randn
    model = train(data.features, data.labels, data.signatures, SMALL.model_copy(update={"members": members}), 0, CPU)
    monkeypatch.setattr(torch, "randn", lambda *size: drawn.append(draw(*size)) or drawn[-1])
    features, labels = generate(model, toy_task.signatures[:3], 5, 0, "unseen")
    length = np.linalg.norm(toy_task.signatures[:3], axis=1, keepdims=True)
    scaled = torch.tensor(toy_task.signatures[:3] / length * np.sqrt(10).astype("f4"))[labels]
    assert [z.shape for z in drawn] == [(5, members * 10)] * 3
    z = torch.cat(drawn).chunk(members, dim=1)
    wanted = [member.G(part, scaled).detach() for member, part in zip(model.members, z, strict=True)]
    np.testing.assert_allclose(features, torch.cat(wanted, dim=1), rtol=1e-5, atol=1e-6)


def test_no_classes_give_no_features(model: Trained, toy_task: Task) -> None:
    features, labels = generate(model, toy_task.signatures[:0], 5, 0, "seen")
    assert (features.shape, labels.shape) == ((0, 16), (0,))


def test_streams_do_not_shift_each_other(model: Trained, toy_task: Task) -> None:
    few, _ = generate(model, toy_task.signatures[:2], 3, 0, "unseen")
    generate(model, toy_task.signatures, 7, 0, "seen")
    again, _ = generate(model, toy_task.signatures[:2], 3, 0, "unseen")
    np.testing.assert_array_equal(few, again)
    other, _ = generate(model, toy_task.signatures[:2], 3, 1, "unseen")
    assert not np.array_equal(few, other)


MASK = np.array([True, False, True, False, False])
SIGNATURES = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")


def test_seen_and_unseen_classes_are_drawn_as_often_and_as_noisily_as_the_settings_say() -> None:
    seen, unseen = draw_classes(Glass(), SIGNATURES, MASK, Generate(per_seen=400, per_unseen=300, noise=0.5), 0)
    for (features, labels), mask, each in ((seen, MASK, 400), (unseen, ~MASK, 300)):
        np.testing.assert_array_equal(labels, np.repeat(np.arange(mask.sum()), each))
        noise = features[:, 2:] - Glass.signature_scaler(SIGNATURES[mask])[labels]
        assert noise.std() == pytest.approx(0.5, rel=0.1)
    seen, unseen = draw_classes(Glass(), SIGNATURES, MASK, Generate(per_seen=50, per_unseen=50), 0)
    assert not set(seen[0][:, 0]) & set(unseen[0][:, 0]), "a stream of z for each side"
    _, (features, labels) = draw_classes(Glass(), SIGNATURES, MASK, Generate(), 0)
    assert (len(labels), labels.max()) == (3 * DEFAULT_PER_UNSEEN, 2)


@pytest.mark.parametrize("kind", ["real", "synthetic", "both"])
def test_a_training_set_has_features_of_unseen_classes_and_of_seen_ones_as_asked(kind: str) -> None:
    """Every feature is of the class whose signature it has, in the joint space; none is real without seen classes."""
    counts, settings = Generate(per_seen=2, per_unseen=3), Classify(seen=kind)
    scaled = Glass.signature_scaler(SIGNATURES)
    real = np.hstack([np.full((2, 2), 99, "f4"), scaled[[2, 0]]]), np.array([1, 0])
    features, labels = draw_training_set(Glass(), real, SIGNATURES, MASK, counts, settings, 1)
    np.testing.assert_array_equal(features[:, 2:], scaled[labels])
    is_real = features[:, 0] == 99
    wanted = [2 * (kind != "synthetic"), 4 * (kind != "real"), 9]
    assert [is_real.sum(), (MASK[labels] & ~is_real).sum(), (~MASK[labels]).sum()] == wanted
    of_seed = training_set(real, *draw_classes(Glass(), SIGNATURES, MASK, counts, 1), MASK, settings)
    np.testing.assert_array_equal(features, of_seed[0])
    alone, labels = draw_training_set(Glass(), None, SIGNATURES, MASK, counts, settings, 1)
    np.testing.assert_array_equal(alone, features[~is_real & ~MASK[of_seed[1]]])
    assert not MASK[labels].any()
