"""Where the pipeline's processor time goes, stage by stage: start-up, fits, matrix products, the rest.

`python bench/by_stage.py DATASET`, where `dvc repro` has run; each stage runs once more by itself, one job at a time,
and writes what stands there already. Seconds are of processor time, which other work on the machine changes least; the
share of matrix products is of the stage's first fit. Prints a Markdown table. Nothing of it enters an output.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

STAGES = ("prepare", "extract", "select", "finetune", "train", "generate", "classify", "evaluate", "report")
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear_pointwise"}


def measure(stage: str, dataset: str) -> dict[str, Any]:
    """Of one stage, in a process of its own: seconds of start-up, of each job and in all; the products' share."""
    environment = {**os.environ, "ZSL_JOBS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, dataset, "--stage", stage]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_stage(stage: str, dataset: str) -> dict[str, Any]:
    """Run it here, as the command line would."""
    from importlib import import_module

    command = import_module(f"stages.{stage}").command
    started = time.process_time()
    jobs: list[float] = []
    products: list[float] = []
    if "zslcore.compute.jobs" in sys.modules:
        watch(sys.modules["zslcore.compute.jobs"], jobs, products)
    command(*([] if stage == "report" else [dataset]))
    whole = time.process_time() - sum(products[1:])
    return {"start": started, "jobs": jobs, "all": whole, "products": products[0] if products else None}


def watch(module: Any, jobs: list[float], products: list[float]) -> None:
    """Note the seconds of each job; of the first, done twice, the products' share and the seconds that cost."""
    from torch.profiler import ProfilerActivity, profile

    inner = module._apply

    def timed(function: Any, *arguments: Any) -> Any:
        if not jobs:
            began = time.process_time()
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                inner(function, *arguments)
            found = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
            share = sum(spent for name, spent in found.items() if name in PRODUCTS) / max(sum(found.values()), 1)
            products.extend([share, time.process_time() - began])
        began = time.process_time()
        result = inner(function, *arguments)
        jobs.append(time.process_time() - began)
        return result

    module._apply = timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(json.dumps(run_stage(arguments.stage, arguments.dataset)))
        return
    print("| stage | start-up, s | fits, s | of these products | rest, s | all, s |\n|---|---:|---:|---:|---:|---:|")
    for stage in STAGES:
        found = measure(stage, arguments.dataset)
        fits = sum(found["jobs"])
        count = f"{fits:.1f} ({len(found['jobs'])})" if found["jobs"] else "–"
        products = "–" if found["products"] is None else f"{100 * found['products']:.0f} %"
        rest = max(found["all"] - found["start"] - fits, 0)
        print(
            f"| {stage} | {found['start']:.1f} | {count} | {products} | {rest:.1f} | {found['all']:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()
