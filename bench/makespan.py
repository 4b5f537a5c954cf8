"""How long the pipeline takes on 1 to 64 cores, from the times of its jobs on this one, and what bounds it.

`python bench/makespan.py DATASET [--stages train,classify]`, where `dvc repro` has run; each stage runs once more by
itself (by_stage.py). Stages run one after another, jobs of a stage side by side: a worker takes the next one as it gets
free. Start-up, reading and writing, and whole stages without jobs stay as they are; DVC's time (about a second a stage)
is not in it. Prints a Markdown table.
"""

import argparse
import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from by_stage import STAGES, measure, stages_of

CORES = (1, 2, 4, 8, 16, 32, 64)


def makespan(jobs: Sequence[float], cores: int) -> float:
    """Seconds until the last job ends, each begun in turn by the first core that is free.

    >>> makespan([3, 3, 3], 2), makespan([3, 3, 3], 8), makespan([], 2)
    (6.0, 3.0, 0.0)
    """
    free = [0.0] * cores
    for seconds in jobs:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def row(stages: Mapping[str, Mapping[str, Any]], cores: int) -> str:
    """A line of the table: seconds in all, in fits and outside of them, and the largest stage."""
    fits = {name: makespan(found["jobs"], cores) for name, found in stages.items()}
    rest = {name: found["all"] - sum(found["jobs"]) for name, found in stages.items()}
    whole = {name: fits[name] + rest[name] for name in stages}
    largest = max(whole, key=lambda name: whole[name])
    total = sum(whole.values())
    return f"| {cores} | {total:.0f} | {sum(fits.values()):.0f} | {sum(rest.values()):.0f} | {largest} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--stages", type=stages_of, default=list(STAGES))
    given = parser.parse_args()
    stages = {stage: measure(stage, given.dataset) for stage in given.stages}
    print("| cores | seconds | fits | outside of fits | longest stage |\n|---:|---:|---:|---:|---|")
    for cores in CORES:
        print(row(stages, cores))


if __name__ == "__main__":
    main()
