"""How time and memory of the stages grow with the number of images, and that memory does not grow.

    python bench/scale.py [ROWS ...] [--dimensions 2048] [--classes 200] [--memory GIB]

Makes features of that many images from a seed, class by class, in a folder that is deleted at the end, and runs all
stages on them, from `prepare` to `report`, for one epoch, one seed and one job at a time. Prints a Markdown table: rows
a second of the clock, peak memory, and, from the last but one number of rows to the most, by how much the peak grows,
also as a multiple of the added features in float32, and how the time a row changes. Exits with 1 where the peak grows
by more than SHARE of it (of LEAST where it is smaller: buffers fill), or by more than TIMES these bytes. Sets that fit
in memory grow, of course: give sizes above the limit, or a lower limit (`--memory`, as ZSL_MEMORY).
"""

import argparse
import os
import subprocess
import sys
import time
from multiprocessing import Process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from ruamel.yaml import YAML

STAGES = (
    "prepare",
    "extract",
    "select",
    "finetune",
    "train",
    "generate",
    "classify",
    "evaluate",
    "package",
    "report",
)
SHARE, TIMES, LEAST = 0.1, 1.0, 2**29
"""That the peak memory of a stage may grow by: of that peak, and times the bytes of the additional features."""
ATTRIBUTES, UNSEEN_SHARE = 85, 0.25
AT_ONCE = 8192
SETTINGS = {
    "source": {
        "kind": "features",
        "features": ["features.npy"],
        "labels": ["labels.npy"],
        "signatures": "signatures.npy",
        "unseen": "unseen.txt",
    },
    "select": {"splits": 1, "train_epochs": [1], "per_unseen": [10], "classify_epochs": [1]},
    "finetune": {"epochs": 1},
    "train": {"members": 1},
    "generate": {"per_unseen": 10, "per_seen": 10},
    "classify": {"epochs": 1, "seen": "synthetic"},  # else a model holds what M makes of every image
}


class Cost(NamedTuple):
    """Of a stage: seconds of the clock, and bytes of memory at its peak."""

    seconds: float
    peak: int


def make_project(folder: Path, rows: int, classes: int, dimensions: int) -> None:
    """Write settings, and features (rows, dimensions) float16 with labels and signatures, a block at a time."""
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
    np.save(folder / "signatures.npy", signatures)
    np.save(folder / "labels.npy", labels)
    unseen = range(round((1 - UNSEEN_SHARE) * classes), classes)
    (folder / "unseen.txt").write_text("".join(f"{number}\n" for number in unseen))
    centres = signatures @ random.normal(size=(ATTRIBUTES, dimensions)).astype(np.float32)
    features = open_memmap(folder / "features.npy", "w+", np.float16, (rows, dimensions))
    for start in range(0, rows, AT_ONCE):
        block = centres[labels[start : start + AT_ONCE]]
        block += random.standard_normal(block.shape, np.float32)
        features[start : start + AT_ONCE] = np.maximum(block, 0)


def run(stage: str, folder: Path, environment: dict[str, str]) -> Cost:
    """Run a stage there, as the command line would, one job at a time."""
    began = time.monotonic()
    dataset = [] if stage == "report" else ["made"]
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.cli", stage, *dataset],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
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
    parser.add_argument("rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--memory", help="as ZSL_MEMORY: GiB of features that a stage may hold")
    parser.add_argument("--stages", nargs="+", default=STAGES, help="these alone, which must have all that they read")
    given = parser.parse_args()
    environment = {**os.environ, "ZSL_JOBS": "1", "OMP_NUM_THREADS": "1"}
    if given.memory:
        environment["ZSL_MEMORY"] = given.memory
    sizes, stages = sorted(given.rows), [stage for stage in STAGES if stage in given.stages]
    costs: dict[int, dict[str, Cost]] = {}
    for rows in sizes:
        with TemporaryDirectory() as folder:
            # In another process: a stage's peak memory counts that of the process which started it.
            making = Process(target=make_project, args=(Path(folder), rows, given.classes, given.dimensions))
            making.start()
            making.join()
            run("resolve", Path(folder), environment)
            costs[rows] = {}
            for stage in stages:
                costs[rows][stage] = cost = run(stage, Path(folder), environment)
                print(
                    f"{rows:,} {stage}: {cost.seconds:.0f} s, {cost.peak / 2**30:.2f} GiB", file=sys.stderr, flush=True
                )
    few, many = sizes[-2:] if len(sizes) > 1 else sizes * 2
    bytes_more = 4 * given.dimensions * (many - few)
    heads = "".join(f" {rows:,} rows: rows/s | peak, GiB |" for rows in costs)
    print(f"| stage |{heads} peak grows by | of the bytes | time a row |")
    print("|---|" + "---:|" * (2 * len(costs) + 3))
    failed = False
    for stage in stages:
        grown = costs[many][stage].peak - costs[few][stage].peak
        share, times = grown / costs[few][stage].peak, grown / max(bytes_more, 1)
        failed |= grown > SHARE * max(costs[few][stage].peak, LEAST) or times > TIMES
        cells = "".join(
            f" {rows / of[stage].seconds:,.0f} | {of[stage].peak / 2**30:.2f} |" for rows, of in costs.items()
        )
        slower = costs[many][stage].seconds / many / (costs[few][stage].seconds / few)
        print(f"| {stage} |{cells} {100 * share:.0f} % | {times:.2f} × | {slower:.2f} × |")
    sys.exit(failed)


if __name__ == "__main__":
    main()
