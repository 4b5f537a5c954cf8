import math

import numpy as np
import pytest
import torch

from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.experiments.clusterability import MEASURES, clusterability, measure, purity, spaces, steps
from zslcore.experiments.settings import Clusterability
from zslcore.methods.clusterable.finetune import finetune
from zslcore.methods.clusterable.train import train
from zslcore.settings import Finetune, Settings, Train

SETTINGS = Clusterability(n_init=2)


def quick(projection: int) -> Settings:
    return Settings(
        finetune=Finetune(epochs=3, lr=0.01, batch_size=32),
        train=Train(hidden=16, projection=projection, epochs=2),
    )


def test_hand_computed() -> None:
    # Contingency [[2, 0], [1, 1]]: H(labels) = ln 2, H(clusters) = ln 4 − ¾ ln 3, joint = 1.5 ln 2
    labels, clusters = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    first, second = math.log(2), math.log(4) - 0.75 * math.log(3)
    mutual = first + second - 1.5 * math.log(2)
    found = {name: one(labels, clusters) for name, one in MEASURES.items()}
    assert found["MI nats"] == pytest.approx(mutual)
    assert found["NMI arithmetic"] == pytest.approx(mutual / ((first + second) / 2))
    assert found["NMI geometric"] == pytest.approx(mutual / math.sqrt(first * second))
    assert found["NMI max"] == pytest.approx(mutual / max(first, second))
    assert found["purity"] == pytest.approx(3 / 4)


def test_purity_against_brute_force() -> None:
    random = np.random.default_rng(0)
    labels, clusters = random.integers(0, 5, 200), random.integers(0, 7, 200)
    most = sum(max(np.sum((labels == k) & (clusters == c)) for k in range(5)) for c in range(7))
    assert purity(labels, clusters) == pytest.approx(most / 200)


def test_separated_classes_are_found_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 30)
    apart = (10 * np.eye(4)[labels] + 0.1 * random.normal(size=(120, 4))).astype(np.float32)
    assert all(value == pytest.approx(1.0) for name, value in _find(apart, labels).items() if name != "MI nats")
    assert _find(apart, labels)["MI nats"] == pytest.approx(math.log(4))
    blind = _find(random.normal(size=(120, 4)).astype(np.float32), labels)
    assert abs(blind["AMI"]) < 0.1


def _find(features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return clusterability(features, labels, SETTINGS, 0)


def test_fewer_points_than_clusters() -> None:
    with pytest.raises(ZSLError, match=r"3 points for 4 clusters; set clusterability.clusters"):
        clusterability(np.eye(3, dtype=np.float32), np.arange(3), Clusterability(clusters=4), 0)


def test_fewer_points_than_clusters_are_noticed_before_training(toy: Dataset) -> None:
    few = min(len(toy.test_unseen), len(toy.test_seen))
    own = Clusterability(clusters=few + 1)
    with pytest.raises(ZSLError, match=f"{few} points for {few + 1} clusters"):
        measure(toy, np.empty((0, 0), np.float32), Settings(), own, 0, "cpu")


@pytest.mark.parametrize("projection", [8, 0])
def test_every_space_and_side(projection: int, toy: Dataset) -> None:
    assert toy.features is not None
    settings = quick(projection)
    found = measure(toy, toy.features, settings, SETTINGS, 0, "cpu")
    names = ("x", "M(x)", "F(x)", "M(F(x))", "F′(x)", "M(F′(x))") if projection else ("x", "F(x)", "F′(x)")
    rows = [f"{side} {name}" for name in names for side in ("unseen", "seen-test")]
    assert list(found) == rows
    told: list[tuple[int, str]] = []
    again = measure(
        toy, toy.features, settings, SETTINGS, 0, "cpu", lambda count=1, note="": told.append((count, note))
    )
    assert found == again
    assert sum(count for count, _ in told) == steps(settings)
    assert [note for count, note in told if count and "k-means" in note] == [
        f"seed 0: k-means of {row}" for row in rows
    ]
    assert found["unseen x"]["NMI arithmetic"] > 0.8


def test_each_row_is_k_means_on_its_space_and_its_side(toy: Dataset) -> None:
    """The spaces, put together from the steps: M(x) without F, F by eq. 8, F′ by eq. 5."""
    assert toy.features is not None
    settings = quick(projection=8)
    train_rows = toy.features[toy.trainval], np.searchsorted(toy.seen, toy.labels[toy.trainval])
    cpu = torch.device("cpu")
    wanted = {}
    for names, update in (
        (("x", "M(x)"), {"enabled": False}),
        (("F(x)", "M(F(x))"), {"loss": "gaussian"}),
        (("F′(x)", "M(F′(x))"), {"loss": "cce"}),
    ):
        tuned = finetune(*train_rows, settings.finetune.model_copy(update=update), 4, cpu)
        model = train(tuned(train_rows[0]), train_rows[1], toy.signatures[toy.seen], settings.train, 4, cpu)
        wanted |= {names[0]: tuned(toy.features), names[1]: model.project(tuned(toy.features))}
    found = dict(spaces(toy, toy.features, settings, 4, "cpu"))
    assert list(found) == list(wanted)
    for name, space in wanted.items():
        np.testing.assert_array_equal(found[name], space, err_msg=name)
        others = [other for key, other in wanted.items() if key != name and other.shape == space.shape]
        assert all(np.abs(space - other).max() > 1e-3 for other in others), "no space is another"
    figures = measure(toy, toy.features, settings, SETTINGS, 4, "cpu")
    for side, rows in (("unseen", toy.test_unseen), ("seen-test", toy.test_seen)):
        for name, space in wanted.items():
            alone = clusterability(space[rows], toy.labels[rows], SETTINGS, 4)
            assert figures[f"{side} {name}"] == alone, (side, name)
    assert figures["unseen x"] != figures["seen-test x"]
