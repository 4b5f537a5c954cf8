"""What many tests share: the real data where it stands, and a small made-up zero-shot problem."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: on matrices this small, threads only wait for each other

import numpy as np
import pytest

from zslcore.datasets.dataset import Dataset, hold_out_seen
from zslcore.evaluation.protocol import Task, benchmark_task

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real data not found at {REAL_DATA}")
    return REAL_DATA


def make_dataset(
    seen: int = 12,
    unseen: int = 4,
    per_class: int = 12,
    attributes: int = 10,
    dimensions: int = 24,
    seed: int = 0,
) -> Dataset:
    """Features are a noisy linear picture of the signatures, so that every sound method does well on them."""
    random = np.random.default_rng(seed)
    classes = seen + unseen
    signatures = random.uniform(0, 1, (classes, attributes)).astype(np.float32)
    labels = np.repeat(np.arange(classes), per_class)
    world = random.normal(size=(attributes, dimensions))
    features = signatures[labels] @ world + 0.15 * random.normal(size=(len(labels), dimensions))
    image_attributes = np.clip(signatures[labels] + 0.1 * random.normal(size=(len(labels), attributes)), 0, 1)
    seen_rows = np.flatnonzero(labels < seen)
    trainval, test_seen = hold_out_seen(labels, seen_rows, 0.25, seed)
    return Dataset(
        name="toy",
        classes=tuple(f"class {k}" for k in range(classes)),
        signatures=signatures,
        labels=labels,
        trainval=trainval,
        test_seen=test_seen,
        test_unseen=np.flatnonzero(labels >= seen),
        features=features.astype(np.float32),
        image_attributes=image_attributes.astype(np.float32),
    )


@pytest.fixture(scope="session")
def toy() -> Dataset:
    """A small data set with features, per-image attributes and all splits."""
    return make_dataset()


@pytest.fixture(scope="session")
def toy_task(toy: Dataset) -> Task:
    """The benchmark problem of the small data set."""
    assert toy.features is not None
    return benchmark_task(toy, toy.features)
