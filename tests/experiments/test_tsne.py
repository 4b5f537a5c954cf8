"""Fig. 3: which points are shown, of which class and kind; where t-SNE puts them is scikit-learn's."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from zslcore import progress
from zslcore.datasets.dataset import Dataset
from zslcore.experiments import tsne
from zslcore.experiments.settings import TSNESettings
from zslcore.experiments.tsne import PANELS, coordinates
from zslcore.methods.clusterable.finetune import Finetuned, finetune
from zslcore.methods.clusterable.train import Trained, train
from zslcore.settings import Finetune, Generate, Settings, Train
from zslcore.synthesis.generate import generate

SETTINGS = Settings(
    train=Train(hidden=16, projection=8, epochs=2, members=2), finetune=Finetune(epochs=1), generate=Generate(noise=0.3)
)
OWN = TSNESettings(classes=3, per_class=6, seed=5)


class TwoColumns:
    """Puts a point where its first two features are."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def fit_transform(self, points: np.ndarray) -> np.ndarray:
        return points[:, :2]


def panels() -> dict[str, Settings]:
    return {name: SETTINGS.override(over) for name, over in PANELS.items()}


def alone(data: Dataset, settings: Settings) -> tuple[Finetuned, Trained]:
    """F, and one member, of a panel."""
    assert data.features is not None
    x, y = data.features[data.trainval], np.searchsorted(data.seen, data.labels[data.trainval])
    tuned = finetune(x, y, settings.finetune, OWN.seed, torch.device("cpu"))
    one = settings.train.model_copy(update={"members": 1})
    return tuned, train(tuned(x), y, data.signatures[data.seen], one, OWN.seed, torch.device("cpu"))


def points(table: pd.DataFrame, kind: str, name: str) -> np.ndarray:
    shown = table[(table["kind"] == kind) & (table["class"] == name)]
    return shown[["x", "y"]].to_numpy().astype("f4")


def test_the_panels_are_without_m_with_it_and_the_run_itself() -> None:
    found = panels()
    assert found["before projection"].train.projection == 0
    assert found["before projection"].generate.noise == found["after projection"].generate.noise == 0
    assert found["after projection"].train.projection == 8
    assert found["with noise"] == SETTINGS


@pytest.mark.parametrize("panel", PANELS)
def test_real_points_are_unseen_images_and_synthetic_ones_are_drawn(
    toy: Dataset, panel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert toy.features is not None
    monkeypatch.setattr(tsne, "TSNE", TwoColumns)
    settings = panels()[panel]
    table = coordinates(toy, toy.features, {panel: settings}, OWN, "cpu")
    assert (table.groupby(["panel", "class", "kind"]).size() == 6).all()
    classes = [k for k in toy.unseen if toy.classes[k] in set(table["class"])]
    assert len(classes) == 3

    tuned, model = alone(toy, settings)
    drawn, labels = generate(model, toy.signatures[classes], 6, OWN.seed, "tsne", settings.generate.noise)
    for position, k in enumerate(classes):
        images = model.project(tuned(toy.features[toy.test_unseen[toy.labels[toy.test_unseen] == k]]))[:, :2]
        real = points(table, "real", toy.classes[k])
        assert len(np.unique(real, axis=0)) == 6, "six images"
        apart = np.abs(real[:, None] - images).max(axis=2)
        np.testing.assert_allclose(apart.min(axis=1), 0, atol=1e-5)
        synthetic = points(table, "synthetic", toy.classes[k])
        np.testing.assert_allclose(synthetic, drawn[labels == position][:, :2], atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_three_panels_are_embedded_alike_each_time(
    toy: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert toy.features is not None
    found = coordinates(toy, toy.features, panels(), OWN, "cpu")
    assert "toy: tsne: 3/3" in capsys.readouterr().err, "a fit and its embedding a panel"
    assert list(found["panel"].unique()) == list(PANELS)
    assert np.isfinite(found[["x", "y"]]).all(axis=None)
    assert found.equals(coordinates(toy, toy.features, panels(), OWN, "cpu"))
    for name, panel in found.groupby("panel"):
        assert panel[["x", "y"]].drop_duplicates().shape[0] == 36, name
