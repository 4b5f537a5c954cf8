"""One artifact of each version ever released: read, or refused by name with the command that makes it again."""

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from zslcore.datasets import dataset as datasets
from zslcore.errors import BadFile, ZSLError
from zslcore.io import artifacts
from zslcore.io.inspection import inspect
from zslcore.methods.clusterable.finetune import Finetuned
from zslcore.methods.clusterable.train import Trained
from zslcore.methods.eszsl import ESZSL
from zslcore.model.model import Model
from zslcore.project.remedies import remedy
from zslcore.settings import Finetune, Train
from zslcore.synthesis.classifier import Classifier
from zslcore.training.checkpoint import Checkpoint

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("kept_artifacts", HERE / "make.py")
assert spec is not None
assert spec.loader is not None
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

KEPT = sorted(path for folder in HERE.glob("v*") for path in folder.iterdir())
EVERYTHING = np.arange(12)


def read_dataset(path: Path) -> None:
    data, expected = datasets.load(path, with_features=True), make.toy()
    assert (data.name, data.classes, data.attribute_names) == (
        expected.name,
        expected.classes,
        expected.attribute_names,
    )
    for name in ("features", "signatures", "labels", *datasets.SPLITS):
        np.testing.assert_array_equal(getattr(data, name), getattr(expected, name))


def read_features(path: Path) -> None:
    np.testing.assert_array_equal(datasets.load_features(path, EVERYTHING), make.toy().features)


def read_weights(format: artifacts.Format) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        for values in artifacts.under(artifacts.load_tensors(path, format), "seed=0/").values():
            assert np.isfinite(values).all()

    return read


def read_arrays(format: artifacts.Format, *shapes: tuple[str, tuple[int, ...]]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        with artifacts.open_artifact(path, format) as file:
            assert {name: artifacts.array(file, f"seed=0/{name}").shape for name, _ in shapes} == dict(shapes)

    return read


def read_method(path: Path) -> None:
    data = make.toy()
    scores = ESZSL.load(path).for_classes(data.signatures[3:], np.array([False])).scores(data.features)
    assert scores.shape == (12, 1)
    assert np.isfinite(scores).all()


def read_checkpoint(path: Path) -> None:
    """A finished run is restored, not trained on: Adam's two steps from 1 stand in it."""
    with make.tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        weight = make.train_something(Checkpoint(copy))
    np.testing.assert_allclose(weight.detach().numpy(), 0.8, atol=1e-3)


def read_model(path: Path) -> None:
    """All of it stands in one file: x through F and M to the joint classifier's scores of the four classes."""
    settings, tensors = artifacts.read_tensors(path, artifacts.MODEL)
    state, cpu = artifacts.under(tensors, "seed=0/"), torch.device("cpu")
    f = Finetuned.from_state(Finetune(**settings["finetune"]), state, cpu)
    m = Trained.from_state(Train(**settings["train"]), state, cpu)
    joint = Classifier.from_state(settings["classify"]["kind"], artifacts.under(state, "joint."), cpu)
    scores = joint.scores(m.project(f(make.toy().features)))
    assert scores.shape == (12, 4)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=1e-5)


def read_packaged(path: Path) -> None:
    """It names images, and knows a class more, in one file."""
    model = Model.load(path)
    found = model.with_classes({"takahē": [1, 0.5]}).predict_features(make.toy().features, top=5)
    assert {*found[0].classes} == {*make.toy().classes, "takahē"}
    assert sum(found[0].probabilities) == pytest.approx(1)


def read_classifiers(path: Path) -> None:
    assert artifacts.load_tensors(path, artifacts.CLASSIFIERS)["joint.classifier.0.linear.weight"].shape == (5, 3)


READERS: dict[str, Callable[[Path], None]] = {
    "dataset.h5": read_dataset,
    "features.h5": read_features,
    "finetuned.safetensors": read_weights(artifacts.FINETUNED),
    "trained.safetensors": read_weights(artifacts.TRAINED),
    "model.safetensors": read_model,
    "synthetic.h5": read_arrays(artifacts.SYNTHETIC, ("unseen/features", (2, 3)), ("unseen/labels", (2,))),
    "scores.h5": read_arrays(artifacts.SCORES, ("zsl", (3, 1)), ("joint_seen", (3, 4)), ("joint_unseen", (3, 4))),
    "method.safetensors": read_method,
    "checkpoint.safetensors": read_checkpoint,
    "model.zsl": read_packaged,
    "classifiers.safetensors": read_classifiers,
}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_kept_artifact_is_read_or_refused(path: Path, tmp_path: Path) -> None:
    format, version = make.FILES[path.name], int(path.parent.name[1:])
    path = Path(shutil.copy(path, tmp_path))  # alone: those beside it were made of others
    assert (inspect(path).about["format"], inspect(path).about["version"]) == (format.name, version)
    if version == format.version:
        READERS[path.name](path)
        return
    with pytest.raises(
        ZSLError, match=rf"{format.name} version {version}, this program reads version {format.version}; "
    ):
        READERS[path.name](path)


def test_every_kind_of_artifact_is_kept_in_its_present_version() -> None:
    assert set(make.FILES.values()) == set(artifacts.FORMATS)
    assert set(READERS) == set(make.FILES)
    for name, format in make.FILES.items():
        assert (HERE / f"v{format.version}" / name).exists(), f"run tests/artifacts/make.py for {name}"


@pytest.mark.parametrize("name", make.FILES)
def test_an_older_version_is_refused_with_the_command_that_rebuilds_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "artifacts/toy" / name
    path.parent.mkdir(parents=True)
    format = make.FILES[name]
    shutil.copyfile(HERE / f"v{format.version}" / name, path)
    newer = replace(format, version=format.version + 1)
    look = artifacts.params if path.suffix == ".h5" else artifacts.read_tensors
    with pytest.raises(BadFile) as caught:
        look(path, newer)
    version = f"version {format.version}, this program reads version {format.version + 1}"
    assert (caught.value.path, caught.value.problem) == (path, f"{format.name} {version}")
    command = newer.remedy or f"run `dvc repro -s {format.stage}@toy` to rebuild it"
    assert remedy(caught.value) == command
