"""SJE, ALE, DeViSE, LATEM: the gradient of a batch against the papers' rules, one image and class at a time."""

import numpy as np
import pytest
import torch

from zslcore.methods import registry
from zslcore.methods._ranking import RankingMethod

IMAGES, CLASSES, D, A, MAPS, MARGIN = 6, 5, 4, 3, 3, 1.0


def harmonic(r: int) -> float:
    return sum(1 / j for j in range(1, r + 1))


def update(kind: str, w: np.ndarray, x: np.ndarray, y: int, s: np.ndarray) -> np.ndarray:
    """The step a paper's rule takes for one image, as a gradient."""
    short = {k: MARGIN + x @ w @ s[k] - x @ w @ s[y] for k in range(CLASSES) if k != y}
    bad = [k for k, value in short.items() if value > 0]
    total = np.zeros_like(w)
    if kind == "sje" and bad:
        worst = max(bad, key=lambda k: short[k])
        total += np.outer(x, s[worst] - s[y])
    if kind == "devise":
        for k in bad:
            total += np.outer(x, s[k] - s[y])
    if kind == "ale":
        for k in bad:
            total += harmonic(len(bad)) / len(bad) * np.outer(x, s[k] - s[y])
    return total


def update_latem(w: np.ndarray, x: np.ndarray, y: int, s: np.ndarray) -> np.ndarray:
    """Only the winning map of the right and of the wrong class moves."""
    total = np.zeros_like(w)
    best = [max(range(MAPS), key=lambda m: x @ w[m] @ s[k]) for k in range(CLASSES)]
    value = [x @ w[best[k]] @ s[k] for k in range(CLASSES)]
    for k in range(CLASSES):
        if k != y and MARGIN + value[k] - value[y] > 0:
            total[best[k]] += np.outer(x, s[k])
            total[best[y]] -= np.outer(x, s[y])
    return total


@pytest.mark.parametrize("name", ["sje", "ale", "devise", "latem"])
@pytest.mark.parametrize("seed", range(5))
def test_gradient_of_a_batch_is_the_mean_of_the_paper_s_steps(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (MAPS, D, A) if name == "latem" else (D, A)
    w, x, s = random.normal(size=shape), random.normal(size=(IMAGES, D)), random.normal(size=(CLASSES, A))
    labels = random.integers(0, CLASSES, IMAGES)
    cls = registry.get(name)
    method = cls(cls.Settings(margin=MARGIN))
    assert isinstance(method, RankingMethod)
    weights = torch.tensor(w, requires_grad=True)
    scores = method.compatibility(torch.tensor(x), weights, torch.tensor(s))
    method.loss(scores, torch.tensor(labels)).backward()
    if name == "latem":
        steps = [update_latem(w, x[i], labels[i], s) for i in range(IMAGES)]
    else:
        steps = [update(name, w, x[i], labels[i], s) for i in range(IMAGES)]
    np.testing.assert_allclose(weights.grad.numpy(), np.mean(steps, axis=0), rtol=1e-6, atol=1e-9)
    assert np.abs(np.mean(steps, axis=0)).max() > 0
