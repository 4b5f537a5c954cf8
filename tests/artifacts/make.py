"""Makes one small artifact of each kind: `python tests/artifacts/make.py` writes them to v1, v2, ... beside itself.

Run it once after a format's version was raised, and commit what is new: each version stays as it was released.
"""

import os
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from zslcore.datasets import dataset as datasets
from zslcore.io import artifacts
from zslcore.methods.base import TrainData
from zslcore.methods.eszsl import ESZSL
from zslcore.model.model import Model
from zslcore.training.checkpoint import Checkpoint
from zslcore.training.loop import minimise
from zslcore.training.seeding import seeded

HERE = Path(__file__).parent
TOY = {
    "source": {"kind": "birds"},
    "finetune": {"epochs": 1},
    "train": {"epochs": 2, "hidden": 4, "projection": 3},
    "generate": {"per_unseen": 2},
    "classify": {"epochs": 1, "calibration": 0.5},
}
FILES: dict[str, artifacts.Format] = {
    "dataset.h5": artifacts.DATASET,
    "features.h5": artifacts.FEATURES,
    "finetuned.safetensors": artifacts.FINETUNED,
    "trained.safetensors": artifacts.TRAINED,
    "synthetic.h5": artifacts.SYNTHETIC,
    "scores.h5": artifacts.SCORES,
    "model.safetensors": artifacts.MODEL,
    "method.safetensors": artifacts.METHOD,
    "checkpoint.safetensors": artifacts.CHECKPOINT,
    "model.zsl": artifacts.PACKAGED,
    "classifiers.safetensors": artifacts.CLASSIFIERS,
}


def toy() -> datasets.Dataset:
    """Four classes of three images, the last one unseen; everything in it is a small whole number or a quarter."""
    labels = np.repeat(np.arange(4), 3)
    return datasets.Dataset(
        name="toy",
        classes=("kiwi", "moa", "tūī", "weka"),
        signatures=np.array([[0, 1], [1, 0], [1, 1], [0.5, 0.25]], np.float32),
        labels=labels,
        trainval=np.array([0, 1, 3, 4, 6, 7]),
        test_seen=np.array([2, 5, 8]),
        test_unseen=np.array([9, 10, 11]),
        features=(np.arange(36).reshape(12, 3) % 7 + labels[:, None]).astype(np.float32),
        attribute_names=("size", "colour"),
    )


def train_something(checkpoint: Checkpoint) -> torch.nn.Parameter:
    """Two steps of a training run that writes a checkpoint."""
    with seeded(0, "kept"):
        weight = torch.nn.Parameter(torch.ones(2))
        minimise(
            lambda rows, epoch: {"total": weight.square().sum()},
            [weight], count=2, epochs=2, batch_size=2, lr=0.1, checkpoint=checkpoint,
        )  # fmt: skip
    return weight


def make(folder: Path) -> None:
    """Write every file of FILES into a folder, by the stages themselves."""
    data = toy()
    assert data.features is not None
    home = folder / "artifacts/toy"
    settings = {"params.yaml": {"datasets": ["toy"], "seeds": [0], "device": "cpu"}, "data/toy.yaml": TOY}
    for name, values in settings.items():
        artifacts.write_json(folder / name, values)  # which is YAML too
    datasets.save(home / "dataset.h5", data, {"kind": "toy"})
    with artifacts.create(
        home / "features.h5", artifacts.FEATURES, {"given": True}, {"dataset": home / "dataset.h5"}
    ) as file:
        file["features"] = data.features
    artifacts.write_json(folder / "results/toy/selected.json", {"train": {}, "generate": {}, "classify": {}})
    artifacts.write_json(folder / "results/toy/metrics.json", {})
    before = os.getcwd()
    os.chdir(folder)
    try:
        for stage in ("resolve", "finetune", "train", "generate", "classify", "package"):
            import_module(f"stages.{stage}").command("toy")
    finally:
        os.chdir(before)
    seen = TrainData(data.features[data.trainval], data.labels[data.trainval], data.signatures[:3])
    ESZSL().fit(seen).save(home / "method.safetensors")
    train_something(Checkpoint(home / "checkpoint.safetensors"))
    Path(folder / "models/toy.zsl").rename(home / "model.zsl")
    Model.load(home / "model.zsl", cache=home / "kept").with_classes({"takahē": [1, 0.5]})
    next((home / "kept").iterdir()).rename(home / "classifiers.safetensors")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for name, format in FILES.items():
            kept = HERE / f"v{format.version}" / name
            if kept.exists():
                print(f"{kept}: stays as it was released", file=sys.stderr)
                continue
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(Path(folder) / "artifacts/toy" / name, kept)


if __name__ == "__main__":
    main()
