import numpy as np
import pytest
import torch

from zslcore.nn.mappings import FineTuning, Projection, SimilarityClassifier


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize("learn", [True, False])
def test_similarities_and_what_is_learned(gaussian: bool, learn: bool) -> None:
    """Eq. 7 with γ over the dimension, or the dot products of eq. 6; γ is learned where it is used and wanted."""
    random = np.random.default_rng(0)
    prototypes, h = random.normal(size=(3, 8)), random.normal(size=(5, 8))
    classifier = SimilarityClassifier(torch.tensor(prototypes), gaussian, 4.0, learn)
    found = classifier(torch.tensor(h))
    expected = -0.5 * ((h[:, None] - prototypes) ** 2).sum(axis=2) if gaussian else h @ prototypes.T
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5)
    found.square().sum().backward()
    assert classifier.prototypes.grad is not None
    assert (classifier.raw_gamma.grad is not None) is (gaussian and learn)


def test_f_starts_as_the_identity_and_m_is_a_layer_and_a_sigmoid() -> None:
    x = torch.randn(5, 8)
    torch.testing.assert_close(FineTuning(8)(x), x)
    m = Projection(8, 3)
    logits = x.numpy() @ m.linear.weight.detach().numpy().T + m.linear.bias.detach().numpy()
    np.testing.assert_allclose(m(x).detach(), 1 / (1 + np.exp(-logits)), rtol=1e-5)


@pytest.mark.parametrize("gamma", [1e-3, 0.5, 50.0, 100.0, 1e4])
def test_gamma_starts_where_it_was_set(gamma: float) -> None:
    classifier = SimilarityClassifier(torch.zeros(3, 8), True, gamma, True)
    assert classifier.gamma.item() == pytest.approx(gamma / 8, rel=1e-4)
    assert torch.isfinite(classifier(torch.ones(2, 8))).all()
