"""Class means and distances against NumPy by hand; the normaliser against a softmax that is not normalised."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from zslcore.synthesis.classifier import Classifier, Softmax
from zslcore.synthesis.means import ClassMeans, condensed

SEEN = np.array([True, True, False])


@pytest.mark.parametrize("per_seen", [0, 5])
def test_means_are_real_where_there_are_images_and_synthetic_elsewhere(per_seen: int) -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=(20, 4)).astype("f4"), np.repeat([0, 1], 10)
    seen = random.normal(size=(2 * per_seen, 4)).astype("f4"), np.repeat([0, 1], per_seen)
    unseen = random.normal(size=(6, 4)).astype("f4"), np.zeros(6, np.int64)
    means = ClassMeans.of(real, seen, unseen, SEEN)
    of_real = np.stack([real[0][:10].mean(0), real[0][10:].mean(0)])
    spread = np.sqrt(np.mean([real[0][:10].var(0), real[0][10:].var(0)], axis=0))
    of_seen = of_real if not per_seen else np.stack([seen[0][:5].mean(0), seen[0][5:].mean(0)])
    expected = {"real": np.vstack([of_real, unseen[0].mean(0)]), "synthetic": np.vstack([of_seen, unseen[0].mean(0)])}
    x = random.normal(size=(3, 4)).astype("f4")
    for kind, found in means.distances(x).items():
        by_hand = np.linalg.norm((x[:, None] - expected[kind]) / spread, axis=2)
        assert found == pytest.approx(by_hand, rel=1e-3), kind


def test_scores_and_normaliser_give_back_the_mean_logits_of_the_members() -> None:
    torch.manual_seed(0)
    modules = nn.ModuleList([Softmax(4, 3), Softmax(4, 3)])
    classifier, x = Classifier(modules), torch.randn(5, 8)
    extra = torch.randn(5, 3)
    with torch.inference_mode():
        logits = ((modules[0](x[:, :4]) + modules[1](x[:, 4:])) / 2 + extra).numpy()
    normaliser = classifier.normaliser(x.numpy(), extra.numpy())
    assert normaliser == pytest.approx(logsumexp(logits, axis=1), abs=1e-5)
    assert (classifier.normaliser(x.numpy(), extra.numpy(), block=2) == normaliser).all()
    assert classifier.scores(x.numpy(), extra.numpy()) + normaliser[:, None] == pytest.approx(logits, abs=1e-5)


def test_two_points_a_class_have_the_means_and_spreads_of_all_its_images() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (5, 4, 7))
    real = random.normal(3, 2, (16, 6)).astype(np.float32), labels
    few = condensed(*real)
    assert (len(few[0]), condensed(*few)[0] is few[0]) == (6, True)
    nothing = np.empty((0, 6), np.float32), np.empty(0, np.int64)
    whole, brief = (ClassMeans.of(some, nothing, nothing, np.ones(3, bool)) for some in (real, few))
    for name in ("synthetic", "real", "spread"):
        np.testing.assert_allclose(getattr(brief, name), getattr(whole, name), rtol=1e-4)
