import numpy as np
import pytest

from zslcore import progress
from zslcore.datasets.dataset import Dataset
from zslcore.evaluation.tsne import PANELS, coordinates
from zslcore.params import Params
from zslcore.settings import TSNESettings

RAW = {
    "preset": "best",
    "presets": {"toy": {"best": {"train": {"hidden": 16, "projection": 8, "epochs": 2}, "finetune": {"epochs": 1}}}},
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_three_panels_of_both_kinds(
    toy: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert toy.features is not None
    own = TSNESettings(classes=3, per_class=6)
    panels = {name: Params(RAW).resolve("toy", over) for name, over in PANELS.items()}
    assert panels["before projection"].train.projection == 0
    assert panels["with noise"] == Params(RAW).resolve("toy")
    found = coordinates(toy, toy.features, panels, own, "cpu")
    assert "toy: tsne: 9/9" in capsys.readouterr().err, "three fits of two epochs, and three embeddings"
    assert list(found["panel"].unique()) == list(PANELS)
    assert (found.groupby(["panel", "class", "kind"]).size() == 6).all()
    assert found["class"].nunique() == 3
    assert set(found["class"]) <= {toy.classes[k] for k in toy.unseen}
    assert np.isfinite(found[["x", "y"]]).all(axis=None)
    assert found.equals(coordinates(toy, toy.features, panels, own, "cpu"))
