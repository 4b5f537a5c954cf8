"""Where the pipeline's processor time goes, stage by stage: start-up, fits, the rest, and the share of matrix products.

    python bench/by_stage.py DATASET [--stages train,classify] [--products]

Where `dvc repro` has run; each stage runs once more by itself, one job at a time, and writes what stands there already.
Seconds are of processor time, which other work on the machine changes least. products: profile each stage's first fit,
which makes that one slower. Prints a Markdown table. Nothing of it enters an output.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

STAGES = (
    *("prepare", "extract", "select", "finetune", "train", "generate"),
    *("classify", "evaluate", "package", "report"),
)
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear_pointwise"}


def stages_of(text: str) -> list[str]:
    """Names of stages, by commas; for argparse, which reports an unknown one."""
    names = text.split(",")
    if unknown := set(names) - set(STAGES):
        raise argparse.ArgumentTypeError(f"unknown stages: {', '.join(sorted(unknown))}; known: {', '.join(STAGES)}")
    return names


def measure(stage: str, dataset: str, products: bool = False) -> dict[str, Any]:
    """Of one stage, in a process of its own: seconds of start-up, of each job and in all; the products' share."""
    environment = {**os.environ, "ZSL_JOBS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, dataset, "--stage", stage, *(["--products"] if products else [])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{stage}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_stage(stage: str, dataset: str, products: bool) -> dict[str, Any]:
    """Run it here, as the command line would."""
    command = import_module(f"stages.{stage}").command
    started = time.process_time()
    jobs: list[float] = []
    share: list[float] = []
    if "zslcore.compute.jobs" in sys.modules or stage == "prepare":  # which imports it when it draws
        watch(import_module("zslcore.compute.jobs"), jobs, share if products else None)
    command(*([] if stage == "report" else [dataset]))
    return {"start": started, "jobs": jobs, "all": time.process_time(), "products": share[0] if share else None}


def watch(module: Any, jobs: list[float], share: list[float] | None) -> None:
    """Note the seconds of each job, and, where `share` is given, the products' share of the first."""
    inner = module._apply

    def timed(function: Any, *arguments: Any) -> Any:
        began = time.process_time()
        profiled = share is not None and not share
        result = _profiled(share, inner, function, *arguments) if profiled else inner(function, *arguments)
        jobs.append(time.process_time() - began)
        return result

    module._apply = timed


def _profiled(share: list[float] | None, inner: Any, *arguments: Any) -> Any:
    from torch.profiler import ProfilerActivity, profile

    assert share is not None
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        result = inner(*arguments)
    found = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    share.append(sum(spent for name, spent in found.items() if name in PRODUCTS) / max(sum(found.values()), 1))
    return result


def table(found: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Lines of a Markdown table, a stage each, and their sum."""
    lines = []
    for stage, of_stage in found:
        fits = sum(of_stage["jobs"])
        count = f"{fits:.1f} ({len(of_stage['jobs'])})" if of_stage["jobs"] else "–"
        products = "–" if of_stage["products"] is None else f"{100 * of_stage['products']:.0f} %"
        rest = max(of_stage["all"] - of_stage["start"] - fits, 0)
        lines.append(
            f"| {stage} | {of_stage['start']:.1f} | {count} | {products} | {rest:.1f} | {of_stage['all']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print a line as each stage ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--stages", type=stages_of, default=list(STAGES))
    parser.add_argument("--products", action="store_true")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(run_stage(given.stage, given.dataset, given.products)))
        return
    print("| stage | start-up, s | fits, s | of these products | rest, s | all, s |\n|---|---:|---:|---:|---:|---:|")
    found = []
    for stage in given.stages:
        found.append((stage, measure(stage, given.dataset, given.products)))
        print(table(found[-1:]), flush=True)
    print(f"| all | {sum(one['start'] for _, one in found):.1f} | | | | {sum(one['all'] for _, one in found):.1f} |")


if __name__ == "__main__":
    main()
