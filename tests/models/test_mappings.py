import pytest
import torch

from zslcore.models.mappings import SimilarityClassifier


@pytest.mark.parametrize("gamma", [1e-3, 0.5, 50.0, 100.0, 1e4])
def test_gamma_starts_where_it_was_set(gamma: float) -> None:
    classifier = SimilarityClassifier(torch.zeros(3, 8), True, gamma, True)
    assert classifier.gamma.item() == pytest.approx(gamma / 8, rel=1e-4)
    assert torch.isfinite(classifier(torch.ones(2, 8))).all()
