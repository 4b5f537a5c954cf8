"""SSE, DEM and CN: what they compute, written out one image and class at a time."""

import numpy as np
import pytest
import torch

from zslcore.evaluation.protocol import Task
from zslcore.methods import cn, dem, sse
from zslcore.methods._linalg import simplex_codes


@pytest.mark.parametrize("embedding", ["intersection", "relu"])
def test_sse_similarities(embedding: str) -> None:
    random = np.random.default_rng(0)
    x, v, w = random.normal(size=(4, 5)), random.normal(size=(3, 5)), random.normal(size=5)
    found = sse.similarities(*map(torch.tensor, (x, v, w)), embedding).numpy()
    for i in range(4):
        for k in range(3):
            parts = [
                min(a, b) if embedding == "intersection" else max(a - b, 0) for a, b in zip(x[i], v[k], strict=True)
            ]
            assert found[i, k] == pytest.approx(np.dot(parts, w))


def test_sse_scores_mix_the_similarities_to_seen_classes(toy_task: Task) -> None:
    method = sse.SSE(sse.SSESettings(epochs=1)).fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:3])
    mixtures = simplex_codes(method.signature_scaler(toy_task.signatures), method.signatures, 0.01)
    for row, x in zip(scores, method.scaler(toy_task.unseen_features[:3]), strict=True):
        seen = np.array([method.weights @ np.minimum(x, v) for v in method.exemplars])
        np.testing.assert_allclose(row, mixtures @ seen, rtol=1e-3, atol=1e-4)


def test_dem_maps_signatures_and_takes_the_nearest(toy_task: Task) -> None:
    method = dem.DEM(dem.DEMSettings(epochs=2, hidden=8, relu_output=True)).fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:3])
    for row, x in zip(scores, method.scaler(toy_task.unseen_features[:3]), strict=True):
        for found, s in zip(row, method.signature_scaler(toy_task.signatures), strict=True):
            hidden = np.maximum(s @ method.first + method.first_bias, 0)
            mapped = np.maximum(hidden @ method.second + method.second_bias, 0)
            assert found == pytest.approx(-((x - mapped) ** 2).mean(), rel=1e-3)


def test_cn_standardises_hidden_units_over_the_seen_classes() -> None:
    random = np.random.default_rng(0)
    s, seen = random.normal(size=(2, 3)), random.normal(size=(5, 3))
    layers = [random.normal(size=shape) for shape in ((3, 4), (4, 4), (4, 6))]
    found = cn.embed(torch.tensor(s), torch.tensor(seen), [torch.tensor(layer) for layer in layers]).numpy()
    for layer in layers[:2]:
        for unit in range(4):
            assert (seen @ layer)[:, unit].std() > 0
        mean, spread = (seen @ layer).mean(axis=0), (seen @ layer).std(axis=0)
        s, seen = (np.maximum((part @ layer - mean) / spread, 0) for part in (s, seen))
    np.testing.assert_allclose(found, s @ layers[2], rtol=1e-3, atol=1e-3)


def test_cn_scores_are_scaled_cosines(toy_task: Task) -> None:
    method = cn.CN(cn.CNSettings(epochs=1, hidden=8, scale=3.0)).fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features)
    assert np.abs(scores).max() <= 9.0 + 1e-4
    doubled = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(2 * toy_task.unseen_features)
    np.testing.assert_allclose(scores, doubled, rtol=1e-4, atol=1e-4)
