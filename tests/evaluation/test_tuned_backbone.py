"""Features by a fine-tuned backbone: what each fit sees, going on after a kill, and naming new images with it."""

import io
import json
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from stages import extract as stage
from stages import resolve
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.evaluation import protocol
from zslcore.evaluation.tuned_backbone import FOLDER, extract_tuned
from zslcore.features import backbones
from zslcore.features.batches import local
from zslcore.io import artifacts
from zslcore.model.images import Extractor
from zslcore.model.package import _backbone
from zslcore.settings import Finetune, Settings
from zslcore.training.checkpoint import Checkpoint

DATASET, FEATURES = Path("artifacts/toy/dataset.h5"), Path("artifacts/toy/features.h5")
SETTINGS: dict[str, Any] = {
    "extract": {
        "backbone": "test_efficientnet", "weights": "random", "image_size": 32, "batch_size": 8, "precision": "fp32"
    },
    "select": {"splits": 1},
    "finetune": {
        "level": "backbone",
        "gamma": 5.0,
        "backbone": {"longest": 2, "lr": 0.001},
        "images": {"batch_size": 8, "views": 2},
        "precision": "fp32",
    },
}  # fmt: skip


def picture(label: int, row: int) -> bytes:
    """A PNG of noise about a colour of its class; some are smaller than the network's input."""
    random = np.random.default_rng(row)
    colour = np.random.default_rng(1000 + label).uniform(60, 200, 3)
    height, width = (40, 50) if row % 3 else (20, 24)
    values = np.clip(colour + random.normal(0, 30, (height, width, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Six seen classes, one of which has a single image, and two unseen ones."""
    labels = np.repeat(np.arange(8), [5, 5, 5, 5, 5, 1, 3, 3])
    trainval = np.flatnonzero((labels < 6) & (np.arange(len(labels)) % 5 != 4))
    return Dataset(
        name="toy",
        classes=tuple(f"class {k}" for k in range(8)),
        signatures=np.random.default_rng(0).uniform(size=(8, 6)).astype(np.float32),
        labels=labels,
        trainval=trainval,
        test_seen=np.setdiff1d(np.flatnonzero(labels < 6), trainval),
        test_unseen=np.flatnonzero(labels >= 6),
        pictures=tuple(picture(label, row) for row, label in enumerate(labels)),
    )


def run(folder: Path, data: Dataset, **finetune: Any) -> Path:
    """Prepare a project's folder with this data set, and extract there; gives the folder."""
    settings = Settings(**SETTINGS).override({"finetune": {"backbone": finetune}})
    with chdir(folder):
        datasets.save(DATASET, data, {})
        extract_tuned(DATASET, FEATURES, settings, "cpu")
    return folder


@pytest.fixture(scope="module")
def tuned(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder where it has run to the end; the tests stand in it."""
    folder = run(tmp_path_factory.mktemp("whole"), data, epochs=2)
    with chdir(folder):
        yield folder


def weights(folder: Path, name: str) -> bytes:
    (found,) = folder.glob(f"{FOLDER}/*/{name}.safetensors")
    return found.read_bytes()


def held_out_rows(data: Dataset) -> NDArray[np.int64]:
    """Rows of the images that the fit of the first validation split must not see, test images included."""
    seen = datasets.Seen("toy", np.zeros((len(data.trainval), 1), np.float32), data.labels[data.trainval],
                         data.signatures, data.seen, data.unseen)  # fmt: skip
    (classes,) = protocol.validation_splits(seen, 1, 0)
    train_rows, _, _ = protocol.validation_rows(seen, classes)
    return np.setdiff1d(np.arange(len(data.labels)), data.trainval[train_rows])


def test_a_killed_run_goes_on_to_the_same_bytes(
    tuned: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first epoch of the validation fit, then after the first of the last one."""
    store = Checkpoint.store

    def dying(self: Checkpoint, *arguments: Any, **options: Any) -> None:
        first = not self.path.exists()
        store(self, *arguments, **options)
        if first:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "store", dying)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, data, epochs=2)
    assert not (tmp_path / FEATURES).exists()
    run(tmp_path, data, epochs=2)
    assert (tmp_path / FEATURES).read_bytes() == (tuned / FEATURES).read_bytes()
    assert not list(tmp_path.rglob("views-*.npy"))
    assert not list(tmp_path.rglob("*-before-*"))


def test_whole_passes_of_another_engine_give_the_same_bytes(tuned: Path, data: Dataset, tmp_path: Path) -> None:
    """Nothing of them is kept; without another engine it is, where it is asked for, and serves another loss."""
    settings = Settings(**SETTINGS).override({"finetune": {"backbone": {"epochs": 2}}})
    with chdir(tmp_path):
        datasets.save(DATASET, data, {})
        extract_tuned(DATASET, FEATURES, settings, "cpu", local(1))
        assert FEATURES.read_bytes() == (tuned / FEATURES).read_bytes()
        kept = Path("kept")
        for loss in ("cce", "gaussian"):
            of_loss = settings.override({"finetune": {"loss": loss}})
            extract_tuned(DATASET, FEATURES, of_loss, "cpu", folder=Path("other"), shared=kept)
            stored = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
            assert sorted(path.suffix for path in stored) == [".npy", ".sqlite"]
        assert FEATURES.read_bytes() == (tuned / FEATURES).read_bytes()


def test_a_validation_fit_never_sees_a_validation_or_test_image(tuned: Path, data: Dataset, tmp_path: Path) -> None:
    """All of them replaced, its weights have the same bytes; those of the last fit, which sees some, have others."""
    pictures = list(data.pictures)
    for row in held_out_rows(data):
        pictures[row] = picture(99, 500 + int(row))
    run(tmp_path, replace(data, pictures=tuple(pictures)), epochs=2)
    for length in ("split-0-2", "final-2"):
        assert (weights(tmp_path, length) == weights(tuned, length)) == length.startswith("split")


def test_choices_are_made_on_features_that_no_validation_image_has_shaped(tuned: Path, data: Dataset) -> None:
    seen = datasets.load_seen(DATASET, FEATURES)
    (split,) = seen.split_features
    task = protocol.validation_task(seen, split.held_out)
    of_split = safetensors.numpy.load(weights(tuned, "split-0-2"))
    network = backbones.with_weights("test_efficientnet", of_split, 32)
    extractor = Extractor(_backbone(FEATURES))  # type: ignore[arg-type]
    rows = data.trainval[np.isin(seen.labels, split.held_out)]
    pixels = [extractor.decode(data.pictures[row]).pixels for row in rows]
    expected = type(extractor.network)(replace(extractor.plan, batch_size=4), network).unpadded(pixels)  # type: ignore[arg-type]
    assert np.allclose(task.unseen_features, expected, atol=1e-4)
    assert not np.allclose(task.unseen_features, seen.features[np.isin(seen.labels, split.held_out)], atol=1e-4)
    with pytest.raises(ZSLError, match="fine-tuned for the validation splits of `select`"):
        protocol.validation_task(seen, split.held_out, seed=1)
    with pytest.raises(ZSLError, match="fine-tuned for the validation splits of `select`"):
        protocol.validation_task(seen, split.held_out[:1])


@pytest.mark.parametrize("included", [False, True])
def test_a_model_names_new_images_with_the_fine_tuned_weights(included: bool, tuned: Path, data: Dataset) -> None:
    header = _backbone(FEATURES)
    assert header is not None
    assert header.plan["weights"] == f"file:{FEATURES}"
    extractor = Extractor(header)
    if included:
        extractor = extractor.including()
        extractor = replace(extractor, weights="pretrained")  # which it has not to ask for
    found = np.stack([outcome.features for outcome in extractor(data.pictures)])  # type: ignore[misc]
    stored = datasets.load_features(FEATURES, np.arange(len(data.labels)))
    assert np.allclose(found, stored, atol=1e-4)
    loaded = backbones.load("test_efficientnet", "random", 32)
    assert extractor.backbone.fingerprint != loaded.fingerprint
    assert backbones.load("test_efficientnet", f"file:{FEATURES}", 32).fingerprint == extractor.backbone.fingerprint


def test_the_length_is_chosen_by_the_figures_that_are_written_down(data: Dataset, tmp_path: Path) -> None:
    run(tmp_path, data)
    about = artifacts.params(tmp_path / FEATURES, artifacts.FEATURES)["finetune"]
    assert [one["epochs"] for one in about["tried"]] == [0, 1, 2]
    best = max(one["score"] for one in about["tried"])
    assert about["chosen"] == min(one["epochs"] for one in about["tried"] if one["score"] == best)
    with chdir(tmp_path):
        assert "by epochs: 0: " in stage.tuned(FEATURES)


def test_the_stage_extracts_and_other_images_follow_it(data: Dataset, tmp_path: Path) -> None:
    """With views drawn in each epoch, the whole backbone, and a bad image that is skipped."""
    pictures = list(data.pictures)
    pictures[data.trainval[2]] = pictures[data.test_seen[0]] = b"no picture"
    of = {"epochs": 1, "longest": 2, "layers": "all"}
    batches = {"batch_size": 8, "parts": 2}
    settings = {
        **SETTINGS,
        "extract": {**SETTINGS["extract"], "on_bad_image": "skip"},
        "finetune": {**SETTINGS["finetune"], "backbone": of, "images": batches},
    }
    write_project(tmp_path, {}, {"toy": settings}, resolve=False)
    with chdir(tmp_path):
        datasets.save(DATASET, replace(data, pictures=tuple(pictures)), {})
        resolve.command("toy")
        stage.command("toy")
        assert list(datasets.skipped_rows(FEATURES)) == sorted([data.trainval[2], data.test_seen[0]])
        Path("new").mkdir()
        Path("new/one.png").write_bytes(data.pictures[0])
        stage.command(images="new", like="toy", out=Path("new.h5"))
        with artifacts.open_artifact(Path("new.h5"), artifacts.FEATURES) as file:
            assert np.allclose(file["features"][0], datasets.load_features(FEATURES, np.array([0]))[0], atol=1e-4)


def test_what_cannot_be_fine_tuned_is_refused(toy: Dataset, data: Dataset, tmp_path: Path) -> None:
    settings = Settings(**SETTINGS)
    datasets.save(tmp_path / "given.h5", toy, {})
    with pytest.raises(ZSLError, match=r"features are given, not its images; set finetune\.level to features"):
        extract_tuned(tmp_path / "given.h5", tmp_path / "out.h5", settings, "cpu")
    datasets.save(tmp_path / "dataset.h5", data, {})
    other = settings.override({"extract": {"backbone": "mine:net"}})
    with pytest.raises(ZSLError, match="mine:net: only backbones of timm are fine-tuned"):
        extract_tuned(tmp_path / "dataset.h5", tmp_path / "out.h5", other, "cpu")
    with pytest.raises(ZSLError, match="20 epochs, and the rate is 0 after 2; set longest to 20"):
        settings.override({"finetune": {"backbone": {"epochs": 20}}})


def test_settings_at_their_defaults_leave_no_trace(tuned: Path) -> None:
    plain = Finetune().model_dump()
    assert {"level", "backbone", "images", "precision"}.isdisjoint(plain)
    assert Finetune(**plain) == Finetune()
    assert json.loads(Settings(**SETTINGS).model_dump_json())["finetune"]["backbone"]["longest"] == 2
    (loaded,) = Path().glob(f"{FOLDER}/*/loaded.h5")
    with pytest.raises(ZSLError, match="features of a backbone that was not fine-tuned"):
        backbones.load("test_efficientnet", f"file:{loaded}", 32)
