"""What the examples share: drawn birds with features, and a method measured as the pipeline measures it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import zslcore as zsl
from zslcore.datasets import dataset as datasets
from zslcore.datasets.birds.source import BirdsSource
from zslcore.features.extract import extract

BACKBONE = "tf_efficientnet_lite0"
"""A network whose weights a package brings: nothing is downloaded."""
STORE = Path(gettempdir()) / "zsl-examples"
"""Features by the pictures they are of, for all examples: what one has computed, the next one reads."""


@cache
def drawn(images_per_class: int) -> zsl.Dataset:
    """Twenty kinds of birds, five of them unseen, with attributes and with texts."""
    return BirdsSource(classes=20, images_per_class=images_per_class, unseen=5, side=96).dataset("birds", Path())


@cache
def birds(folder: Path, images_per_class: int) -> zsl.Dataset:
    """The same with features, which are in `folder`, too."""
    return with_features(drawn(images_per_class), folder)


def with_features(
    data: zsl.Dataset, folder: Path, backbone: str = BACKBONE, weights: str = "pretrained"
) -> zsl.Dataset:
    """A data set with features (n, d) float32 of its images; `folder` gets dataset.h5 and features.h5."""
    datasets.save(folder / "dataset.h5", data, {})
    settings = zsl.Extract(backbone=backbone, weights=weights, image_size=96, precision="fp32")
    extract(folder / "dataset.h5", folder / "features.h5", settings, "cpu", store_folder=STORE)
    return zsl.load_dataset(folder / "dataset.h5")


def measured(kind: type[zsl.Method], data: zsl.Dataset, budget: int = 5) -> tuple[zsl.Method, float, dict[str, Any]]:
    """A method fitted on trainval with settings chosen on validation classes; its calibration, and its figures."""
    rows = data.trainval
    seen = zsl.Seen(data.name, data.features[rows], data.labels[rows], data.signatures, data.seen, data.unseen)
    best, _ = zsl.choose(kind, seen, budget=budget)
    task = zsl.benchmark_task(data, data.features)
    method = kind(kind.Settings(**best.settings)).fit(task.train)
    return method, best.calibration, zsl.evaluate(zsl.score(method, task), best.calibration)


def line(name: str, figures: dict[str, Any]) -> str:
    """T1, U, S and H, in percent."""
    gzsl = figures["gzsl"]
    return f"{name:<24} T1 {figures['zsl']['T1']:5.1f}  U {gzsl['U']:5.1f}  S {gzsl['S']:5.1f}  H {gzsl['H']:5.1f}"


def run(example: Callable[[Path], None]) -> None:
    """Run an example in a folder that is gone afterwards."""
    with TemporaryDirectory() as folder:
        example(Path(folder))
