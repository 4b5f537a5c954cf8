"""How time and memory of the stages grow with the number of images, and that memory grows no faster than is stated.

    python bench/scale.py [ROWS ...] [--dimensions 2048] [--classes 200]

Makes features of that many images from a seed, class by class, in a folder that is deleted at the end, and runs the
stages on them for one epoch, one seed and one job at a time. Prints a Markdown table: rows a second of the clock, peak
memory, and by how many times the features' own bytes in float32 it grows from the fewest rows to the most. Exits with 1
where a stage grows by more than BOUND says.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import h5py
import numpy as np
from ruamel.yaml import YAML

from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.io import artifacts

BOUND = {"select": 3.0, "finetune": 2.5, "train": 1.5, "generate": 0.5, "classify": 1.0, "evaluate": 6.0}
"""Stage -> times the features' bytes that its peak memory may grow by, with 2,048 dimensions and 200 classes.

evaluate fits ESZSL, and reads scores, which have a column a class.
"""
ATTRIBUTES, UNSEEN_SHARE, TEST_SHARE = 85, 0.25, 0.2
SETTINGS = {
    "source": {"kind": "birds"},  # which is not asked for anything: prepare and extract do not run
    "select": {"splits": 1, "train_epochs": [1], "per_unseen": [10], "classify_epochs": [1]},
    "finetune": {"epochs": 1},
    "train": {"members": 1},
    "generate": {"per_unseen": 10, "per_seen": 10},
    "classify": {"epochs": 1},
}


class Cost(NamedTuple):
    """Of a stage: seconds of the clock, and bytes of memory at its peak."""

    seconds: float
    peak: int


def make_project(folder: Path, rows: int, classes: int, dimensions: int) -> None:
    """Write settings, a data set and its features (rows, dimensions) float32, which fit no memory at once."""
    for name, values in (
        ("params.yaml", {"datasets": ["made"], "seeds": [0], "device": "cpu"}),
        ("experiments/params.yaml", {}),
        ("data/made.yaml", SETTINGS),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        YAML().dump(values, folder / name)
    random = np.random.default_rng(0)
    signatures = random.uniform(0, 1, (classes, ATTRIBUTES)).astype(np.float32)
    labels = np.sort(np.arange(rows) % classes)
    unseen = labels >= round((1 - UNSEEN_SHARE) * classes)
    held_out = random.random(rows) < TEST_SHARE
    data = Dataset(
        name="made",
        classes=tuple(f"class {number}" for number in range(classes)),
        signatures=signatures,
        labels=labels,
        trainval=np.flatnonzero(~unseen & ~held_out),
        test_seen=np.flatnonzero(~unseen & held_out),
        test_unseen=np.flatnonzero(unseen),
    )
    datasets.save(folder / "artifacts/made/dataset.h5", data, {})
    world = random.normal(size=(ATTRIBUTES, dimensions)).astype(np.float32)
    with artifacts.create(folder / "artifacts/made/features.h5", artifacts.FEATURES, {}) as file:
        features: h5py.Dataset = file.create_dataset("features", (rows, dimensions), np.float32)
        for label in range(classes):
            of_class = np.flatnonzero(labels == label)
            noise = random.normal(size=(len(of_class), dimensions)).astype(np.float32)
            features[of_class[0] : of_class[-1] + 1] = np.maximum(signatures[label] @ world + noise, 0)


def run(stage: str, folder: Path) -> Cost:
    """Run a stage there, as the command line would, one job at a time."""
    environment = {**os.environ, "ZSL_JOBS": "1", "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.cli", stage, "made"], cwd=folder, env=environment, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{stage}: {said}")
    return Cost(time.monotonic() - began, 1024 * usage.ru_maxrss)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=200)
    given = parser.parse_args()
    costs: dict[int, dict[str, Cost]] = {}
    for rows in given.rows:
        with TemporaryDirectory() as folder:
            make_project(Path(folder), rows, given.classes, given.dimensions)
            run("resolve", Path(folder))
            costs[rows] = {stage: run(stage, Path(folder)) for stage in BOUND}
    few, many = min(costs), max(costs)
    bytes_more = 4 * given.dimensions * (many - few)
    print("| stage |" + "".join(f" {rows:,} rows: rows/s | peak, GiB |" for rows in costs) + " grows by | at most |")
    print("|---|" + "---:|" * (2 * len(costs) + 2))
    failed = False
    for stage, bound in BOUND.items():
        grown = (costs[many][stage].peak - costs[few][stage].peak) / max(bytes_more, 1)
        failed |= grown > bound
        cells = "".join(
            f" {rows / of[stage].seconds:,.0f} | {of[stage].peak / 2**30:.2f} |" for rows, of in costs.items()
        )
        print(f"| {stage} |{cells} {grown:.1f} × | {bound} × |")
    sys.exit(failed)


if __name__ == "__main__":
    main()
