"""How much longer each stage takes on a busy machine: alone, then next to one busy process a core.

`python bench/load.py DATASET [--stages train,classify]`, where `dvc repro` has run, on a machine with nothing else to
do: fair shares would double the time. Each stage runs once more by itself and writes what stands there already. Prints
a Markdown table and exits with 1 where a stage takes more than LIMIT times as long.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from by_stage import STAGES, stages_of

LIMIT = 2.5


def spin() -> None:
    """Keep a core busy."""
    while True:
        pass


@contextmanager
def busy() -> Iterator[None]:
    """A busy process for each core this one may use."""
    spinning = [multiprocessing.Process(target=spin, daemon=True) for _ in os.sched_getaffinity(0)]
    for process in spinning:
        process.start()
    try:
        yield
    finally:
        for process in spinning:
            process.kill()


def seconds(stage: str, dataset: str) -> float:
    """Of the clock, for one run of a stage."""
    began = time.monotonic()
    command = [sys.executable, "-m", "stages.cli", stage, *([] if stage == "report" else [dataset])]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{stage}: {done.stderr}")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--stages", type=stages_of, default=list(STAGES))
    given = parser.parse_args()
    print("| stage | idle, s | busy, s | ratio |\n|---|---:|---:|---:|")
    worst = 0.0
    for stage in given.stages:
        idle = seconds(stage, given.dataset)
        with busy():
            loaded = seconds(stage, given.dataset)
        worst = max(worst, loaded / idle)
        print(f"| {stage} | {idle:.1f} | {loaded:.1f} | {loaded / idle:.2f} |", flush=True)
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
