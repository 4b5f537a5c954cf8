import numpy as np
import pytest
from scipy.linalg import solve_sylvester

from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task
from zslcore.methods.sae import SAE, SAESettings, sylvester


@pytest.mark.parametrize(("n", "d"), [(40, 7), (6, 15)])
def test_solves_the_sylvester_equation(n: int, d: int) -> None:
    """Compared with SciPy's general solver; with fewer images than dimensions, through the Gram matrix."""
    random = np.random.default_rng(0)
    x, s, strength = random.normal(size=(n, d)), random.normal(size=(n, 4)), 0.3
    expected = solve_sylvester(s.T @ s, strength * x.T @ x, (1 + strength) * s.T @ x)
    np.testing.assert_allclose(sylvester(x, s, strength), expected, rtol=1e-7, atol=1e-9)


def test_minimises_its_objective() -> None:
    random = np.random.default_rng(1)
    x, s = random.normal(size=(30, 6)), random.normal(size=(30, 4))

    def objective(w: np.ndarray) -> float:
        return ((x - s @ w) ** 2).sum() + 0.5 * ((x @ w.T - s) ** 2).sum()

    best = sylvester(x, s, 0.5)
    for _ in range(10):
        assert objective(best + 1e-3 * random.normal(size=best.shape)) > objective(best)


def test_the_two_directions_are_cosines_in_two_spaces(toy_task: Task) -> None:
    for direction in ("feature_to_signature", "signature_to_feature"):
        method = SAE(SAESettings(direction=direction)).fit(toy_task.train)
        scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:4])
        for row, x in zip(scores, method.scaler(toy_task.unseen_features[:4]), strict=True):
            for found, s in zip(row, method.signature_scaler(toy_task.signatures), strict=True):
                a, b = (method.weights @ x, s) if direction == "feature_to_signature" else (x, s @ method.weights)
                assert found == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)


def test_refuses_no_regularisation(toy_task: Task) -> None:
    with pytest.raises(ZSLError, match="singular"):
        SAE(SAESettings(strength=0)).fit(toy_task.train)
